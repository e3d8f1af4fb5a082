"""Bodies of tomograms, prepared once for `volume`:

    python -m drr.tomogram skull Cranium.inv3              Debian's package invesalius-examples (InVesalius team, CTI Renato Archer, GPL-2)
    python -m drr.tomogram trunk example_ct.nii.gz         tests/reference_files of totalsegmentator's source on PyPI (Apache-2.0)

Each writes DRR_ROOT/BODY.npz: what part of each voxel is soft tissue, compact and spongy bone, up × forward × left."""
import os
import plistlib
import sys
import tarfile

import numpy as np
from scipy import ndimage

from .models import ROOT

BODIES = dict(SKULL='skull', PELVIS='trunk', HIP='trunk', LSPINE='trunk', ABDOMEN='trunk', SACRUM='trunk')
VOXEL = .0015                                           # metres
TISSUES = ('soft', 'compact', 'spongy')
# Hounsfield units between which bone counts as more and more compact. The trunk's voxels are 3 mm wide, so that no cortex fills one.
COMPACT = {'skull': (400, 1700), 'trunk': (130, 1700)}


def file(body):
    return os.path.join(ROOT, body + '.npz')


def inv3(name):
    """Hounsfield units, up × forward × left, and the voxels' sides in mm"""
    with tarfile.open(name) as tar:
        members = {os.path.basename(m.name): m for m in tar.getmembers()}
        header = plistlib.loads(tar.extractfile(members['main.plist']).read())
        values = np.frombuffer(tar.extractfile(members['matrix.dat']).read(), header['matrix']['dtype']).reshape(header['matrix']['shape'])
    return values.astype(np.float32), header['spacing'][::-1]


def nifti(name):
    import nibabel
    image = nibabel.as_closest_canonical(nibabel.load(name))
    return np.asarray(image.dataobj, np.float32).T, [float(side) for side in image.header.get_zooms()[::-1]]


def parts(hounsfield, compact):
    # The body without what it lies on.
    inside = ndimage.binary_opening(hounsfield > -300, iterations=3)
    labels, _ = ndimage.label(inside)
    body = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    body = ndimage.binary_dilation(body, iterations=4)
    part = lambda low, high: np.clip((hounsfield - low) / (high - low), 0, 1) * body
    hard = part(*compact)
    return part(-500, -100), hard, np.clip(part(100, 400) - hard, 0, 1)


def main(body, name):
    values, sides = (nifti if name.endswith(('.nii', '.nii.gz')) else inv3)(name)
    hounsfield = ndimage.zoom(values, np.array(sides) / (1000 * VOXEL), order=1)
    np.savez_compressed(file(body), **{k: np.round(255 * v).astype(np.uint8) for k, v in zip(TISSUES, parts(hounsfield, COMPACT[body]))})
    print(file(body), hounsfield.shape)


if __name__ == '__main__':
    main(*sys.argv[1:])
