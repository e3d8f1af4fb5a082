"""Does a lower resolution of JPEG 2000 or of 12-bit JPEG change verdicts? Radiographs of a folder (PNG, JPEG), brought to 2000 pixels and 12
bits, half of them with a frame of padding: each uncompressed, in JPEG 2000 lossless and lossy, HTJ2K and lossy JPEG, judged by
`radroute classify`.

    target/pictures/bin/pip install pillow                    (and what pictures.py says)
    target/pictures/bin/python benches/verdicts.py FOLDER 40 target/release/radroute
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image
from pictures import write

SIDE = 2000


def words(file: Path, rng: np.random.Generator) -> np.ndarray | None:
    """Grey values of 12 bits with a detector's grain; nothing of what is too small to be enlarged."""
    grey = Image.open(file).convert("L")
    if max(grey.size) < 300:
        return None
    scale = SIDE / max(grey.size)
    grey = grey.resize((int(grey.size[0] * scale), int(grey.size[1] * scale)), Image.BICUBIC)
    values = np.asarray(grey, dtype=np.float32) * 15
    return (values + rng.normal(0, 6, values.shape)).clip(0, 4095).astype("<u2")


def encode(folder: Path, number: int, values: np.ndarray) -> None:
    """The five files of an image; every other image gets a frame of padding, white and black in turn."""
    padding = None
    if number % 2:
        padding = 4095 if number % 4 == 1 else 0
        values = values.clip(1, 4094)
        values[:150] = padding
        values[:, -100:] = padding
    lossless = imagecodecs.jpeg2k_encode(values, level=0, reversible=True, codecformat="j2k", bitspersample=12)
    lossy = imagecodecs.jpeg2k_encode(values, level=50, codecformat="j2k", bitspersample=12)
    frames = {
        "a uncompressed": ("1.2.840.10008.1.2.1", values.tobytes()),
        "b lossless": ("1.2.840.10008.1.2.4.90", lossless),
        "c lossy": ("1.2.840.10008.1.2.4.91", lossy),
        "d HTJ2K": ("1.2.840.10008.1.2.4.201", imagecodecs.htj2k_encode(values)),
        "e JPEG": ("1.2.840.10008.1.2.4.51", imagecodecs.jpeg_encode(values, level=90, bitspersample=12)),
    }
    for name, (syntax, frame) in frames.items():
        plain = name.startswith("a")
        write(folder / f"{number:04} {name}.dcm", syntax, frame, not plain, padding, values.shape)


def main(source: Path, most: int, radroute: str) -> None:
    files = sorted(f for f in source.rglob("*") if f.suffix.lower() in (".png", ".jpg", ".jpeg"))
    rng = np.random.default_rng(3)
    rng.shuffle(files)
    with tempfile.TemporaryDirectory() as made:
        folder, count = Path(made), 0
        for file in files:
            values = words(file, rng) if count < most else None
            if values is not None:
                encode(folder, count, values)
                count += 1
        judged = subprocess.run([radroute, "classify", "--json", folder], capture_output=True, text=True, check=True)
        images = [json.loads(line) for line in judged.stdout.splitlines()]
    by = {Path(image["path"]).stem: image for image in images}
    plain = {name[:4]: image for name, image in by.items() if name[5] == "a"}
    same, moved = 0, []
    for name, image in by.items():
        beside = plain[name[:4]]
        if beside is image:
            continue
        moved.append(max(abs(image["scores"][head] - score) for head, score in beside["scores"].items()))
        same += image["region"] == beside["region"]
        if image["region"] != beside["region"]:
            told = [f"{i['region']} {max(i['scores'].values()):.3f}" for i in (beside, image)]
            print(f"{name}: {told[0]} uncompressed, {told[1]} here")
    print(f"{same} of {len(moved)} verdicts are the same; scores moved by {statistics.median(moved):.3f} in the median, {max(moved):.3f} at most")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
