"""Skulls from a real one: the computed tomography of a head that Debian's package invesalius-examples holds (InVesalius team, CTI Renato
Archer, GPL-2; `Cranium.inv3`).

    python -m drr.volume Cranium.inv3        writes DRR_ROOT/skull.npz

Afterwards the framing SKULL_VOLUME is projected from its voxels, with the bone's own thickness, instead of from surfaces. Only the
view, the part of the head, its size and what `render` does to every image vary: it is one head."""
import functools
import os
import plistlib
import sys
import tarfile

import numpy as np
from scipy import ndimage

from .models import ROOT

FILE = os.path.join(ROOT, 'skull.npz')
VOXEL = .0015                                           # metres
U = lambda r, a, b: float(r.uniform(a, b))
TISSUES = ('soft', 'compact', 'spongy')


@functools.cache
def tissues():
    """soft tissue, compact and spongy bone: what part of each voxel, up × forward × left"""
    z = np.load(FILE)
    return [z[k].astype(np.float32) / 255 for k in TISSUES]


def about(i, j, degrees):
    """a rotation in the plane of two axes"""
    t = np.deg2rad(degrees)
    R = np.eye(3)
    R[i, i] = R[j, j] = np.cos(t)
    R[i, j], R[j, i] = np.sin(t), -np.sin(t)
    return R


def turned(volumes, turn, tilt, roll):
    """line integrals through the volumes, in voxels, seen from the front after a turn about up, a tilt about left, a roll"""
    R = about(1, 2, turn) @ about(0, 1, tilt) @ about(0, 2, roll)
    n = int(np.ceil(np.linalg.norm(volumes[0].shape) * .8))
    middle = (np.array(volumes[0].shape) - 1) / 2
    offset = middle - R @ np.full(3, (n - 1) / 2)
    return [ndimage.affine_transform(v, R, offset, (n, n, n), order=1).sum(1)[::-1] for v in volumes]


def layers(sc, r, npx=320):
    """soft, compact and spongy bone in metres, no air, and pixels a metre: one view of the head"""
    view = r.choice(['LAT', 'LAT', 'AP', 'AP', 'OBL'])
    turn = {'LAT': 90 * r.choice([-1, 1]) + r.normal(0, 5), 'AP': r.normal(0, 5) + 180 * (r.rand() < .4), 'OBL': U(r, 15, 75) * r.choice([-1, 1])}[view]
    tilt = r.normal(0, 6) if view == 'LAT' else U(r, -40, 35)
    soft, compact, spongy = turned(tissues(), turn, tilt, r.normal(0, 6))
    size = U(r, .62, .95) if sc['child'] else U(r, .9, 1.1)
    whole = r.rand() < .65
    side = (U(r, .21, .28) if whole else U(r, .1, .19)) / VOXEL / size
    aspect = U(r, .8, 1.3)
    h, w = side, min(side / aspect, soft.shape[1])
    ys, xs = np.nonzero(soft > 10)
    # Parts of a head: rather the face and the base than the vault.
    y = (ys.min() + ys.max()) / 2 + (r.normal(0, 4) if whole else U(r, -.1, .4) * np.ptp(ys))
    x = (xs.min() + xs.max()) / 2 + (r.normal(0, 4) if whole else U(r, -.3, .3) * np.ptp(xs))
    y = min(y, ys.max() - h / 2 - U(r, 4, 16))          # where the tomogram ends no film does
    px = npx / max(h, w)
    H, W = max(96, int(h * px)), max(96, int(w * px))
    at = np.meshgrid(y + (np.arange(H) - H / 2) / px, x + (np.arange(W) - W / 2) / px, indexing='ij')
    cut = [ndimage.map_coordinates(q, at, order=1).astype(np.float32) * VOXEL * size for q in (soft, compact, spongy)]
    sc['view'] = view
    thin = U(r, .5, 1.15)
    return cut[0], cut[1] * thin, cut[2], np.zeros_like(cut[0]), px / (VOXEL * size)


def main(file):
    with tarfile.open(file) as tar:
        members = {os.path.basename(m.name): m for m in tar.getmembers()}
        header = plistlib.loads(tar.extractfile(members['main.plist']).read())
        values = np.frombuffer(tar.extractfile(members['matrix.dat']).read(), header['matrix']['dtype']).reshape(header['matrix']['shape'])
    x, y, z = header['spacing']
    hounsfield = ndimage.zoom(values.astype(np.float32), np.array([z, y, x]) / (1000 * VOXEL), order=1)
    # The head without what it lies in.
    inside = ndimage.binary_opening(hounsfield > -300, iterations=3)
    labels, _ = ndimage.label(inside)
    head = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    head = ndimage.binary_dilation(head, iterations=4)
    part = lambda low, high: np.clip((hounsfield - low) / (high - low), 0, 1) * head
    compact = part(400, 1700)
    spongy = np.clip(part(100, 400) - compact, 0, 1)
    parts = (part(-500, -100), compact, spongy)
    np.savez_compressed(FILE, **{k: np.round(255 * v).astype(np.uint8) for k, v in zip(TISSUES, parts)})
    print(FILE, hounsfield.shape)


if __name__ == '__main__':
    main(*sys.argv[1:])
