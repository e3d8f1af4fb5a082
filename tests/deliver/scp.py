"""A C-STORE SCP that answers what it is told to (pynetdicom).

scp.py PORT DIR STATUSES [--classes UID,...] [--syntaxes UID,...] [--sleep SECONDS] [--limit N]
    [--window N]
STATUSES: hexadecimal, one for each C-STORE, the last one for all that follow. What was answered with success or a
warning is written to DIR as UID.dcm; DIR/log gets one line "UID STATUS" for each C-STORE.
"""
import argparse
import os
import threading
import time

from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, evt

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("dir")
parser.add_argument("statuses")
parser.add_argument("--classes")
parser.add_argument("--syntaxes")
parser.add_argument("--sleep", type=float, default=0)
parser.add_argument("--limit", type=int, default=10)
parser.add_argument("--window", type=int)
args = parser.parse_args()
statuses = [int(s, 16) for s in args.statuses.split(",")]
lock = threading.Lock()


def store(event):
    with lock:
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        uid = str(event.request.AffectedSOPInstanceUID)
        assert all(c in "0123456789." for c in uid)
        if status == 0 or status >> 12 == 0xB:
            with open(os.path.join(args.dir, uid + ".part"), "wb") as f:
                f.write(event.encoded_dataset())
            os.rename(os.path.join(args.dir, uid + ".part"), os.path.join(args.dir, uid + ".dcm"))
        with open(os.path.join(args.dir, "log"), "a") as f:
            f.write(f"{uid} {status:04X}\n")
    time.sleep(args.sleep)
    return status


ae = AE(ae_title="ARCHIVE")
ae.maximum_associations = args.limit
classes = args.classes.split(",") if args.classes else [c.abstract_syntax for c in AllStoragePresentationContexts]
syntaxes = args.syntaxes.split(",") if args.syntaxes else list(AllTransferSyntaxes)
for sop_class in classes:
    ae.add_supported_context(sop_class, syntaxes)
handlers = [(evt.EVT_C_STORE, store)]
if args.window is not None:
    handlers.append((evt.EVT_ASYNC_OPS, lambda event: (args.window, 1)))
ae.start_server(("127.0.0.1", args.port), block=False, evt_handlers=handlers)
print("listening", flush=True)
threading.Event().wait()
