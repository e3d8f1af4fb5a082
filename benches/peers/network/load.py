"""Senders: dcmtk's dcmsend, one process and so one association for each folder of images."""
import subprocess
import time

from nodes import ENVIRONMENT, tool


def send(node, folders, options=()):
    """Sends all folders at once; returns the seconds until the last is answered. A failure ends the program."""
    began = time.monotonic()
    # dcmsend gives up at once what the peer refuses: that is an error here
    senders = [
        subprocess.Popen(
            [tool("dcmsend"), "-aec", node.ae, *options, "+sd", "127.0.0.1", str(node.port), str(folder)],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for folder in folders
    ]
    for sender in senders:
        said = sender.communicate()[0].decode(errors="replace")
        if sender.returncode != 0:
            raise SystemExit(f"dcmsend to {node.ae} failed:\n{said[-2000:]}")
    return time.monotonic() - began
