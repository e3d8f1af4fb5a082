"""Leaves rendered images out of a training manifest: python -m drr.thin SEED [PATTERN=SHARE ...] <MANIFEST.tsv >THINNED.tsv

Of the training images of a source that begins with `synthetic`, the first PATTERN (a regular expression) that is found in a path says
which share of such images stays; what no pattern is found in stays. Which images these are depends on SEED and path alone."""
import csv
import hashlib
import re
import sys


def drawn(seed, path):
    """evenly distributed from 0 to 1"""
    return int(hashlib.sha256((seed + path).encode()).hexdigest()[:8], 16) / 2 ** 32


def stays(seed, row, rules):
    if row['split'] != 'train' or not row['source'].startswith('synthetic'): return True
    return next((drawn(seed, row['path']) < share for pattern, share in rules if pattern.search(row['path'])), True)


def main(seed, *rules):
    rules = [(re.compile(pattern), float(share)) for pattern, _, share in (rule.rpartition('=') for rule in rules)]
    rows = csv.DictReader(sys.stdin, delimiter='\t')
    out = csv.DictWriter(sys.stdout, rows.fieldnames, delimiter='\t', lineterminator='\n')
    out.writeheader()
    out.writerows(row for row in rows if stays(seed, row, rules))


if __name__ == '__main__':
    main(*sys.argv[1:])
