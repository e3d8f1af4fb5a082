"""Radiographs to send: the project's pictures in the size of a DX or a CR, uncompressed, each file with UIDs of its own.

Each series shows one of the five regions, and its tag says CHEST, so a router that looks has something to correct.
"""
import pathlib

import numpy
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

DATA = pathlib.Path(__file__).parents[3] / "tests/data"
# Those of the samples that any pydicom can read.
PICTURES = ["elbow-1", "hand-1", "pelvis-1", "shoulder-1", "knee-2", "shoulder-2"]
TAG = "CHEST"
# rows, columns, SOP class: 15.0 and 2.1 MB in 16 bits
KINDS = {
    "DX": (3000, 2500, "1.2.840.10008.5.1.4.1.1.1.1"),
    "CR": (1024, 1024, "1.2.840.10008.5.1.4.1.1.1"),
}
# A UID of fixed length, so that another can take its place in the bytes.
UID = "2.25.{:08d}000000{:06d}"
PLACE = {name: UID.format(99999990 + n, 999999) for n, name in enumerate(("study", "series", "instance"))}


def template(kind, picture):
    """The bytes of a file whose three UIDs are placeholders."""
    rows, columns, sop_class = KINDS[kind]
    source = pydicom.dcmread(DATA / f"{picture}.dcm")
    small = source.pixel_array.astype(numpy.float32)
    y = numpy.linspace(0, small.shape[0] - 1, rows)
    x = numpy.linspace(0, small.shape[1] - 1, columns)
    y0, x0 = y.astype(int).clip(0, small.shape[0] - 2), x.astype(int).clip(0, small.shape[1] - 2)
    fy, fx = (y - y0)[:, None], (x - x0)[None, :]
    top = small[y0][:, x0] * (1 - fx) + small[y0][:, x0 + 1] * fx
    bottom = small[y0 + 1][:, x0] * (1 - fx) + small[y0 + 1][:, x0 + 1] * fx
    noise = numpy.random.default_rng(1).normal(0, 2.0 ** (source.BitsStored - 10), (rows, columns))
    pixels = (top * (1 - fy) + bottom * fy + noise).clip(0, 2 ** source.BitsStored - 1).astype("<u2")

    d = Dataset()
    d.SOPClassUID, d.SOPInstanceUID = sop_class, PLACE["instance"]
    d.StudyDate, d.StudyTime, d.Modality, d.Manufacturer = "20260102", "101112", kind, "Bench"
    d.AccessionNumber = d.ReferringPhysicianName = ""
    d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientSex = "Bench^Image", "BENCH", "", ""
    d.BodyPartExamined = TAG
    d.StudyInstanceUID, d.SeriesInstanceUID, d.StudyID = PLACE["study"], PLACE["series"], "1"
    d.SeriesNumber = d.InstanceNumber = 1
    d.SamplesPerPixel, d.PhotometricInterpretation, d.Rows, d.Columns = 1, source.PhotometricInterpretation, rows, columns
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, source.BitsStored, source.BitsStored - 1, 0
    d.add_new(0x7FE00010, "OW", pixels.tobytes())
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, d.SOPInstanceUID
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, "2.25.1"
    d.file_meta = meta
    out = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(out, d, enforce_file_format=True)
    return out.getvalue()


def write(kind, folders, count, series_of=2, start=0):
    """Fills `folders` with `count` files in turn; `series_of` files share a series, which is a study of its own."""
    bases = [template(kind, picture) for picture in PICTURES]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        which = n % len(folders)
        series = start + (n // len(folders) // series_of) * len(folders) + which
        base = bases[series % len(bases)]
        # the header alone holds UIDs: looking for them in the pixels would take as long as writing them
        head, pixels = base[:2000], base[2000:]
        numbers = {"study": series, "series": series, "instance": start + n}
        bytes_ = head
        for m, (name, number) in enumerate(numbers.items()):
            bytes_ = bytes_.replace(PLACE[name].encode(), UID.format(10000000 * (m + 1), number).encode())
        (folders[which] / f"{start + n:06d}.dcm").write_bytes(bytes_ + pixels)
    return max(map(len, bases))
