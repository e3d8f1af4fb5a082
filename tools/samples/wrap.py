#!/usr/bin/env python3
"""Wraps rendered pictures as the sample DICOM files of tests/data.

    python3 tools/samples/wrap.py PICTURES tests/data

PICTURES holds what render.py wrote. Needs pydicom 3, numpy, pylibjpeg-openjpeg, and dcmtk's dcmcjpeg on PATH.
The result is a pure function of the pictures: UIDs are hashes under 2.25, dates are fixed, the patients are no one's.
samples.tsv, written beside the files, says what each is.
"""
import hashlib
import os
import subprocess
import sys
import tempfile
import warnings
import zlib

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import UID

warnings.filterwarnings("ignore")  # Explicit VR Big Endian is retired, and meant

CR, DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"
SYNTAX = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "big endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "jpeg": "1.2.840.10008.1.2.4.50",
    "jpeg lossless": "1.2.840.10008.1.2.4.70",
    "jpeg 2000": "1.2.840.10008.1.2.4.90",
    "rle": "1.2.840.10008.1.2.5",
}
SCT = {
    "SHOULDER": ("16982005", "Shoulder"), "ELBOW": ("16953009", "Elbow"), "HAND": ("85562004", "Hand"),
    "PELVIS": ("816092008", "Pelvis"), "KNEE": ("72696002", "Knee"), "CHEST": ("816094009", "Chest"),
    "SKULL": ("89546000", "Skull"), "FOOT": ("56459004", "Foot"), "ANKLE": ("70258002", "Ankle"),
    "LSPINE": ("122496007", "Lumbar spine"),
}
PAIRED = {"SHOULDER", "ELBOW", "HAND", "KNEE", "FOOT", "ANKLE"}
VIEWS = {"AP": ("399348003", "antero-posterior"), "PA": ("272479007", "postero-anterior"),
         "LL": ("399173006", "left lateral"), "LLO": ("399356007", "left posterior oblique")}

# name, region, index, view, class, syntax, bits stored, MONOCHROME, BodyPartExamined as stored (None: absent), quirks.
# Quirks: area=T (Anatomic Region Sequence says T), history (an Original Attributes item), private, groups (group lengths),
# undefined (sequences and items of undefined length), signed, lut (VOI LUT Sequence), same=N (series of N), study=N (study of N).
SAMPLES = [
    ("shoulder-1", "SHOULDER", 511, "AP", DX, "deflated", 12, 2, "CHEST", {"area": "CHEST"}),
    ("shoulder-2", "SHOULDER", 512, "AP", CR, "implicit", 8, 2, "", {"private": 1}),
    ("elbow-1", "ELBOW", 502, "LL", CR, "big endian", 12, 2, "KNEE", {"undefined": 1}),
    ("elbow-2", "ELBOW", 509, "AP", DX, "jpeg lossless", 12, 1, "ELBOW", {"area": "ELBOW"}),
    ("hand-1", "HAND", 501, "PA", CR, "rle", 12, 2, "MANO", {}),
    ("hand-2", "HAND", 510, "LLO", CR, "rle", 12, 2, "MANO", {"same": "hand-1"}),
    ("pelvis-1", "PELVIS", 500, "AP", DX, "explicit", 8, 2, None, {"history": 1, "undefined": 1}),
    ("pelvis-2", "PELVIS", 504, "AP", CR, "jpeg", 8, 2, "HIP", {"groups": 1}),
    ("knee-1", "KNEE", 504, "AP", DX, "jpeg 2000", 12, 2, "EXTREMITY", {"area": "KNEE", "undefined": 1}),
    ("knee-2", "KNEE", 508, "LL", DX, "implicit", 16, 1, "ANKLE", {"study": "knee-1", "groups": 1, "private": 1, "area": "ANKLE"}),
    ("foot-1", "FOOT", 152, "AP", CR, "explicit", 10, 1, "FOOT", {"signed": 1}),
    ("chest-1", "CHEST", 152, "AP", DX, "jpeg lossless", 10, 2, None, {"lut": 1}),
    ("skull-1", "SKULL", 151, "LL", CR, "explicit", 8, 2, "SKULL", {"groups": 1, "private": 1}),
    ("ankle-1", "ANKLE", 150, "LL", DX, "big endian", 8, 1, "KNEE", {"area": "ANKLE"}),
    ("lspine-1", "LSPINE", 152, "AP", CR, "jpeg", 8, 1, "PELVIS", {"history": 1}),
]


