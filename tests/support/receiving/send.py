"""Sends files with pynetdicom: send.py PORT PDU_LENGTH FILE...  Prints the status of each, one a line."""
import sys
import time

from pydicom import dcmread
from pynetdicom import AE

port, pdu_length, files = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
data_sets = [dcmread(file) for file in files]
ae = AE(ae_title="PYNET")
ae.add_requested_context("1.2.840.10008.1.1")
for ds in data_sets:
    ae.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
assoc = ae.associate("127.0.0.1", port, ae_title="RADROUTE", max_pdu=pdu_length)
if not assoc.is_established:
    sys.exit("no association")
print(f"{assoc.send_c_echo(msg_id=42).Status:04X}")
for ds in data_sets:
    # Its reactor may still be on its way to the pause that send_c_store believes it in, and then takes a quick response itself.
    time.sleep(0.02)
    print(f"{assoc.send_c_store(ds).Status:04X}")
assoc.release()
