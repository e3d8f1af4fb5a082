"""Orthanc as a router: the tag is edited as an instance comes in, Lua sends it on and deletes it."""
import json

from nodes import Node, tool

EDIT = """
import io
import orthanc
import pydicom


def edit(dicom, origin):
    data = pydicom.dcmread(io.BytesIO(dicom))
    data.BodyPartExamined = "ELBOW"
    out = io.BytesIO()
    data.save_as(out)
    return orthanc.ReceivedInstanceAction.MODIFY, out.getvalue()


orthanc.RegisterReceivedInstanceCallback(edit)
"""
FORWARD = """
function OnStoredInstance(id, tags, metadata, origin)
  Delete(SendToModality(id, 'sink'))
end
"""


class Orthanc(Node):
    """`edit`: whether the tag is changed on the way."""

    ae = "ORTHANC"

    def __init__(self, folder, to, edit=True):
        super().__init__(folder)
        self.to, self.edit = to, edit

    def command(self):
        (self.folder / "edit.py").write_text(EDIT)
        (self.folder / "forward.lua").write_text(FORWARD)
        config = {
            "StorageDirectory": str(self.folder / "store"),
            "IndexDirectory": str(self.folder / "store"),
            "HttpServerEnabled": False,
            "DicomAet": self.ae,
            "DicomPort": self.port,
            "DicomAlwaysAllowStore": True,
            "DicomThreadsCount": 4,
            "JobsHistorySize": 10,
            "ConcurrentJobs": 4,
            "StableAge": 60,
            "DicomModalities": {"sink": ["SINK", "127.0.0.1", self.to]},
            "LuaScripts": [str(self.folder / "forward.lua")],
            "Plugins": [],
        }
        if self.edit:
            config["Plugins"] = ["/usr/share/orthanc/plugins"]
            config["PythonScript"] = str(self.folder / "edit.py")
        (self.folder / "orthanc.json").write_text(json.dumps(config))
        return [tool("Orthanc"), str(self.folder / "orthanc.json")]
