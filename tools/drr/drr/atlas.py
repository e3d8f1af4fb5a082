"""Lower limbs of many shapes: the statistical shape model of pelvis, sacrum, femur, patella, tibia and fibula of 26 people (CT) that
the package musculoskeletal-models holds (Auckland Bioengineering Institute, MPL 2.0).

    python -m drr.atlas        writes DRR_ROOT/atlas.npz; needs musculoskeletal-models, the gias3 packages and scikit-learn

Afterwards a scene of a framing `..._ATLAS` has the bones of a skeleton drawn from the model instead of the one of myo_sim, whose joints
it keeps: each bone is brought to the length of the one whose place it takes, so that joints fit, and only its shape varies."""
import os
import sys

import numpy as np
from scipy.spatial import cKDTree

from . import meshes
from .models import CACHE, ROOT

FILE = os.path.join(ROOT, 'atlas.npz')
MODES = 20                                              # of 25; the last ones are noise of the segmentations
FROM_ATLAS = np.array([[0, -1., 0], [1, 0, 0], [0, 0, 1]])   # left, back, up -> forward, left, up
BONES = {'femur': ('femur',), 'patella': ('patella',), 'shank': ('tibia', 'fibula'), 'pelvis': ('l_pelvis', 'r_pelvis', 'sacrum')}
NEAR = 6


def similarity(a, b):
    """s, R, t of the least squares b = s R a + t (Umeyama 1991)"""
    ca, cb = a.mean(0), b.mean(0)
    u, d, vt = np.linalg.svd((b - cb).T @ (a - ca))
    e = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    R = u @ np.diag(e) @ vt
    s = (d * e).sum() / ((a - ca) ** 2).sum()
    return s, R, cb - s * R @ ca


def even(v, f, n=4000):
    """points spread evenly over a surface"""
    tri = v[f]
    area = np.linalg.norm(np.cross(tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0]), axis=1)
    r = np.random.RandomState(0)
    k = r.choice(len(f), n, p=area / area.sum())
    a, b = np.sqrt(r.rand(n)), r.rand(n)
    return (1 - a)[:, None] * tri[k, 0] + (a * (1 - b))[:, None] * tri[k, 1] + (a * b)[:, None] * tri[k, 2]


def register(a, b, rounds=60):
    """s, R, t from points a to points b, which need not correspond: nearest points in both directions, from boxes of one size"""
    s = np.ptp(b, 0)[2] / np.ptp(a, 0)[2]
    R, t = np.eye(3), (b.min(0) + b.max(0)) / 2 - s * (a.min(0) + a.max(0)) / 2
    tree = cKDTree(b)
    for _ in range(rounds):
        x = s * a @ R.T + t
        i, j = tree.query(x)[1], cKDTree(x).query(b)[1]
        s, R, t = similarity(np.r_[a, a[j]], np.r_[b[i], b])
    return s, R, t