def uid(*what):
    digest = hashlib.sha256("/".join(("radroute sample", *what)).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def code(value, meaning, scheme="SCT"):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def stored_values(grey, bits, inverted, signed, rng):
    """8-bit grey → stored values, and the window (center, width) that shows them as the picture was."""
    grey = 255 - grey if inverted else grey
    if bits == 8:
        return grey.astype(np.int32), 128, 256
    # Spread over most of the range, with noise in the bits that the picture does not have.
    step = max(1, (1 << bits) * 5 // 8 // 256)
    offset = -(1 << (bits - 2)) if signed else 1 << (bits - 4)
    noise = rng.integers(0, max(1, min(step, 4)), grey.shape)
    return offset + grey.astype(np.int32) * step + noise, offset + 128 * step, 256 * step


def general(ds, sample):
    name, region, index, view, sop_class, _, _, _, body_part, quirks = sample
    series = quirks.get("same", name)
    study = quirks.get("study", series)
    patient = region.capitalize()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid("instance", name)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid("study", study), uid("series", series)
    ds.PatientName, ds.PatientID = f"SAMPLE^{patient}", f"SAMPLE-{zlib.crc32(study.encode()) % 10000:04}"
    ds.PatientBirthDate, ds.PatientSex = "19700101", "O"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260105"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "", study[:16].upper(), ""
    ds.StudyDescription = f"Röntgen {patient}" if region == "ELBOW" else f"XR {patient}"
    ds.Modality = "CR" if sop_class == CR else "DX"
    ds.SeriesNumber = "2" if "study" in quirks else "1"
    ds.InstanceNumber = "2" if "same" in quirks else "1"
    ds.Manufacturer, ds.ManufacturerModelName = "radroute", "synthetic samples"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "1", "1"
    ds.InstitutionName, ds.StationName = "Sample Hospital", f"XR-{ds.Modality}"
    ds.PatientOrientation = ["A", "F"] if view == "LL" else ["L", "F"]
    ds.ImageComments = "Synthetic radiograph, no patient"
    if body_part is not None:
        ds.BodyPartExamined = body_part
    ds.BurnedInAnnotation = "NO"


def computed_radiography(ds, sample):
    region, view = sample[1], sample[3]
    ds.ViewPosition = view
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    if region in PAIRED:
        ds.Laterality = "L"
    elif sample[8] == "HIP":
        ds.Laterality = ""


def digital_x_ray(ds, sample):
    _, region, _, view, _, _, _, mono, _, quirks = sample
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.ImageLaterality = "L" if region in PAIRED else "U"
    if "area" in quirks:
        ds.AnatomicRegionSequence = Sequence([code(*SCT[quirks["area"]])])
    else:
        ds.AnatomicRegionSequence = Sequence()
    ds.PixelIntensityRelationship = "LOG"
    ds.PixelIntensityRelationshipSign = 1 if mono == 1 else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.PresentationLUTShape = "INVERSE" if mono == 1 else "IDENTITY"
    ds.LossyImageCompression = "00"
    ds.AcquisitionDeviceProcessingDescription = "none"
    ds.DetectorType, ds.DetectorConfiguration, ds.DetectorID = "DIRECT", "AREA", "SAMPLE"
    ds.ImagerPixelSpacing = [0.8, 0.8]
    ds.PositionerType = "NONE"
    ds.ViewPosition = view
    ds.ViewCodeSequence = Sequence([code(*VIEWS[view])])
    ds.AcquisitionContextSequence = Sequence()


def quirky(ds, quirks):
    if "history" in quirks:
        previous, item = Dataset(), Dataset()
        previous.PatientID = "SAMPLE-OLD"
        item.SourceOfPreviousValues, item.AttributeModificationDateTime = "Sample Hospital", "20260105103000"
        item.ModifyingSystem, item.ReasonForTheAttributeModification = "SAMPLE-ADMIN", "COERCE"
        item.ModifiedAttributesSequence = Sequence([previous])
        ds.OriginalAttributesSequence = Sequence([item])
    if "private" in quirks:
        block = ds.private_block(0x0019, "RADROUTE SAMPLE", create=True)
        inner = Dataset()
        inner.CodeMeaning = "a private sequence"
        block.add_new(0x01, "LO", "private text")
        block.add_new(0x02, "SQ", Sequence([inner]))
        block.add_new(0x03, "OB", bytes(range(32)))
        block.add_new(0x04, "FD", 0.25)
    if "undefined" in quirks:
        request, inner = Dataset(), Dataset()
        request.RequestedProcedureID, request.ScheduledProcedureStepID = "P1", "S1"
        request.RequestedProcedureDescription = "X-ray"
        request.ScheduledProtocolCodeSequence = Sequence([code("P-1", "Protocol", "99SAMPLE")])
        ds.RequestAttributesSequence = Sequence([request])
        for element in ds:
            if element.VR == "SQ":
                undefined(element)


def undefined(element):
    element.is_undefined_length = True
    for item in element.value:
        item.is_undefined_length_sequence_item = True
        for inner in item:
            if inner.VR == "SQ":
                undefined(inner)


def group_lengths(ds, implicit):
    """Adds (gggg,0000) for every group: retired, and still met."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    for group in sorted({element.tag.group for element in ds}):
        part = ds.group_dataset(group)
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
        write_dataset(buffer, part)
        ds.add_new((group, 0), "UL", len(buffer.getvalue()))


def pixels(ds, grey, sample):
    name, _, _, _, _, syntax, bits, mono, _, quirks = sample
    signed = "signed" in quirks
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values, center, width = stored_values(grey, bits, mono == 1, signed, rng)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    assert low <= values.min() and values.max() <= high, (name, values.min(), values.max())
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, f"MONOCHROME{mono}"
    ds.Rows, ds.Columns = grey.shape
    ds.BitsAllocated = 8 if bits == 8 else 16
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, int(signed)
    if "lut" in quirks:
        # A gentle S over all stored values, to 12 bits.
        x = np.arange(1 << bits, dtype=np.float64)
        y = 4095 / (1 + np.exp(-4.5 * (x - center) / width))
        item = Dataset()
        item.LUTDescriptor, item.LUTData = [1 << bits, 0, 12], y.round().astype("<u2").tobytes()
        item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
        item.LUTExplanation = "S-shaped"
        ds.VOILUTSequence = Sequence([item])
    else:
        ds.WindowCenter, ds.WindowWidth = str(center), str(width)
    raw = values.astype(np.uint8) if bits == 8 else (values & 0xFFFF).astype("<u2")
    data = raw.tobytes()
    return data + b"\0" * (len(data) % 2), raw


def compressed(ds, data, syntax):
    """The frame as dcmtk or OpenJPEG or pydicom compresses it, put back into our own data set."""
    if syntax == "rle" or syntax == "jpeg 2000":
        plain = FileDataset("", ds, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
        plain.file_meta.TransferSyntaxUID = UID(SYNTAX["explicit"])
        plain.PixelData = data
        plain["PixelData"].VR = "OW" if ds.BitsAllocated == 16 else "OB"
        plain.compress(UID(SYNTAX[syntax]), generate_instance_uid=False)
        return next(generate_frames(plain.PixelData, number_of_frames=1))
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "in.dcm"), os.path.join(folder, "out.dcm")
        plain = FileDataset("", ds, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
        plain.file_meta.TransferSyntaxUID = UID(SYNTAX["explicit"])
        plain.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        plain.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        plain.PixelData = data
        plain["PixelData"].VR = "OW"
        plain.save_as(source, enforce_file_format=True)
        # +un: the UID stays. By default no window is applied to the stored values.
        how = ["+eb", "+q", "92", "+un"] if syntax == "jpeg" else ["+e1", "+un"]
        subprocess.run(["/usr/bin/dcmcjpeg", *how, source, target], check=True)
        return next(generate_frames(pydicom.dcmread(target).PixelData, number_of_frames=1))


def wrap(sample, grey, out):
    name, region, index, view, sop_class, syntax, bits, mono, body_part, quirks = sample
    ds = Dataset()
    general(ds, sample)
    (computed_radiography if sop_class == CR else digital_x_ray)(ds, sample)
    data, raw = pixels(ds, grey, sample)
    quirky(ds, quirks)
    if syntax in ("jpeg", "jpeg lossless", "jpeg 2000", "rle"):
        frame = compressed(ds, data, syntax)
        ds.PixelData = encapsulate([frame], has_bot=syntax != "jpeg 2000")
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        if syntax == "jpeg":
            ds.LossyImageCompression, ds.LossyImageCompressionMethod = "01", "ISO_10918_1"
            ds.LossyImageCompressionRatio = f"{len(data) / len(frame):.2f}"
    else:
        if syntax == "big endian" and bits > 8:
            data = raw.astype(">u2").tobytes()
        ds.PixelData = data
        ds["PixelData"].VR = "OB" if bits == 8 and syntax != "implicit" else "OW"
    implicit = syntax == "implicit"
    if "groups" in quirks:
        group_lengths(ds, implicit)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = UID(SYNTAX[syntax])
    meta.ImplementationClassUID, meta.ImplementationVersionName = uid("implementation"), "RADROUTE_SAMPLE"
    file = FileDataset("", ds, file_meta=meta, preamble=b"\0" * 128)
    path = os.path.join(out, f"{name}.dcm")
    pydicom.dcmwrite(path, file, implicit_vr=implicit, little_endian=syntax != "big endian", enforce_file_format=True)
    seed = (zlib.crc32(region.encode()) ^ (index * 2654435761)) & 0x7FFFFFFF
    shown = "(absent)" if body_part is None else body_part or "(empty)"
    return "\t".join([f"{name}.dcm", region, SYNTAX[syntax], f"MONOCHROME{mono}", shown, str(seed), str(index), view,
                      "CR" if sop_class == CR else "DX", str(bits), " ".join(f"{k}={v}" for k, v in quirks.items())])


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    import cv2

    pictures, out = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    rows = ["file\tregion\ttransfer_syntax\tphotometric\tbody_part_examined\tseed\tindex\tview\tmodality\tbits\tnotes"]
    for sample in SAMPLES:
        grey = cv2.imread(os.path.join(pictures, f"{sample[1]}_{sample[2]:05d}.png"), cv2.IMREAD_GRAYSCALE)
        rows.append(wrap(sample, grey, out))
    with open(os.path.join(out, "samples.tsv"), "w") as f:
        f.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
