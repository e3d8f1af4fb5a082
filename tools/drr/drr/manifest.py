"""Adds rendered images to a training manifest: python -m drr.manifest BASE.tsv FOLDER LIST ... > MANIFEST.tsv

BASE is a manifest of `radroute train`; FOLDER (named relative to the new manifest) holds the images and the LISTs (MANIFEST-*.tsv of
`generate` and `other`), which are taken in the order given. Every image is a group of its own, in the training split."""
import csv
import os
import sys

COLUMNS = ('path', 'region', 'group', 'source', 'licence', 'split')
BONES = 'Apache-2.0 + CC BY 3.0 (bones: MyoHub/myo_sim, opensim-org/opensim-models)'
ATLAS = BONES[:-1] + '; MPL 2.0: musculoskeletal-models)'
VOLUMES = {'InVesalius': 'GPL-2 (tomogram: InVesalius, CTI Renato Archer)', 'TotalSegmentator': 'Apache-2.0 (tomogram: TotalSegmentator)'}


def rows(file):
    with open(file) as f:
        yield from csv.DictReader(f, delimiter='\t')


def main(base, folder, *lists):
    source = os.path.basename(os.path.normpath(folder))
    print('\t'.join(COLUMNS))
    for row in rows(base):
        print('\t'.join(row[c] for c in COLUMNS))
    for name in lists:
        for row in rows(os.path.join(folder, name)):
            licence = ATLAS if 'musculoskeletal-models' in row['mesh_source'] else VOLUMES.get(row['mesh_source'].partition(',')[0], BONES)
            if row['mesh_source'] == 'drawn': licence = 'drawn by tools/drr'
            print('\t'.join([f"{source}/{row['path']}", row['region'], f"{source}:{row['path']}", source, licence, 'train']))


if __name__ == '__main__':
    main(*sys.argv[1:])
