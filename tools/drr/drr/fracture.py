"""Broken bones: a shaft is cut by a wavy plane, and what lies beyond it is displaced, shortened and bent."""
import numpy as np

from .geometry import U, norm, rot

HAND = ('lunate', 'scaphoid', 'pisiform', 'triquetrum', 'capitate', 'trapez', 'hamate', 'mc', 'prox', 'mid', 'dist', 'thumb')
ARM, LEG = ('ulna', 'radius') + HAND, ('patella', 'tibia', 'fibula', 'talus', 'foot')
# By region: bones that break, the joints between which they do, and where; bones that go with the far end.
PLACES = {
    'PELVIS': [(('r_femur',), 'hip', 'knee', .02, .2, ('r_patella', 'r_tibia')), (('l_femur',), 'hip_l', 'knee_l', .02, .2, ('l_patella', 'l_tibia'))],
    'HIP': [(('r_femur',), 'hip', 'knee', .02, .2, ('r_patella', 'r_tibia'))],
    'FEMUR': [(('r_femur',), 'hip', 'knee', .12, .85, LEG)],
    'KNEE': [(('r_femur',), 'hip', 'knee', .8, .94, LEG), (('r_tibia', 'r_fibula'), 'knee', 'ankle', .07, .3, ('talus', 'foot'))],
    'LOWERLEG': [(('r_tibia', 'r_fibula'), 'knee', 'ankle', .15, .9, ('talus', 'foot'))],
    'ANKLE': [(('r_tibia', 'r_fibula'), 'knee', 'ankle', .82, .96, ('talus', 'foot')), (('r_fibula',), 'knee', 'ankle', .85, .98, ())],
    'CLAVICLE': [(('clavicle',), 'neck', 'shoulder', .35, .8, ())],
    'SHOULDER': [(('humerus',), 'shoulder', 'elbow', .07, .3, ARM)],
    'HUMERUS': [(('humerus',), 'shoulder', 'elbow', .12, .88, ARM)],
    'ELBOW': [(('humerus',), 'shoulder', 'elbow', .85, .96, ARM), (('radius',), 'elbow', 'wrist', .06, .2, ()), (('ulna',), 'elbow', 'wrist', .03, .2, ())],
    'FOREARM': [(('radius', 'ulna'), 'elbow', 'wrist', .15, .9, HAND)],
    'WRIST': [(('radius', 'ulna'), 'elbow', 'wrist', .86, .96, HAND), (('radius',), 'elbow', 'wrist', .86, .96, HAND)],
}


def draw(r, sc):
    """one fracture of a scene: for each bone the parts that it is drawn in, each a map of points in the world"""
    broken, near, far, low, high, along = PLACES[sc['region']][r.randint(len(PLACES[sc['region']]))]
    a, b = sc['joints'][near], sc['joints'][far]
    point, axis = a + (b - a) * U(r, low, high), norm(b - a)
    normal = norm(axis + .5 * r.randn(3))
    across = norm(np.cross(normal, r.randn(3)))
    wide = .3 if sc['region'] in ('CLAVICLE', 'ELBOW', 'WRIST', 'ANKLE') else 1.
    if r.rand() < .3: wide *= .2                        # hardly displaced
    shift = wide * (.015 * r.randn(3) - axis * abs(r.normal(0, .015)))
    turn = rot(r.randn(3), np.deg2rad(r.normal(0, 14 * wide ** .5)))
    waves, height, start = U(r, 100, 500), U(r, 0, .004), U(r, 0, 6)
    beyond = lambda v: (v - point) @ normal - height * np.sin(waves * ((v - point) @ across) + start)
    moved = lambda v: (v - point) @ turn.T + point + shift
    ahead = lambda v: v - np.maximum(beyond(v), 0)[:, None] * normal            # all beyond the plane lies in it, and has no thickness
    behind = lambda v: moved(v - np.minimum(beyond(v), 0)[:, None] * normal)

    same = lambda v: v

    def parts(bone):
        key, R = bone[:2]
        if np.linalg.det(R) < 0: return [same]          # the other side, mirrored
        if any(k in key for k in broken): return [ahead, behind]
        return [moved] if any(k in key for k in along) else [same]
    return [parts(bone) for bone in sc['bones']]
