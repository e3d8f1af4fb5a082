"""Poses, views and soft tissue for every region.  A scene is a dict:
bones: [(mesh key, R, t, scale, child)], tubes: [(points, radii, kind)], target, d (ray direction), up, fov, aspect
World axes: leg/torso model x forward, y left, z up;  arm model: -y forward, -x right (patient), z up."""
import numpy as np
from . import fracture, models, meshes
from .geometry import U, norm, rot
from .models import Model, ROOT, CACHE


class World:
    def __init__(self):
        self.leg = Model('body/myobody.xml'); self.arm = Model('arm/myoarm.xml')
        self.raw = {}
        for M, p in ((self.leg, 'leg'), (self.arm, 'arm')):
            for g, n, v, f in M.geoms: self.raw[p + '_' + n] = (v, f, 'myo')
        for s in 'rl':      # finer pelvis from OpenSim, fitted to the box of the coarse one
            v, f = meshes.read_vtp(f'{ROOT}/opensim/Geometry/pelvis_{s}v.vtp')
            # r_pelvis.stl is in the same anatomical axes; fit in file axes, then to MuJoCo's inertial axes
            st = models.trimesh.load(f'{ROOT}/myo_sim/meshes/{s}_pelvis.stl')
            lo, hi = st.bounds; a, b = v.min(0), v.max(0)
            v = (v - a) / (b - a) * (hi - lo) + lo
            cv = self.raw[f'leg_{s}_pelvis'][0]
            from scipy.spatial import cKDTree
            # file -> compiled frame: same vertices, order kept or not; solve by moments + check
            sv = np.unique(np.round(np.asarray(st.vertices), 6), axis=0)
            m = self.leg.m; k = [i for i in range(m.nmesh) if m.mesh(i).name == f'{s}_pelvis'][0]
            import mujoco
            q = np.zeros(9); mujoco.mju_quat2Mat(q, m.mesh_quat[k]); R = q.reshape(3, 3); p0 = m.mesh_pos[k]
            cand = (v - p0) @ R
            err = cKDTree((sv - p0) @ R).query(cv)[0].max()
            self.pel_err = err
            self.raw[f'leg_{s}_pelvis'] = (cand, f, 'osim')
        for k in ('ribs', 'spine', 'r_clavicle', 'r_scapula', 'skull', 'jaw'):
            v, f = meshes.read_vtp(f'{ROOT}/opensim/Geometry/ground_{k}.vtp'); self.raw['gr_' + k] = (v, f, 'osim')
        self.mem = {}

    def atlas(self):
        if not hasattr(self, 'shapes'):
            from .atlas import Atlas
            self.shapes = Atlas(self)
        return self.shapes

    def surf(self, key, child=False, shape=None):
        child = child and any(k in key for k in meshes.LONG)
        if shape and key in shape: return self.atlas().surf(self, key, child, shape)
        if (key, child) not in self.mem:
            v, f, _ = self.raw[key]
            self.mem[key, child] = meshes.cache(CACHE, key.replace('/', '_'), v, f, child)
        return self.mem[key, child]

    # ---------- assembly ----------
    def leg_scene(self, q, child, want):
        T = self.leg.pose(q); B = self.leg.bodies(); bones = []
        for g, n, v, f in self.leg.geoms:
            if not any(w in n for w in want): continue
            R, t = T[n]; bones.append(['leg_' + n, R, t, 1.0])
        return bones, B

    def arm_scene(self, q, child, want, thorax):
        T = self.arm.pose(q); B = self.arm.bodies(); bones = []
        for g, n, v, f in self.arm.geoms:
            if want is not None and not any(w in n for w in want): continue
            R, t = T[n]; bones.append(['arm_' + n, R, t, 1.0])
        i = self.arm.m.body('thorax').id
        TR, tt = self.arm.d.xmat[i].reshape(3, 3).copy(), self.arm.d.xpos[i].copy()
        if thorax:
            for k in ('ribs', 'spine'): bones.append(['gr_' + k, TR, tt, 1.0])
        return bones, B, (TR, tt)


LEGS = ('femur', 'tibia', 'fibula', 'patella', 'talus', 'foot', 'bofoot')

LITTLE = .1, .7           # of the marrow, in bones that one sees through


