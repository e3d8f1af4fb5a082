"""Writes a radiograph that never was, 2500×3000 pixels of 12 bits, in the transfer syntaxes that `benches/pixels.rs` cannot write itself.

    python3 -m venv target/pictures && target/pictures/bin/pip install numpy pydicom imagecodecs
    target/pictures/bin/python benches/pictures.py target/pictures/images
    RADROUTE_BENCH_IMAGES=$PWD/target/pictures/images cargo bench --bench pixels

With dcmtk's dcmcjpeg and dcmcjpls on the path, it is written by them too.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
from pydicom.encaps import encapsulate

COLUMNS, ROWS = 2500, 3000


def picture() -> np.ndarray:
    """A limb-like brightness and the grain of a detector."""
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j].astype(np.float32)
    body = np.maximum(0, 1 - 2 * x * x) * (1 - 0.4 * y * y)
    bone = np.maximum(0, 1 - np.abs(6 * x))
    grain = np.random.default_rng(1).normal(0, 6, (ROWS, COLUMNS))
    return (200 + 2800 * body + 400 * bone + grain).clip(0, 4095).astype("<u2")


def element(tag: int, vr: str, value: bytes) -> bytes:
    """In explicit VR, little endian; an odd value is padded."""
    value += (b"\0" if vr in ("UI", "OB") else b" ") * (len(value) % 2)
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr.encode()
    if vr in ("OB", "OW"):
        return head + b"\0\0" + len(value).to_bytes(4, "little") + value
    return head + len(value).to_bytes(2, "little") + value


def write(
    path: Path, syntax: str, frame: bytes, encapsulated: bool = True, padding: int | None = None, size: tuple[int, int] = (ROWS, COLUMNS)
) -> None:
    """A DX image of `size` (rows, columns), by hand: pydicom writes no transfer syntax that it does not know."""
    number = lambda tag, n: element(tag, "US", n.to_bytes(2, "little"))
    dx = b"1.2.840.10008.5.1.4.1.1.1.1"
    meta = element(0x00020001, "OB", b"\0\1") + element(0x00020002, "UI", dx) + element(0x00020003, "UI", b"2.25.1")
    meta += element(0x00020010, "UI", syntax.encode()) + element(0x00020012, "UI", b"2.25.2")
    body = element(0x00080016, "UI", dx) + element(0x00080018, "UI", b"2.25.1") + element(0x00080060, "CS", b"DX")
    body += element(0x0020000D, "UI", b"2.25.3") + element(0x0020000E, "UI", b"2.25.4")
    body += number(0x00280002, 1) + element(0x00280004, "CS", b"MONOCHROME2")
    for tag, n in ((0x10, size[0]), (0x11, size[1]), (0x100, 16), (0x101, 12), (0x102, 11), (0x103, 0)):
        body += number(0x00280000 | tag, n)
    if padding is not None:
        body += number(0x00280120, padding)
    body += element(0x00281050, "DS", b"2048") + element(0x00281051, "DS", b"4096")
    if encapsulated:
        pixels = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + encapsulate([frame]) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    else:
        pixels = element(0x7FE00010, "OW", frame)
    length = element(0x00020000, "UL", len(meta).to_bytes(4, "little"))
    path.write_bytes(bytes(128) + b"DICM" + length + meta + body + pixels)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    image = picture()
    plain = folder / "uncompressed.dcm"
    write(plain, "1.2.840.10008.1.2.1", image.tobytes(), encapsulated=False)
    write(folder / "uncompressed_padded.dcm", "1.2.840.10008.1.2.1", image.tobytes(), encapsulated=False, padding=0)
    jpeg2000 = lambda **how: imagecodecs.jpeg2k_encode(image, codecformat="j2k", bitspersample=12, **how)
    lossless = jpeg2000(level=0, reversible=True)
    write(folder / "jpeg2000_lossless.dcm", "1.2.840.10008.1.2.4.90", lossless)
    write(folder / "jpeg2000_padded.dcm", "1.2.840.10008.1.2.4.90", lossless, padding=0)
    write(folder / "jpeg2000.dcm", "1.2.840.10008.1.2.4.91", jpeg2000(level=70))
    write(folder / "htj2k_lossless.dcm", "1.2.840.10008.1.2.4.201", imagecodecs.htj2k_encode(image))
    jpeg_xl = imagecodecs.jpegxl_encode(image, lossless=True, bitspersample=12, effort=3)
    write(folder / "jpeg_xl_lossless.dcm", "1.2.840.10008.1.2.4.110", jpeg_xl)
    tools = {
        "jpeg_12_bits": ("dcmcjpeg", "+ee", "+bt", "+q", "90"),
        "jpeg_lossless_57_predictor_4": ("dcmcjpeg", "+el", "+sv", "4"),
        "jpeg_lossless_57_predictor_6": ("dcmcjpeg", "+el", "+sv", "6"),
        "jpeg_lossless_70": ("dcmcjpeg", "+e1"),
        "jpeg_ls": ("dcmcjpls", "+el"),
        "jpeg_ls_near": ("dcmcjpls", "+en"),
    }
    for name, command in tools.items():
        if shutil.which(command[0]):
            subprocess.run([*command, plain, folder / f"{name}.dcm"], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
