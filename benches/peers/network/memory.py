"""Resident memory while images come, are classified and leave: see memory.sh."""
import argparse
import os
import pathlib
import shutil
import tempfile
import time

import images
from load import send
from measure import Watch, peak, rss
from nodes import Radroute, Storescp
from table import print_machine, print_table

# What has been delivered makes room at once: neither disk nor ledger is what this looks at.
TABLES = '[retention]\ndelivered = "0s"'
# CR on one association
HANDFUL = 100

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--associations", type=int, default=64)
parser.add_argument("--instances", type=int, default=2000, help="how many CR, after the DX")
parser.add_argument("--memory", default="/dev/shm", help="a folder in memory, for the images")
parser.add_argument("--disk", default=tempfile.gettempdir(), help="a folder on a disk, for the spool")
parser.add_argument("--unbound", action="store_true", help="without the bound on glibc's heaps that the unit sets")
args = parser.parse_args()


def drain(out, count):
    """Waits until `count` instances have arrived, and removes them."""
    began = time.monotonic()
    while sum(1 for _ in os.scandir(out)) < count:
        if time.monotonic() - began > 300:
            raise SystemExit(f"{sum(1 for _ in os.scandir(out))} of {count} arrived in five minutes")
        time.sleep(0.05)
    # the sink may still be writing the last ones: it does not mind
    for entry in os.scandir(out):
        os.unlink(entry.path)


def router(folder, to):
    node = Radroute(folder, to, tables=TABLES)
    if args.unbound:
        node.environment = {}
    return node


def main():
    memory = pathlib.Path(tempfile.mkdtemp(prefix="radroute-bench-", dir=args.memory))
    disk = pathlib.Path(tempfile.mkdtemp(prefix="radroute-bench-", dir=args.disk))
    try:
        print_machine([os.environ["RADROUTE"], "--version"])
        with Storescp(memory / "sink") as sink, router(disk / "router", sink.port) as node:
            pid, out = node.process.pid, sink.folder / "out"
            rows = [["idle, the network loaded", rss(pid), peak(pid)]]
            folders = [memory / f"images/{n}" for n in range(args.associations)]
            images.write("DX", folders, args.associations)
            with Watch(pid, every=0.05) as watch:
                send(node, folders)
                drain(out, args.associations)
            rows.append([f"{args.associations} associations, a DX each, at once", watch.most, peak(pid)])
            shutil.rmtree(memory / "images")
            done = 0
            while done < args.instances:
                # four times on the way, then only the end is told
                upto = min(args.instances, done + max(HANDFUL, args.instances // 4))
                with Watch(pid, every=1.0) as watch:
                    while done < upto:
                        images.write("CR", [memory / "images/0"], HANDFUL, start=1000 + done)
                        send(node, [memory / "images/0"])
                        drain(out, HANDFUL)
                        shutil.rmtree(memory / "images")
                        done += HANDFUL
                rows.append([f"up to {done} CR", watch.most, peak(pid)])
        print_table(["when", "resident MB, most", "peak since start"], rows)
    finally:
        shutil.rmtree(memory, ignore_errors=True)
        shutil.rmtree(disk, ignore_errors=True)


main()
