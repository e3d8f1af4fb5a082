"""Reception side by side: see receive.sh."""
import argparse
import collections
import os
import pathlib
import shutil
import tempfile

import images
from load import send
from measure import Watch, cpu
from nodes import Radroute, Storescp, tool
from table import median, print_machine, print_table

# Reception alone: nothing is looked at and nothing goes anywhere.
ALONE = 'exempt = [{ calling_ae = ["*"] }]'

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--kinds", default="DX,CR")
parser.add_argument("--associations", default="1,4")
parser.add_argument("--dx", type=int, default=60, help="how many DX a run")
parser.add_argument("--cr", type=int, default=320, help="how many CR a run")
parser.add_argument("--only", default="", help="servers whose names contain one of these, with commas")
parser.add_argument("--memory", default="/dev/shm", help="a folder in memory")
parser.add_argument("--disk", default=tempfile.gettempdir(), help="a folder on a disk")
args = parser.parse_args()


def servers(memory, disk):
    return {
        "storescp --fork": lambda: Storescp(memory / "storescp"),
        "storescp --fork -pdu 131072": lambda: Storescp(memory / "storescp", 131072),
        "storescp --fork, store on disk, not synced": lambda: Storescp(disk / "storescp"),
        "radroute, spool in memory": lambda: Radroute(memory / "radroute", classify=ALONE),
        "radroute, spool on disk, synced": lambda: Radroute(disk / "radroute", classify=ALONE),
    }


def run(make, folders, count):
    with make() as node:
        with Watch(node.process.pid) as watch:
            seconds = send(node, folders)
        return count / seconds, watch.cpu / count * 100, watch.most


def main():
    memory = pathlib.Path(tempfile.mkdtemp(prefix="radroute-bench-", dir=args.memory))
    disk = pathlib.Path(tempfile.mkdtemp(prefix="radroute-bench-", dir=args.disk))
    wanted = [word for word in args.only.split(",") if word]
    chosen = {
        name: make
        for name, make in servers(memory, disk).items()
        if not wanted or name == "storescp --fork" or any(word in name for word in wanted)
    }
    try:
        import os

        print_machine([tool("storescp"), "--version"], [os.environ["RADROUTE"], "--version"])
        for kind in args.kinds.split(","):
            count = args.dx if kind == "DX" else args.cr
            for associations in map(int, args.associations.split(",")):
                folders = [memory / f"images/{n}" for n in range(associations)]
                size = images.write(kind, folders, count)
                results = collections.defaultdict(list)
                for _ in range(args.rounds):
                    for name, make in chosen.items():
                        results[name].append(run(make, folders, count))
                shutil.rmtree(memory / "images")
                print(f"{kind} ({size / 1e6:.1f} MB), {count} on {associations} association(s), median of {args.rounds}\n")
                base = median([rate for rate, _, _ in results["storescp --fork"]])
                rows = []
                for name, runs in results.items():
                    rate, cpu_s, most = (median(column) for column in zip(*runs))
                    rows.append([name, rate, f"{rate / base:.2f}", cpu_s, most])
                print_table(["server", "instances/s", "ratio", "CPU s/100", "memory MB"], rows)
    finally:
        shutil.rmtree(memory, ignore_errors=True)
        shutil.rmtree(disk, ignore_errors=True)


main()
