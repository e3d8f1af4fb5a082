"""Images projected from the voxels of real bodies (`tomogram`), with the bone's own thickness, instead of from surfaces: the framings
that end in _VOLUME. Only the view, the part, its size, the bone's density and what `render` does to every image vary: there is one
head, and one trunk, of which the right femur is nailed."""
import functools

import numpy as np
from scipy import ndimage

from .geometry import U
from .tomogram import TISSUES, VOXEL, file

NAILED, HALF, WHOLE = 'nailed', 'half', 'whole'
# Metres up, forward and to the left of the trunk's lower right corner at the back.
SYMPHYSIS = .179                                        # to the left
PLACES = dict(PELVIS=(.085, .12, SYMPHYSIS), HIP=(.045, .134, .269), LSPINE=(.215, .112, .178), ABDOMEN=(.18, .12, SYMPHYSIS), SACRUM=(.1, .075, .178))


@functools.cache
def tissues(body):
    """soft tissue, compact and spongy bone: what part of each voxel, up × forward × left"""
    z = np.load(file(body))
    return [z[k].astype(np.float32) / 255 for k in TISSUES]


@functools.cache
def trunk(sides):
    """the trunk as it is, or made of one half and its mirror image: of the sound one, or of the one with the nail"""
    if sides == WHOLE: return tissues('trunk')
    middle = round(SYMPHYSIS / VOXEL)
    sound = [v[:, :, middle:] for v in tissues('trunk')]
    nailed = [v[:, :, :middle][:, :, ::-1] for v in tissues('trunk')]
    return [np.concatenate([h[:, :, ::-1], h], axis=2) for h in (nailed if sides == NAILED else sound)]


def about(i, j, degrees):
    """a rotation in the plane of two axes"""
    t = np.deg2rad(degrees)
    R = np.eye(3)
    R[i, i] = R[j, j] = np.cos(t)
    R[i, j], R[j, i] = np.sin(t), -np.sin(t)
    return R


def turned(volumes, turn, tilt, roll, step=1):
    """line integrals through the volumes, in voxels, seen from the front after a turn about up, a tilt about left, a roll; and where a
    voxel is seen in them. `step`: how many voxels apart the points of a line are"""
    R = about(1, 2, turn) @ about(0, 1, tilt) @ about(0, 2, roll)
    n = int(np.ceil(np.linalg.norm(volumes[0].shape) * .8))
    middle = (np.array(volumes[0].shape) - 1) / 2
    offset = middle - R @ np.full(3, (n - 1) / 2)
    along = np.array([1, step, 1])

    def seen(voxel):
        at = R.T @ (np.asarray(voxel) - offset)
        return n - 1 - at[0], at[2]
    return [step * ndimage.affine_transform(v, R * along, offset, (n, n // step, n), order=1).sum(1)[::-1] for v in volumes], seen


def head(sc, r):
    """line integrals; the middle and the longer side of the film in voxels, how much higher than wide; size and density of the bone"""
    view = r.choice(['LAT', 'LAT', 'AP', 'AP', 'OBL'])
    turn = {'LAT': 90 * r.choice([-1, 1]) + r.normal(0, 5), 'AP': r.normal(0, 5) + 180 * (r.rand() < .4), 'OBL': U(r, 15, 75) * r.choice([-1, 1])}[view]
    tilt = r.normal(0, 6) if view == 'LAT' else U(r, -40, 35)
    lines, _ = turned(tissues('skull'), turn, tilt, r.normal(0, 6))
    size = U(r, .62, .95) if sc['child'] else U(r, .9, 1.1)
    whole = r.rand() < .65
    h = (U(r, .21, .28) if whole else U(r, .1, .19)) / VOXEL / size
    w = min(h / U(r, .8, 1.3), lines[0].shape[1])
    ys, xs = np.nonzero(lines[0] > 10)
    # Parts of a head: rather the face and the base than the vault.
    y = (ys.min() + ys.max()) / 2 + (r.normal(0, 4) if whole else U(r, -.1, .4) * np.ptp(ys))
    x = (xs.min() + xs.max()) / 2 + (r.normal(0, 4) if whole else U(r, -.3, .3) * np.ptp(xs))
    y = min(y, ys.max() - h / 2 - U(r, 4, 16))          # where the tomogram ends no film does
    return view, lines, (y, x), (h, w), size, (.5, 1.15)


def body(sc, r):
    """the same of the trunk"""
    region = sc['region']
    lateral = region in ('LSPINE', 'SACRUM') and r.rand() < .45
    judet = region in ('PELVIS', 'HIP') and r.rand() < .12
    turn = 90 * r.choice([-1, 1]) + r.normal(0, 4) if lateral else U(r, 20, 45) * r.choice([-1, 1]) if judet else r.normal(0, 3)
    tilt = r.normal(0, 3)
    sides = r.choice([NAILED, HALF, WHOLE], p=[.15, .5, .35])
    lines, seen = turned(trunk(sides), turn, tilt, r.normal(0, 2.5), step=2)
    size = U(r, .62, .95) if sc['child'] else U(r, .88, 1.12)
    wide, ratio = {'PELVIS': ((.29, .4), (.56, .85)), 'HIP': ((.13, .22), (.7, 1.2)), 'LSPINE': ((.13, .26), (1.1, 1.7)), 'ABDOMEN': ((.33, .4), (.75, .92)),
                   'SACRUM': ((.12, .2), (.8, 1.3))}[region]
    w = U(r, *wide) / VOXEL
    h = min(w * U(r, *ratio), lines[0].shape[0])
    up, forward, left = PLACES[region]
    if region == 'HIP' and r.rand() < .5: left = 2 * SYMPHYSIS - left
    shape = trunk(sides)[0].shape
    if sides != WHOLE: left += shape[2] / 2 * VOXEL - SYMPHYSIS
    y, x = seen(np.array([up, forward, left]) / VOXEL)
    y, x = y + r.normal(0, .012) / VOXEL, x + r.normal(0, .008) / VOXEL
    # The film ends before the tomogram does, the more so the more the body is tilted.
    margin = 3 + .1 / VOXEL * abs(np.sin(np.deg2rad(tilt)))
    top, bottom = (seen((v, shape[1] / 2, shape[2] / 2))[0] for v in (shape[0] - 1, 0))
    h = min(h, bottom - top - 2 * margin)
    y = np.clip(y, top + margin + h / 2, bottom - margin - h / 2)
    return 'LAT' if lateral else 'judet' if judet else 'AP', lines, (y, x), (h, w), size, (.5, 1.6)


def layers(sc, r, npx=320):
    """soft, compact and spongy bone in metres, no air, and pixels a metre: one view of the body"""
    sc['view'], lines, (y, x), (h, w), size, density = (head if sc['region'] == 'SKULL' else body)(sc, r)
    px = npx / max(h, w)
    H, W = max(96, int(h * px)), max(96, int(w * px))
    at = np.meshgrid(y + (np.arange(H) - H / 2) / px, x + (np.arange(W) - W / 2) / px, indexing='ij')
    soft, compact, spongy = (ndimage.map_coordinates(q, at, order=1).astype(np.float32) * VOXEL * size for q in lines)
    return soft, compact * U(r, *density), spongy, np.zeros_like(soft), px / (VOXEL * size)
