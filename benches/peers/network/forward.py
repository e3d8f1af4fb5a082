"""Store and forward side by side: see forward.sh."""
import collections
import io
import os
import shutil
import time

import arguments
import images
import pydicom
from load import send
from measure import Watch
from nodes import Radroute, Storescp, tool
from orthanc import Orthanc
from table import median, print_machine, print_table

ASSOCIATIONS = 4
# All that stands before the pixels
HEAD = 16384

args = arguments.rounds(__doc__, dx=60, cr=240).parse_args()


def routers(memory, disk):
    return {
        "Orthanc, Python edit, Lua route": lambda to: Orthanc(memory / "router", to),
        "Orthanc, Lua route, no edit": lambda to: Orthanc(memory / "router", to, edit=False),
        "radroute, spool on disk, synced": lambda to: Radroute(disk / "router", to),
        "radroute, spool in memory": lambda to: Radroute(memory / "router", to),
    }


def taken(folder, pixels):
    """The first bytes of each instance that is there whole, and it is removed: the archive is a load that both routers bear."""
    heads = []
    for entry in os.scandir(folder):
        if entry.stat().st_size > pixels:
            with open(entry.path, "rb") as file:
                heads.append(file.read(HEAD))
            os.unlink(entry.path)
    return heads


def run(make, memory, folders, count, pixels):
    """Instances a second, CPU seconds of the router for 100, its memory, the share whose tag was changed."""
    with Storescp(memory / "sink") as sink, make(sink.port) as node:
        out = sink.folder / "out"
        began = time.monotonic()
        with Watch(node.process.pid) as watch:
            send(node, folders)
            heads = []
            while len(heads := heads + taken(out, pixels)) < count:
                if time.monotonic() - began > 120:
                    raise SystemExit(f"{len(heads)} of {count} arrived in two minutes")
                time.sleep(0.01)
            seconds = time.monotonic() - began
        tags = [pydicom.dcmread(io.BytesIO(head), stop_before_pixels=True).get("BodyPartExamined") for head in heads]
        return count / seconds, watch.cpu / count * 100, watch.most, 1 - tags.count(images.TAG) / count


def main():
    print_machine(
        [tool("Orthanc"), "--version"], [tool("storescp"), "--version"], [os.environ["RADROUTE"], "--version"]
    )
    with arguments.folders(args) as (memory, disk):
        asked = arguments.chosen(routers(memory, disk), args.only)
        for kind in args.kinds.split(","):
            count = args.dx if kind == "DX" else args.cr
            folders = [memory / f"images/{n}" for n in range(ASSOCIATIONS)]
            size = images.write(kind, folders, count)
            rows, columns, _ = images.KINDS[kind]
            results = collections.defaultdict(list)
            for _ in range(args.rounds):
                for name, make in asked.items():
                    results[name].append(run(make, memory, folders, count, 2 * rows * columns))
            shutil.rmtree(memory / "images")
            print(f"{kind} ({size / 1e6:.1f} MB), {count} on {ASSOCIATIONS} associations, median of {args.rounds}\n")
            base = median([rate for rate, *_ in next(iter(results.values()))])
            table = []
            for name, runs in results.items():
                rate, cpu, most, edited = (median(column) for column in zip(*runs))
                table.append([name, rate, f"{rate / base:.2f}", cpu, most, f"{100 * edited:.0f} %"])
            print_table(["router", "instances/s", "ratio", "CPU s/100", "memory MB", "tag changed"], table)


main()
