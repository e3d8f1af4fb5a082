"""CT and MR of real shapes, as images that are no radiographs: python -m drr.sections OUT FIRST N   (DRR_ROOT)

Sections through the bones of a scene along its view, across it or along the limb, and through the tomograms of `tomogram`."""
import os
import sys

import cv2
import numpy as np
import trimesh
from scipy import ndimage

from .generate import COLUMNS, name, row, seed, sources
from .geometry import U, norm, rot
from .other import finish
from .render import G, noise
from .scene import World, build, placed
from .tomogram import BODIES, VOXEL
from .volume import about, tissues

REGION = 'NOT_A_RADIOGRAPH'
SCENES = ['KNEE_ATLAS', 'KNEE_FRACTURE_ATLAS', 'ANKLE_ATLAS', 'FOOT', 'HIP_ATLAS', 'PELVIS_ATLAS', 'ELBOW', 'ELBOW_FRACTURE', 'WRIST', 'HAND', 'SHOULDER', 'FEMUR_ATLAS', 'LSPINE']


def filled(loops, H, W):
    m = np.zeros((H, W), np.float32)
    if loops: cv2.fillPoly(m, [np.round(16 * q).astype(np.int32) for q in loops], 1., cv2.LINE_8, 4)
    return m


def bones(w, sc, origin, axes, px, H, W):
    """where a plane meets bone, and its marrow: masks"""
    right, down, normal = axes
    whole, marrow = [], []
    for _, outer, inner in placed(w, sc):
        for surfaces, loops in ((outer, whole), (inner, marrow)):
            for v, faces in surfaces:
                cut = trimesh.intersections.mesh_plane(trimesh.Trimesh(v, faces, process=False), normal, origin)
                if len(cut) == 0: continue
                path = trimesh.load_path(cut)
                loops += [np.c_[(q - origin) @ right * px + W / 2, (q - origin) @ down * px + H / 2] for q in path.discrete]
    return filled(whole, H, W), filled(marrow, H, W)


def flesh(sc, origin, axes, px, H, W):
    """how deep within the soft tissue each point of a plane lies, in metres; negative outside"""
    right, down, _ = axes
    at = origin + ((np.arange(W) - W / 2) / px)[None, :, None] * right + ((np.arange(H) - H / 2) / px)[:, None, None] * down
    depth = np.full((H, W), -1.)
    tubes = list(sc['tubes']) + ([(sc['torso'][0], sc['torso'][1][:, None] * [1, sc['torso'][2]])] if 'torso' in sc else [])
    for points, radii in tubes:
        for p, q, a, b in zip(points[:-1], points[1:], np.mean(radii[:-1], -1), np.mean(radii[1:], -1)):
            along = np.clip((at - p) @ (q - p) / max(1e-9, (q - p) @ (q - p)), 0, 1)
            depth = np.maximum(depth, a + (b - a) * along - np.linalg.norm(at - p - along[..., None] * (q - p), axis=-1))
    return depth


def of_bones(w, r):
    """bone, marrow, and depth within the soft tissue, of a scene"""
    sc = build(w, SCENES[r.randint(len(SCENES))], r)
    d = sc['d']; up = norm(sc['up'] - d * (sc['up'] @ d)); right = np.cross(d, up)
    axes = [(right, -up, d), (d, -up, right), (right, d, up)][r.choice(3, p=[.45, .35, .2])]
    turn = rot(axes[1], np.deg2rad(r.normal(0, 8))) @ rot(axes[0], np.deg2rad(r.normal(0, 8)))
    axes = [turn @ a for a in axes]
    origin = sc['target'] + axes[2] * r.normal(0, .012) + axes[1] * r.normal(0, .01)
    side = sc['fov'] * U(r, .7, 1.2)
    H, W = r.randint(220, 321), r.randint(220, 321)
    px = max(H, W) / side
    whole, marrow = bones(w, sc, origin, axes, px, H, W)
    depth = np.maximum(flesh(sc, origin, axes, px, H, W), np.where(whole > 0, .002, -1))
    return whole, np.minimum(marrow, whole), depth, sources(w, sc)


