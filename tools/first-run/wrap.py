#!/usr/bin/env python3
"""Wraps JPEG and PNG radiographs as DX objects with BodyPartExamined as you say, to try radroute on a folder of your own.

    python3 tools/first-run/wrap.py PICTURES OUT [--tags CHEST,EXTREMITY,,-] [--limit N]

PICTURES is searched with its subfolders. The tags are given in turn: a term, nothing (the tag is there and empty) or `-` (no tag).
Each picture becomes a study of its own, in OUT, with UIDs that depend on its bytes and its tag alone; OUT/wrapped.tsv says which file
became what. Needs pydicom 3, numpy and pillow. The patients are no one's.
"""
import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

DX = "1.2.840.10008.5.1.4.1.1.1.1"
# A DX object says the region twice. Terms whose code is not here get an empty sequence.
SCT = {
    "SHOULDER": ("16982005", "Shoulder"), "ELBOW": ("16953009", "Elbow"), "HAND": ("85562004", "Hand"),
    "PELVIS": ("816092008", "Pelvis"), "KNEE": ("72696002", "Knee"), "CHEST": ("816094009", "Chest"),
    "SKULL": ("89546000", "Skull"), "FOOT": ("56459004", "Foot"), "ABDOMEN": ("818981001", "Abdomen"),
    "EXTREMITY": ("66019005", "Extremity"),
}


def uid(*what):
    digest = hashlib.sha256("/".join(("radroute first run", *what)).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def wrap(picture, tag):
    content = picture.read_bytes()
    key = hashlib.sha256(content).hexdigest() + "/" + tag
    grey = np.asarray(Image.open(picture).convert("L"))
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = DX, uid("instance", key)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid("study", key), uid("series", key)
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "FIRST^RUN", key[:12], "", "O"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260105"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "", "1", ""
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "DX", "1", "1"
    ds.Manufacturer, ds.ManufacturerModelName, ds.DeviceSerialNumber, ds.SoftwareVersions = "radroute", "first run", "1", "1"
    ds.ImageType, ds.PresentationIntentType = ["ORIGINAL", "PRIMARY", ""], "FOR PRESENTATION"
    ds.PatientOrientation, ds.ImageLaterality, ds.BurnedInAnnotation = ["L", "F"], "U", "NO"
    ds.AnatomicRegionSequence, ds.AcquisitionContextSequence = Sequence(), Sequence()
    if tag in SCT:
        region = Dataset()
        region.CodeValue, region.CodeMeaning = SCT[tag]
        region.CodingSchemeDesignator = "SCT"
        ds.AnatomicRegionSequence = Sequence([region])
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.PresentationLUTShape, ds.LossyImageCompression = "IDENTITY", "00"
    ds.AcquisitionDeviceProcessingDescription, ds.PositionerType = "none", "NONE"
    ds.DetectorType, ds.DetectorConfiguration, ds.DetectorID, ds.ImagerPixelSpacing = "DIRECT", "AREA", "1", [0.8, 0.8]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = grey.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.WindowCenter, ds.WindowWidth = "128", "256"
    ds.PixelData = grey.tobytes() + b"\0" * (grey.size % 2)
    ds["PixelData"].VR = "OB"
    if tag != "-":
        ds.BodyPartExamined = tag
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, uid("implementation")
    return FileDataset("", ds, file_meta=meta, preamble=b"\0" * 128)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tags", default="CHEST,EXTREMITY,,-", help="given in turn; default: %(default)s")
    parser.add_argument("--limit", type=int, help="no more than so many pictures")
    args = parser.parse_args()
    pictures = sorted(p for p in args.pictures.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))[: args.limit]
    if not pictures:
        sys.exit(f"no JPEG or PNG pictures in {args.pictures}")
    args.out.mkdir(parents=True, exist_ok=True)
    tags = args.tags.split(",")
    rows = ["file\tpicture\tbody_part_examined\tsop_instance_uid"]
    for n, picture in enumerate(pictures):
        tag = tags[n % len(tags)]
        ds = wrap(picture, tag)
        name = f"{n:05}.dcm"
        ds.save_as(args.out / name, enforce_file_format=True)
        rows.append(f"{name}\t{picture.relative_to(args.pictures)}\t{tag}\t{ds.SOPInstanceUID}")
    (args.out / "wrapped.tsv").write_text("\n".join(rows) + "\n")
    print(f"{len(pictures)} pictures wrapped in {args.out}")


if __name__ == "__main__":
    main()