class Atlas:
    """The model in the frames of a `World`'s bones."""

    def __init__(self, world):
        z = np.load(FILE)
        T = world.leg.pose({})
        place = {n: (v @ T[n][0].T + T[n][1], f, T[n]) for _, n, v, f in world.leg.geoms}
        self.bones, self.parts, self.near = {}, {}, {}
        for part, names in BONES.items():
            for side in ('l',) if part == 'pelvis' else ('l', 'r'):
                self.put(world, z, place, part, names, side)

    def put(self, world, z, place, part, names, side):
        """one part of the model where the bones of that part and side are, its surfaces with the world's"""
        mirror = np.diag([1, -1 if side == 'r' else 1, 1])
        v, modes = z[part + '_mean'] @ FROM_ATLAS.T @ mirror, z[part + '_modes'] @ FROM_ATLAS.T @ mirror
        f, owner = z[part + '_faces'], z[part + '_owner']
        if side == 'r': f = f[:, ::-1]
        full = ['sacrum_geom_1_sacrum' if n == 'sacrum' else n if part == 'pelvis' else f'{side}_{n}' for n in names]
        fit = [i for i, n in enumerate(names) if n not in ('sacrum', 'fibula')]
        target = np.concatenate([even(place[full[i]][0], place[full[i]][1]) for i in fit])
        mine = np.concatenate([even(v, f[owner[f[:, 0]] == i]) for i in fit])
        s, R, t = register(mine, target)
        v, modes = s * v @ R.T + t, s * modes @ R.T
        # shapes are compared at their joints, so that they stay together
        ends = np.quantile(v[:, 2], (.12, .88))
        anchor = np.ones(len(v), bool) if part in ('patella', 'pelvis') else (v[:, 2] < ends[0]) | (v[:, 2] > ends[1])
        if part == 'pelvis':
            joints = [world.leg.bodies()[f'femur_{x}'] for x in 'lr']
            anchor = np.any([np.linalg.norm(v - j, axis=1) < .05 for j in joints], 0)
        for i, name in enumerate(full):
            own = owner == i
            back = np.cumsum(own) - 1
            faces = back[f[own[f].all(1)]]
            g, h = place[name][2]
            local = (v[own] - h) @ g
            world.raw['atlas_' + name] = (local, faces, 'atlas')
            self.bones['leg_' + name] = dict(part=part + side, own=own, g=g, local=local)
        self.parts[part + side] = (v, modes, anchor)

    def shapes(self, r):
        """a skeleton at random: displacements of each bone's vertices, in the bone's frame"""
        w = np.clip(r.normal(0, 1, MODES), -2.3, 2.3)
        out, moved = {}, {}
        for key, (v, modes, anchor) in self.parts.items():
            x = v + np.tensordot(w, modes, 1)
            s, R, t = similarity(x[anchor], v[anchor])
            moved[key] = s * x @ R.T + t - v
        for key, b in self.bones.items():
            out[key] = (moved[b['part']][b['own']] @ b['g']).astype(np.float32)
        return out

    def surf(self, world, key, child, shape):
        """the surfaces of a bone of this skeleton"""
        base = world.surf(key.replace('leg_', 'atlas_', 1), child)
        if (key, child) not in self.near:
            tree = cKDTree(self.bones[key]['local'])
            self.near[key, child] = [[p and weights(tree, p[0]) for p in pair] for pair in base]
        d = shape[key]
        return [[p and (p[0] + np.einsum('nk,nkd->nd', w[0], d[w[1]]).astype(np.float32), p[1]) for p, w in zip(pair, near)]
                for pair, near in zip(base, self.near[key, child])]


def weights(tree, v):
    """how much of the displacement of which of the nearest vertices each point takes"""
    d, i = tree.query(v, NEAR)
    w = 1 / (d + 5e-4) ** 2
    return (w / w.sum(1, keepdims=True)).astype(np.float32), i


def main():
    import scipy
    for n in dir(np):           # gias3 asks scipy for functions of numpy, which scipy had until 1.12
        if not n.startswith('_') and n not in scipy.__dict__ and n not in ('linalg', 'fft', 'random'): setattr(scipy, n, getattr(np, n))
    from gias3.musculoskeletal.bonemodels.bonemodels import LowerLimbLeftAtlas
    a = LowerLimbLeftAtlas('left'); a.load_bones()
    dense = lambda b: a.models[b].gf.triangulate([8, 8] if b == 'pelvis' else [12, 12])
    shape = lambda w: (a.update_models_by_pcweights_sd(list(w), list(range(MODES))), {b: dense(b) for b in a.models})[1]
    mean, out = shape(np.zeros(MODES)), {}
    moved = [shape(np.eye(MODES)[i]) for i in range(MODES)]
    for b, part in (('pelvis', 'pelvis'), ('femur', 'femur'), ('patella', 'patella'), ('tibiafibula', 'shank')):
        v, f = mean[b]
        assert all((m[b][1] == f).all() for m in moved)
        parts = meshes.trimesh.graph.connected_component_labels(f[:, [0, 1, 1, 2]].reshape(-1, 2), node_count=len(v))
        left = [v[parts == i].mean(0)[0] for i in range(parts.max() + 1)]     # of this left limb: inwards to outwards
        order = np.argsort(left)
        names = {'pelvis': ('r_pelvis', 'sacrum', 'l_pelvis'), 'shank': ('tibia', 'fibula')}.get(part, (b,))
        owner = np.array([BONES[part].index(names[list(order).index(p)]) for p in parts], np.int8)
        assert len(order) == len(names), (part, len(order))
        out |= {part + '_mean': v / 1e3, part + '_modes': np.stack([m[b][0] - v for m in moved]) / 1e3, part + '_faces': f.astype(np.int32), part + '_owner': owner}
    np.savez_compressed(FILE, **out)
    print(FILE, {k: v.shape for k, v in out.items()})


if __name__ == '__main__':
    sys.exit(main())