def of_tomogram(r):
    """the same of a body's tomogram"""
    body = r.choice(sorted(set(BODIES.values())))
    soft, compact, spongy = tissues(body)
    R = about(0, 1, r.normal(0, 6)) @ about(1, 2, r.normal(0, 6))
    axis = r.randint(3)
    first, second = [i for i in range(3) if i != axis]
    shape = np.array(soft.shape)
    at = np.meshgrid(*(np.arange(shape[i]) for i in (first, second)), indexing='ij')
    points = np.zeros((3,) + at[0].shape)
    points[first], points[second], points[axis] = at[0], at[1], shape[axis] * U(r, .2, .8)
    middle = (shape / 2)[:, None, None]
    points = np.einsum('ij,jhw->ihw', R, points - middle) + middle
    cut = [ndimage.map_coordinates(v, points, order=1) for v in (soft, compact, spongy)]
    if axis != 0: cut = [c[::-1] for c in cut]
    k = 320 / max(cut[0].shape)
    soft, compact, spongy = (cv2.resize(np.ascontiguousarray(c), None, fx=k, fy=k, interpolation=cv2.INTER_CUBIC) for c in cut)
    whole, inside = np.clip(compact + spongy, 0, 1), cv2.distanceTransform((soft > .5).astype(np.uint8), cv2.DIST_L2, 5) * VOXEL / k
    return whole, np.minimum(spongy, whole), np.where(soft > .5, inside, -1), [body]


def shade(whole, marrow, depth, r):
    """grey values of CT in a bone's or a soft tissue's window, or of MR"""
    H, W = whole.shape
    body, hard = (depth > 0).astype(np.float32), whole - marrow
    muscle = (depth > U(r, .002, .012)).astype(np.float32)
    muscle = muscle * np.clip(1 + .35 * noise(r, H, W, U(r, 12, 40)), .4, 1.6)
    look = r.choice(['bone', 'bone', 'soft', 'T1', 'T2', 'PD'])
    fat, flesh, cortex, spongy = dict(bone=(.16, .3, 1., .6), soft=(.2, .5, 1.2, 1.), T1=(.85, .35, .03, .75), T2=(.2, .3, .03, .2), PD=(.7, .45, .05, .6))[look]
    z = body * (fat + (flesh - fat) * np.minimum(muscle, 1.3))
    z = z * (1 - whole) + hard * cortex + marrow * spongy * np.clip(1 + U(r, .05, .35) * noise(r, H, W, 2), 0, 2)
    if look == 'T2':        # fluid about the bones
        z += body * np.clip(G(whole, 5) * (1 - whole) * noise(r, H, W, 15) * 2, 0, 1)
    if look in ('T1', 'T2', 'PD'): z *= 1 + .3 * noise(r, H, W, max(H, W) / 2)
    return np.clip(G(z + body * U(r, .01, .07) * noise(r, H, W, 1.5), U(r, .3, 1.)), 0, 1)


def main(out, first, n):
    os.makedirs(os.path.join(out, REGION), exist_ok=True)
    world, rows = World(), []
    for index in range(int(first), int(first) + int(n)):
        r = np.random.RandomState(seed(REGION, index))
        for _ in range(8):
            whole, marrow, depth, keys = of_bones(world, r) if r.rand() < .65 else of_tomogram(r)
            if whole.mean() > .02: break
        path = name(REGION, index)
        cv2.imwrite(os.path.join(out, path), finish(shade(whole, marrow, depth, r), r), [cv2.IMWRITE_JPEG_QUALITY, 90])
        rows.append(row(path, REGION, seed(REGION, index), '-', '-', keys))
    with open(os.path.join(out, f'MANIFEST-sections-{first}.tsv'), 'w') as f:
        f.write(COLUMNS + '\n'.join(rows) + '\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
