"""Renders images: python -m drr.generate OUT FIRST REGION=N ...   (DRR_ROOT, DRR_PROCS)

Writes OUT/REGION/*.jpg for the indices FIRST to FIRST+N-1 of each region or framing of one, and OUT/MANIFEST-FIRST.tsv.
An image is a pure function of (region, index): its seed is in the manifest."""
import os
import sys
import time
import zlib
from multiprocessing import get_context

import cv2

from .fracture import PLACES
from .tomogram import BODIES

REGIONS = ['SHOULDER', 'ELBOW', 'HAND', 'PELVIS', 'KNEE', 'FOOT', 'ANKLE', 'LOWERLEG', 'FEMUR', 'HIP', 'FOREARM', 'WRIST', 'FINGER', 'HUMERUS',
           'CLAVICLE', 'CHEST', 'ABDOMEN', 'SKULL', 'CSPINE', 'TSPINE', 'LSPINE', 'SACRUM']
FRAMINGS = ['PELVIS_CLOSE', 'PELVIS_WIDE', 'FOOT_TOES', 'KNEE_LONG', 'KNEE_FEMUR', 'SHOULDER_WIDE', 'SHOULDER_HALF', 'FEMUR_WIDE', 'SKULL_JAW', 'KNEE_WIRES', 'KNEE_LUXATION', 'PELVIS_FRAIL', 'HIP_FRAIL', 'PELVIS_BOWEL', 'HIP_BOWEL', 'ANKLE_LONG'] + [
    r + '_METAL' for r in ('KNEE', 'PELVIS', 'HIP', 'ELBOW', 'FEMUR', 'LOWERLEG', 'ANKLE', 'SHOULDER', 'HUMERUS', 'WRIST', 'FOREARM')] + [r + '_FRACTURE' for r in PLACES] + [r + '_LEAN' for r in REGIONS if r not in ('SKULL', 'CSPINE')]
VOLUME = [r + '_VOLUME' for r in BODIES]
ATLAS = [r + '_ATLAS' for r in REGIONS + FRAMINGS if r.split('_')[0] in ('PELVIS', 'HIP', 'FEMUR', 'KNEE', 'LOWERLEG', 'ANKLE', 'LSPINE', 'ABDOMEN', 'SACRUM')]
COLUMNS = 'path\tregion\tview\tpose_seed\tage_class\tmesh_source\tlicence\n'
SOURCES = {'myo': ('MyoHub/myo_sim', 'Apache-2.0'), 'osim': ('opensim-org/opensim-models', 'CC BY 3.0'),
           'atlas': ('Auckland Bioengineering Institute, musculoskeletal-models', 'MPL 2.0'),
           'skull': ('InVesalius, CTI Renato Archer', 'GPL-2'), 'trunk': ('TotalSegmentator', 'Apache-2.0')}
W = None


def seed(region, index):
    return (zlib.crc32(region.encode()) ^ (index * 2654435761)) & 0x7fffffff


def name(region, index):
    return f'{region}/{region.lower()}_{index:05d}.jpg'


def sources(world, scene):
    """where the bones of a scene come from: keys of SOURCES"""
    if scene['framing'] == 'VOLUME': return [BODIES[scene['region']]]
    return sorted({'atlas' if scene['shape'] and bone[0] in scene['shape'] else world.raw[bone[0]][2] for bone in scene['bones']})


def row(path, region, number, view, age, keys):
    """a line of the list of images, of which `number` is the seed"""
    return '\t'.join([path, region, view, str(number), age] + [' + '.join(SOURCES[k][i] for k in keys) for i in (0, 1)])


def init():
    global W
    cv2.setNumThreads(1)
    os.nice(10)
    from drr.scene import World
    W = World()


def work(job):
    out, region, index = job
    from drr.render import make
    image, scene = make(W, region, seed(region, index))
    k = 320 / max(image.shape)
    if k < 1:
        image = cv2.resize(image, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)
    path = name(region, index)
    cv2.imwrite(os.path.join(out, path), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return row(path, region.partition('_')[0], seed(region, index), scene['view'], 'child' if scene['child'] else 'adult', sources(W, scene))


def main(out, first, *wanted):
    first, wanted = int(first), {w.split('=')[0]: int(w.split('=')[1]) for w in wanted}
    unknown = set(wanted) - set(REGIONS + FRAMINGS + VOLUME + ATLAS)
    if unknown or not wanted:
        sys.exit(f'unknown region(s) {unknown}; there are {" ".join(REGIONS + FRAMINGS + VOLUME + ATLAS)}')
    from drr import atlas, tomogram
    from drr.models import ROOT
    shapes = [atlas.FILE] if any(w in ATLAS for w in wanted) else []
    bodies = {tomogram.file(BODIES[w.split('_')[0]]) for w in wanted if w in VOLUME}
    for needed in [os.path.join(ROOT, 'myo_sim'), *shapes, *sorted(bodies)]:
        if not os.path.exists(needed):
            sys.exit(f'{needed} is missing: DRR_ROOT must name the folder of bones (README.md)')
    for region in wanted:
        os.makedirs(os.path.join(out, region), exist_ok=True)
    jobs = [(out, region, first + i) for i in range(max(wanted.values())) for region, n in wanted.items() if i < n]
    rows, begun = [], time.time()
    with get_context('spawn').Pool(int(os.environ.get('DRR_PROCS', 2)), init) as pool:
        for start in range(0, len(jobs), 100):
            rows += pool.map(work, jobs[start:start + 100], chunksize=4)
            print(len(rows), 'of', len(jobs), round(time.time() - begun), 's', flush=True)
            with open(os.path.join(out, f'MANIFEST-{first}.tsv'), 'w') as f:
                f.write(COLUMNS + '\n'.join(sorted(rows)) + '\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
