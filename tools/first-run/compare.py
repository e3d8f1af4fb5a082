#!/usr/bin/env python3
"""Says what became of the objects that wrap.py made: the tag that left the modality, the tag at the archive, and whether all else is equal.

    python3 tools/first-run/compare.py OUT ARCHIVE [--summary]

OUT is wrap.py's folder, ARCHIVE where the archive (storescp, radroute sink) writes its files. `--summary`: one line for each folder of
pictures instead of one for each picture. Exits with 1 when an object is missing or something else than the correction differs.
"""
import argparse
import sys
from collections import Counter
from pathlib import Path

import pydicom

CORRECTION = {0x00082218, 0x00180015, 0x0018A001, 0x04000561}


def shown(ds):
    return "(absent)" if "BodyPartExamined" not in ds else ds.BodyPartExamined or "(empty)"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    arrived = {}
    for path in args.archive.rglob("*"):
        if path.is_file() and pydicom.misc.is_dicom(path):
            ds = pydicom.dcmread(path)
            arrived[ds.SOPInstanceUID] = ds
    rows, bad = [], 0
    for line in (args.out / "wrapped.tsv").read_text().splitlines()[1:]:
        name, picture, _, uid = line.split("\t")
        came, left = pydicom.dcmread(args.out / name), arrived.get(uid)
        if left is None:
            rows.append((picture, shown(came), "NOT THERE", "-"))
            bad += 1
            continue
        rest = [{e.tag: e for e in ds if e.tag not in CORRECTION} for ds in (came, left)]
        rows.append((picture, shown(came), shown(left), "equal" if rest[0] == rest[1] else "DIFFERS"))
        bad += rest[0] != rest[1]
    head = ("picture", "left the modality as", "at the archive as", "all else")
    if args.summary:
        folders = {}
        for picture, came, left, rest in rows:
            folders.setdefault(str(Path(picture).parent), []).append((came, left, rest))
        head = ("folder", "pictures", "left as they came", "now", "all else equal")
        rows = []
        for folder, all_of in sorted(folders.items()):
            now = Counter(left for came, left, _ in all_of if left != came)
            kept, equal = sum(came == left for came, left, _ in all_of), sum(rest == "equal" for *_, rest in all_of)
            written = ", ".join(f"{term} {n}" for term, n in sorted(now.items())) or "-"
            rows.append((folder, str(len(all_of)), str(kept), written, str(equal)))
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, tuple("-" * w for w in widths), *rows]:
        print("| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths)) + " |")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