def leg_tubes(B, s, f):
    h, k, a, c, t = (B[f'{n}_{s}'] for n in ('femur', 'tibia', 'talus', 'calcn', 'toes'))
    L = lambda p, q, u: p + (q - p) * u
    P = [h + .06 * norm(h - k), h, L(h, k, .3), L(h, k, .7), k, L(k, a, .12), L(k, a, .3), L(k, a, .6), L(k, a, .9), a + .03 * norm(a - k)]
    R = np.array([.1, .092, .083, .066, .058, .054, .056, .043, .034, .036]) * f
    return [(np.array(P), np.c_[R, R])]


def build(w, region, r):
    """random scene of a region, or of one of its framings (PELVIS_CLOSE, PELVIS_WIDE, PELVIS_BOWEL, HIP_BOWEL, FOOT_TOES, ANKLE_LONG, KNEE_LONG, KNEE_FEMUR, SHOULDER_WIDE, SHOULDER_HALF,
    FEMUR_WIDE, SKULL_JAW, KNEE_WIRES, KNEE_LUXATION, PELVIS_FRAIL, HIP_FRAIL, REGION_METAL, REGION_FRACTURE, REGION_LEAN, REGION_VOLUME), with the bones of the atlas if it ends
    in _ATLAS; r: numpy RandomState"""
    region, *rest = region.split('_')
    framing = rest[0] if rest and rest[0] != 'ATLAS' else ''
    shape = w.atlas().shapes(r) if rest[-1:] == ['ATLAS'] else None
    child = r.rand() < (.45 if region in ('ELBOW', 'WRIST', 'HAND', 'FINGER') else .25)
    fat = U(r, .85, 1.25); sc = dict(region=region, framing=framing, shape=shape, implant=framing in ('METAL', 'WIRES'), bone=1., marrow=1., child=child, tubes=[], halo=U(r, .005, .011), gas=0, stool=0, lungs=None, lim=None)
    J = lambda s: np.deg2rad(r.normal(0, s))
    view = 'AP'
    if region in ('PELVIS', 'HIP', 'FEMUR', 'KNEE', 'LOWERLEG', 'ANKLE', 'FOOT', 'LSPINE', 'ABDOMEN', 'TSPINE', 'SACRUM'):
        q = {}
        for s in 'rl':
            q[f'hip_flexion_{s}'] = U(r, -.05, .2); q[f'hip_adduction_{s}'] = U(r, -.22, .06); q[f'hip_rotation_{s}'] = U(r, -.35, .3)
            q[f'knee_angle_{s}'] = U(r, 0, .12); q[f'ankle_angle_{s}'] = U(r, -.25, .15)
        frog = region in ('PELVIS', 'HIP') and r.rand() < .1
        if frog:
            for s in 'rl': q[f'hip_flexion_{s}'] = U(r, .4, .8); q[f'hip_adduction_{s}'] = U(r, -.87, -.6); q[f'hip_rotation_{s}'] = U(r, -.7, -.4)
        lat = r.rand() < .4
        if region == 'KNEE' and lat: q['knee_angle_r'] = U(r, .1, 1.2)
        if region == 'ANKLE': q['ankle_angle_r'] = U(r, -.5, .25); q['subtalar_angle_r'] = U(r, -.15, .15)
        q['lat_bending'] = U(r, -.06, .06)
        want = {'PELVIS': ('pelvis', 'sacrum', 'lumbar', 'femur'), 'HIP': ('pelvis', 'sacrum', 'lumbar5', 'femur'), 'FEMUR': ('pelvis', 'femur_', 'r_femur', 'r_patella', 'r_tibia', 'r_fibula'),
                'LSPINE': ('pelvis', 'sacrum', 'lumbar', 'thoracic', 'ribcage', 'femur'),
                'SACRUM': ('pelvis', 'sacrum', 'lumbar', 'femur'),
                'ABDOMEN': ('pelvis', 'sacrum', 'lumbar', 'thoracic', 'ribcage', 'femur'), 'TSPINE': ('lumbar', 'thoracic', 'ribcage')}.get(region, ('r_femur', 'r_tibia', 'r_fibula', 'r_patella', 'r_talus', 'r_foot', 'r_bofoot'))
        bones, B = w.leg_scene(q, child, want)
        fwd, left, up = np.eye(3)
        if framing == 'FRAIL': sc['bone'] = U(r, .3, .75)   # little is left of the cortex
        if framing in ('BOWEL', 'LEAN'): sc['bone'] = U(r, .3, 1.1)
        if region in ('PELVIS', 'HIP', 'LSPINE', 'ABDOMEN', 'TSPINE', 'SACRUM'):
            H = .5 * (B['femur_r'] + B['femur_l'])
            top = H + up * .5
            Wd, Dp = .175 * fat, .105 * fat
            pts = [H + up * z for z in (-.03, .05, .12, .2, .35, .5)]
            sc['torso'] = (np.array(pts), np.array([.165, .175, .165, .15, .155, .165]) * fat, Dp / Wd)
            for s in 'rl': sc['tubes'] += leg_tubes(B, s, fat)
            sc['gas'] = 1
            if framing == 'LEAN':   # air between the thighs, bones that one sees through, vertebrae as wide as the sacrum asks for
                sc['torso'] = (np.array([H + up * z for z in (U(r, .01, .05), .08, .15, .35, .5)]), np.array([.13, .17, .16, .15, .16]) * fat, Dp / Wd)
                sc['tubes'] = [(p, radius * U(r, .6, .9)) for p, radius in sc['tubes']]
                sc.update(marrow=U(r, *LITTLE), stool=r.randint(0, 10)); wide = U(r, 1.2, 1.7)
                bones = [[key, R, t, wide if 'lumbar' in key else s] for key, R, t, s in bones]
        else:
            sc['tubes'] += leg_tubes(B, 'r', fat)
            if framing == 'LEAN': sc['marrow'] = U(r, *LITTLE)
        hip, kn, an = B['femur_r'], B['tibia_r'], B['talus_r']
        sc['joints'] = dict(hip=hip, knee=kn, ankle=an)
        if region in ('PELVIS', 'HIP'): sc['joints'].update(hip_l=B['femur_l'], knee_l=B['tibia_l'])
        if region == 'PELVIS':
            tgt = .5 * (B['femur_r'] + B['femur_l']) + up * U(r, -.01, .065) + left * U(r, -.02, .02)
            v = r.rand()
            tilt, turn = J(4), J(3)
            if v < .08: tilt = np.deg2rad(U(r, 20, 40)); view = 'outlet'
            elif v < .16: tilt = -np.deg2rad(U(r, 20, 40)); view = 'inlet'
            elif v < .24: turn = np.deg2rad(U(r, 25, 45)) * r.choice([-1, 1]); view = 'judet'
            elif frog: view = 'frog'
            d = rot(up, turn) @ rot(left, tilt) @ (-fwd); sc.update(fov=U(r, .33, .46), aspect=U(r, .72, 1.05))
            if framing == 'WIDE': tgt = tgt + up * U(r, .0, .07); sc.update(fov=U(r, .4, .54), aspect=U(r, .8, 1.15)); sc['gas'] = 2
            if framing == 'FRAIL': tgt = tgt + up * U(r, -.02, .05); sc.update(fov=U(r, .3, .5), aspect=U(r, .7, 1.1)); sc['gas'] = 3
            if framing == 'LEAN': tgt = tgt + up * U(r, -.05, .05); sc.update(fov=U(r, .3, .5), aspect=U(r, .75, 1.1), gas=r.randint(1, 4))
            if framing == 'BOWEL': tgt = tgt + up * U(r, -.02, .06); sc.update(fov=U(r, .3, .54), aspect=U(r, .7, 1.1), gas=r.randint(1, 4), stool=r.randint(2, 12))
            if framing == 'CLOSE': tgt = tgt + up * U(r, .0, .03); sc.update(fov=U(r, .25, .36), aspect=U(r, .7, 1.0))
        elif region == 'HIP':
            tgt = hip + up * U(r, -.04, .02) + left * U(r, -.01, .03); d = rot(up, J(8)) @ rot(left, J(6)) @ (-fwd); sc.update(fov=U(r, .17, .27), aspect=U(r, .9, 1.3))
            if framing == 'BOWEL': sc['stool'] = r.randint(1, 6)
        elif region == 'LSPINE':
            tgt = B['lumbar3'] + up * U(r, -.04, .06)
            turn = np.deg2rad(90 * r.choice([-1, 1]) + r.normal(0, 4)) if lat else J(5); view = 'LAT' if lat else 'AP'
            d = rot(up, turn) @ rot(left, J(4)) @ (-fwd); sc.update(fov=U(r, .18, .34), aspect=U(r, 1.1, 1.9))
            if lat: bones = [b for b in bones if 'femur' not in b[0]]
        elif region == 'SACRUM':   # from the side alone: from the front it is a pelvis, closely framed
            tgt = .5 * (B['femur_r'] + B['femur_l']) + up * U(r, -.02, .1) + fwd * U(r, -.09, 0)
            d = rot(up, np.deg2rad(90 * r.choice([-1, 1]) + r.normal(0, 6))) @ rot(left, J(4)) @ (-fwd); view = 'LAT'
            sc.update(fov=U(r, .13, .26), aspect=U(r, .9, 1.6))
        elif region == 'ABDOMEN':
            tgt = B['lumbar3'] + up * U(r, -.06, .05) + left * U(r, -.02, .02); view = 'AP'
            d = rot(up, J(4)) @ rot(left, J(4)) @ (-fwd); sc.update(fov=U(r, .3, .42), aspect=U(r, 1.0, 1.35)); sc['gas'] = 2
        elif region == 'TSPINE':
            th = {b[0].split('_')[-2]: b[2] for b in bones if 'thoracic' in b[0]}
            c1, c7, c12 = th['thoracic1'], th['thoracic7'], th['thoracic12']
            ax = norm(c1 - c12); tgt = c7 + up * U(r, -.05, .05) + fwd * U(r, -.02, .03)
            turn = np.deg2rad(90 * r.choice([-1, 1]) + r.normal(0, 4)) if lat else J(5); view = 'LAT' if lat else 'AP'
            d = rot(up, turn) @ rot(left, J(4)) @ (-fwd); sc.update(fov=U(r, .14, .3), aspect=U(r, 1.2, 2.4))
            sc['torso'] = (np.array([c12 - up * .25, c12, c7, c1 - up * .03, c1 + up * .06]) + fwd * .05, np.array([.15, .16, .165, .13, .07]) * fat, .62)
            sc['lungs'] = (c1 + fwd * .04, up, left, fwd); sc['gas'] = 0
        else:
            ax = norm(hip - kn) if region == 'FEMUR' else norm(kn - an)
            if region == 'KNEE': ax = norm(norm(hip - kn) + norm(kn - an))
            side = norm(left - ax * (left @ ax)); front = np.cross(side, ax)
            turn = np.deg2rad(r.choice([0, 0, 0, 20, -30]) + r.normal(0, 6))
            if lat: turn = np.deg2rad(90 * r.choice([-1, 1]) + r.normal(0, 7)); view = 'LAT'
            elif abs(turn) > .25: view = 'OBL'
            up = ax; d = rot(ax, turn) @ rot(side, J(5)) @ (-front)
            if region == 'KNEE':
                tgt = kn + ax * U(r, -.045, .045) + side * U(r, -.012, .012) + front * .012
                f = U(r, .12, .32)
                if framing == 'LONG': f = U(r, .26, .42); tgt = tgt + ax * U(r, -.06, .1)
                sc.update(fov=f, aspect=U(r, 1.0, 1.7) if f < .2 else U(r, 1.2, 1.9))
                if framing == 'FEMUR' or framing == 'LEAN' and r.rand() < .5: f = U(r, .34, .54); tgt = kn + ax * f * U(r, .12, .3) + side * U(r, -.012, .012); sc.update(fov=f, aspect=U(r, 1.3, 2.2))
                if framing == 'LUXATION':   # the leg beside or behind the femur, on a film of the knee or of most of the thigh
                    f = U(r, .16, .5); tgt = kn + ax * f * U(r, 0, .3); sc.update(fov=f, aspect=U(r, 1.2, 2.1))
                    away = side * U(r, -.035, .035) + front * U(r, -.04, .04) + ax * U(r, -.005, .04); patella = side * U(r, -.03, .03) + away / 2
                    leg = lambda key: patella if 'patella' in key else away if 'femur' not in key else 0
                    bones = [[key, R, t + leg(key), s] for key, R, t, s in bones]
                sc['fovh'] = True
                if framing not in ('FEMUR', 'LUXATION') and not lat and r.rand() < .18 and f > .2:   # both knees
                    bones, B = w.leg_scene(q, child, LEGS); sc['tubes'] += leg_tubes(B, 'l', fat)
                    tgt = .5 * (B['tibia_r'] + B['tibia_l']); sc.update(fov=U(r, .32, .42), aspect=U(r, .5, .9)); sc['fovh'] = False; view = 'bilateral AP'
            elif region == 'FEMUR':
                tgt = kn + (hip - kn) * U(r, .4, .62); sc.update(fov=U(r, .34, .42), aspect=U(r, 1.8, 2.6), fovh=True)
                if framing == 'WIDE': tgt = kn + (hip - kn) * U(r, .5, .9) + side * U(r, -.03, .03); sc.update(fov=U(r, .3, .45), aspect=U(r, 1., 1.8))
            elif region == 'LOWERLEG': tgt = an + (kn - an) * U(r, .42, .6); sc.update(fov=U(r, .33, .44), aspect=U(r, 1.8, 2.6), fovh=True)
            elif region == 'ANKLE':
                tgt = an + ax * U(r, -.02, .07); sc.update(fov=U(r, .14, .28), aspect=U(r, 1.1, 1.8), fovh=True)
                if framing == 'LONG': tgt = an + ax * U(r, .03, .1); sc.update(fov=U(r, .26, .4), aspect=U(r, 1.2, 2.2))
            elif region == 'FOOT':
                c, t = B['calcn_r'], B['toes_r']; toe = norm(t - c)
                v = r.rand(); nrm = norm(np.cross(toe, left)); nrm = nrm if nrm[2] > 0 else -nrm
                if v < .8:
                    turn = np.deg2rad(r.choice([0, 0, 30, 40, -10]) + r.normal(0, 5)); view = 'DP' if turn < .3 else 'OBL'
                    up = toe; d = rot(toe, turn) @ rot(left, np.deg2rad(U(r, 0, 15))) @ (-nrm)
                else: view = 'LAT'; up = nrm; d = left * r.choice([-1, 1])
                tgt = c + (t - c) * U(r, .55, 1.25) + nrm * .01
                sc.update(fov=U(r, .13, .29), aspect=U(r, 1.0, 1.9) if v < .8 else U(r, .6, .9), fovh=v < .8)
                if r.rand() < .35: tgt = t + toe * .02; sc.update(fov=U(r, .11, .16))
                if framing == 'TOES':
                    up = toe; d = rot(toe, np.deg2rad(r.choice([0, 0, 30, 40]) + r.normal(0, 6))) @ rot(left, np.deg2rad(U(r, 0, 15))) @ (-nrm); view = 'DP'
                    tgt = t + toe * U(r, -.03, .03); sc.update(fov=U(r, .1, .19), aspect=U(r, .9, 1.5), fovh=True)
                bones = [b for b in bones if 'femur' not in b[0] and 'patella' not in b[0]]
                sc['tubes'] = [(sc['tubes'][0][0][6:], sc['tubes'][0][1][6:])]; sc['halo'] = U(r, .007, .011)
    elif region in ('SKULL', 'CSPINE'):
        bones = []
        T = w.leg.pose({'flex_extension': 0.0}); B = w.leg.bodies()
        for k in ('hat_cervical', 'hat_jaw', 'hat_skull', 'torso_geom_12_thoracic1_s', 'torso_geom_11_thoracic2_s', 'torso_geom_10_thoracic3_s', 'torso_geom_13_ribcage_s'):
            if region == 'SKULL' and 'thoracic' in k: continue
            R, t = T[k]; bones.append(['leg_' + k, R, t, 1.0])
        fwd, left, up = np.eye(3)
        sk = T['hat_skull'][1]; ce = T['hat_cervical'][1]
        lat = r.rand() < .6; view = 'LAT' if lat else 'AP'
        turn = np.deg2rad(90 * r.choice([-1, 1]) + r.normal(0, 4)) if lat else J(5)
        d = rot(up, turn) @ rot(left, J(6)) @ (-fwd)
        tgt = (sk + up * U(r, -.05, .02)) if region == 'SKULL' else ce + up * U(r, -.02, .03)
        sc.update(fov=U(r, .2, .27) if region == 'SKULL' else U(r, .16, .24), aspect=U(r, .9, 1.35), fovh=True)
        if framing == 'JAW':   # through the open mouth, of the mandible, oblique
            jaw = T['hat_jaw'][1]
            turn = J(8) if r.rand() < .6 else np.deg2rad(U(r, 15, 75)) * r.choice([-1, 1]); view = 'AP' if abs(turn) < .25 else 'OBL'
            d = rot(up, turn) @ rot(left, np.deg2rad(U(r, -35, 30))) @ (-fwd)
            tgt = jaw + .3 * (sk - jaw) * U(r, -.5, 1) + up * U(r, -.03, .02); sc.update(fov=U(r, .1, .2), aspect=U(r, .75, 1.25))
        sc['tubes'] = [(np.array([ce - up * .14, ce - up * .06, ce, sk - up * .06]), np.array([[.14, .09], [.07, .06], [.062, .058], [.065, .06]]) * fat),
                       (np.array([sk - up * .05, sk + up * .02]), np.array([[.085, .085], [.09, .085]]))]
    else:
        sl = lambda n, a, b: U(r, a, b)
        q = {}
        want = None; thorax = False
        lat = r.rand() < .42
        elv = U(r, .02, .35)
        beside_chest = framing in ('WIDE', 'HALF')
        if framing in ('LEAN', 'HALF'): sc.update(bone=U(r, .4, 1.1), marrow=U(r, *LITTLE))
        if region in ('SHOULDER', 'CLAVICLE', 'CHEST', 'HUMERUS'):
            q.update(shoulder_elv=elv, shoulder_rot=U(r, -.9, 1.2), elv_angle=U(r, 0, 1.2), elbow_flexion=U(r, 0, .5)); thorax = region != 'HUMERUS' or r.rand() < .5
            axl = region == 'SHOULDER' and not beside_chest and r.rand() < .1
            if axl: q['shoulder_elv'] = U(r, 1.0, 1.5); q['elv_angle'] = U(r, -.1, .5)
            want = ('clavicle', 'scapula', 'humerus', 'ulna', 'radius')
        elif region == 'ELBOW': q.update(elbow_flexion=U(r, 1.1, 1.8) if lat else U(r, 0, .45), pro_sup=U(r, -1.3, 1.4)); want = ('humerus', 'ulna', 'radius')
        elif region == 'FOREARM': q.update(elbow_flexion=U(r, 1.0, 1.6) if lat else U(r, 0, .3), pro_sup=U(r, -1.4, 1.4)); want = ('humerus', 'ulna', 'radius') + tuple('lunate scaphoid pisiform triquetrum capitate trapezium trapezoid hamate mc'.split())
        else:
            q.update(pro_sup=U(r, -1.2, 1.4), flexion=U(r, -.3, .3), deviation=U(r, -.15, .35), cmc_abduction=float(np.clip(r.normal(-.1, .18), -.5, .4)), cmc_flexion=float(np.clip(r.normal(.1, .2), -.4, .6)), mp_flexion=float(np.clip(r.normal(.1, .25), -.5, .6)), ip_flexion=U(r, -.5, .35))
            spread = U(r, .1, 1); curl = abs(r.normal(0, .2)) if r.rand() < .7 else U(r, .3, 1.0)
            for i, s in zip('2345', (1, .3, -.5, -1)):
                q[f'mcp{i}_flexion'] = min(1.5, abs(curl * U(r, .5, 1.2))); q[f'mcp{i}_abduction'] = float(np.clip(.24 * s * spread * w_sign(i) + r.normal(0, .05), -.26, .26))
                q[f'pm{i}_flexion'] = min(1.5, abs(curl * U(r, .5, 1.4))); q[f'md{i}_flexion'] = min(1.4, abs(curl * U(r, .2, 1.0)))
        bones, B, (TR, tt) = w.arm_scene(q, child, want, thorax)
        up = np.array([0, 0, 1.]); fwd = np.array([0, -1., 0]); left = np.array([1., 0, 0])
        sh, el, wr = B['humerus'], B['ulna'], B['lunate']
        sc['joints'] = dict(shoulder=sh, elbow=el, wrist=wr, neck=tt)
        L = lambda p, k, u: p + (k - p) * u
        R = np.array([.055, .058, .048, .042, .043, .042, .03, .028]) * fat
        sc['tubes'] = [(np.array([sh + .01 * up, L(sh, el, .2), L(sh, el, .6), L(sh, el, .95), L(el, wr, .06), L(el, wr, .25), L(el, wr, .8), L(el, wr, 1)]), np.c_[R, R])]
        if region in ('SHOULDER', 'CLAVICLE', 'CHEST'):
            C = tt.copy(); mir = np.diag([-1., 1, 1])
            neck = C + up * .12
            sc['torso'] = (np.array([C - up * z for z in (.5, .3, .15, .06, 0, -.05)]), np.array([.165, .165, .155, .12, .085, .06]) * (0.5 + .5 * fat), .62)
            sc['tubes'] += [(np.array([C + up * .02 + left * -.05, sh + up * .02, sh - up * .03]), np.array([[.06, .05], [.055, .055], [.06, .06]]) * fat), (np.array([C, C + up * .2]), np.array([[.062, .06]] * 2) * fat)]
            sc['lungs'] = (C, up, left, fwd)
            # other side, mirrored about the thorax's mid plane
            for b in list(bones):
                if region in ('CHEST', 'CLAVICLE') and b[0].startswith('arm_') and 'ulna' not in b[0] and 'radius' not in b[0]:
                    bones.append([b[0], np.diag([-1., 1, 1]) @ b[1], np.array([2 * tt[0] - b[2][0], b[2][1], b[2][2]]), 1.0])
            if region == 'CHEST': sc['tubes'] += [(np.c_[2 * tt[0] - p[:, 0], p[:, 1:]], rr) for p, rr in list(sc['tubes'])]
        if region == 'SHOULDER':
            v = r.rand(); turn, tilt = J(10), J(7)
            if axl: view = 'axillary'; d = rot(left, np.deg2rad(U(r, 60, 95))) @ (-fwd); up = norm(fwd + .3 * up)
            else:
                if v < .16: turn = np.deg2rad(U(r, 40, 65)) * r.choice([1, 1, -1]); view = 'Y'
                elif v < .45: turn = np.deg2rad(U(r, 15, 45)); view = 'Grashey'
                d = rot(up, turn) @ rot(left, tilt) @ (-fwd)
            f = U(r, .16, .33)
            tgt = sh + left * U(r, -.015, .05 + .12 * (f - .17)) + up * U(r, -.06, .03) * f / .25
            sc.update(fov=f, aspect=U(r, .75, 1.3))
            if beside_chest:   # with half of it
                f = U(r, .28, .46); tgt = L(sh, tt, U(r, .15, .6)) + up * U(r, -.3, .02) * f; sc.update(fov=f, aspect=U(r, .7, 1.25))
        elif region == 'CLAVICLE':
            tgt = L(tt, sh, U(r, .4, .65)) + up * .02; d = rot(up, J(6)) @ rot(left, np.deg2rad(U(r, -20, 10))) @ (-fwd); sc.update(fov=U(r, .17, .26), aspect=U(r, .55, .9))
        elif region == 'CHEST':
            tgt = tt - up * U(r, .1, .17); d = rot(up, J(4)) @ rot(left, J(5)) @ (-fwd); sc.update(fov=U(r, .32, .44), aspect=U(r, .8, 1.15))
        elif region in ('HUMERUS', 'ELBOW'):
            jid = w.arm.jn['elbow_flexion']; fx = norm(w.arm.d.xaxis[jid]); ax = norm(sh - el)
            axm = ax if (lat or region == 'HUMERUS') else norm(ax + norm(el - wr))
            fx = norm(fx - axm * (fx @ axm)); front = np.cross(fx, axm)
            if front @ fwd < 0: front = -front
            turn = np.deg2rad(r.choice([0, 0, 0, 35, -35]) + r.normal(0, 7)); view = 'AP' if abs(turn) < .3 else 'OBL'
            if lat: turn = np.deg2rad(90 * r.choice([-1, 1]) + r.normal(0, 8)); view = 'LAT'
            d = rot(axm, turn) @ rot(fx, J(5)) @ (-front); up = axm
            if region == 'ELBOW':
                if lat: up = norm(ax + U(r, -1, 1) * norm(el - wr) * 1.0 + 1e-3)
                tgt = el + ax * U(r, -.03, .03); sc.update(fov=U(r, .11, .26), aspect=U(r, .8, 1.3) if lat else U(r, 1.1, 1.9), fovh=not lat)
            else: tgt = L(sh, el, U(r, .35, .65)); sc.update(fov=U(r, .3, .38), aspect=U(r, 1.6, 2.4), fovh=True)
        elif region in ('FOREARM', 'WRIST', 'HAND', 'FINGER'):
            ax = norm(wr - B['thirdmc']) if region != 'FOREARM' else norm(el - wr)
            tr = B['secondmc'] - B['fifthmc']; tr = norm(tr - ax * (tr @ ax)); pn = np.cross(tr, ax)
            turn = np.deg2rad(r.choice([0, 0, 0, 35, -35, 45]) + r.normal(0, 7)); view = 'PA' if abs(turn) < .3 else 'OBL'
            if region == 'FOREARM' and lat or region != 'FOREARM' and r.rand() < (.35 if region == 'WRIST' else .1): turn = np.deg2rad(90 * r.choice([-1, 1]) + r.normal(0, 8)); view = 'LAT'
            d = rot(ax, turn) @ rot(tr, J(5)) @ (pn * r.choice([-1, 1])); up = -ax
            if region == 'FOREARM': up = ax; tgt = L(el, wr, U(r, .4, .6)); sc.update(fov=U(r, .24, .33), aspect=U(r, 1.5, 2.4), fovh=True)
            elif region == 'WRIST': tgt = wr + ax * U(r, -.02, .06); sc.update(fov=U(r, .1, .19), aspect=U(r, 1.0, 1.7), fovh=True)
            elif region == 'HAND': tgt = L(B['thirdmc'], B['proxph3'], U(r, -.6, 1)) + tr * U(r, 0, .012); sc.update(fov=U(r, .19, .27), aspect=U(r, 1.05, 1.6), fovh=True)
            elif region == 'FINGER':
                i = r.choice(['2', '3', '4', '5', 't', 't'])
                base, tip = (B['proximal_thumb'], B['distal_thumb']) if i == 't' else (B['proxph' + i], B['distph' + i])
                up = norm(tip - base); side = norm(tr - up * (tr @ up)); front = np.cross(side, up)
                turn = np.deg2rad(r.choice([0, 0, 35]) + r.normal(0, 8)); view = 'PA'
                if lat: turn = np.deg2rad(90 * r.choice([-1, 1]) + r.normal(0, 8)); view = 'LAT'
                d = rot(up, turn) @ rot(side, J(5)) @ (front * r.choice([-1, 1]))
                tgt = L(base, tip, U(r, .15, 1.0)) + up * .005; sc.update(fov=U(r, .06, .11), aspect=U(r, 1.3, 2.4), fovh=True)
                mine = ('1mc', 'thumb') if i == 't' else (i + 'mc', i + 'prox', i + 'mid', i + 'dist')
                near = [] if lat or r.rand() < .5 else [n for n in (('2mc', '2prox', '2mid', '2dist') if i in 't3' else ('3mc', '3prox', '3mid', '3dist'))]
                digits = ('mc', 'prox', 'mid', 'dist', 'thumb')
                bones = [b for b in bones if not any(k in b[0] for k in digits) or any(k in b[0] for k in mine) or any(k in b[0] for k in near) or 'mc' in b[0]]
            if region in ('WRIST', 'HAND', 'FINGER'): bones = [b for b in bones if not any(k in b[0] for k in ('clavicle', 'scapula', 'humerus'))]
            sc['halo'] = U(r, .005, .0075)
            wd = .026 * fat; sc['tubes'] = [(sc['tubes'][0][0][4:], sc['tubes'][0][1][4:] * .95)]
            if region != 'FOREARM': sc['tubes'] += [(np.array([wr - ax * .0, L(B['secondmc'], B['fifthmc'], .5)]), np.array([[.026, .018], [.034, .014]]) * (.7 + .3 * fat))]
    # ---- children: smaller, unossified ends ----
    k = U(r, .35, .85) if child else U(r, .9, 1.08)
    if child:
        for b in bones:
            n = b[0]
            if any(x in n for x in ('lunate', 'scaphoid', 'pisiform', 'triquetrum', 'capitate', 'trapez', 'hamate', 'patella', 'talus')): b[3] = U(r, .55, .95)
    sc.update(bones=bones, target=tgt, d=norm(d), up=up, view=view, size=k)
    broken = framing == 'FRACTURE' or region == 'FEMUR' and framing == 'WIDE' and r.rand() < .5
    sc['parts'] = fracture.draw(r, sc) if broken else [[lambda v: v]] * len(bones)
    return sc


def placed(w, sc):
    """each bone of a scene: its name, and its outer and inner surface, each a list of points in the world and faces, one for each part of a broken bone"""
    for (key, R, t, s), parts in zip(sc['bones'], sc['parts']):
        for outer, inner in w.surf(key, sc['child'], sc['shape']):
            if outer is None: continue
            middle = outer[0].mean(0)
            at = lambda surface: [(part(((surface[0] - middle) * s + middle) @ R.T + t), surface[1]) for part in parts if surface is not None]
            yield key, at(outer), at(inner)


def w_sign(i):
    return 1.0
