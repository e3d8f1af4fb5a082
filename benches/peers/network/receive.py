"""Reception side by side: see receive.sh."""
import collections
import os
import shutil

import arguments
import images
from load import send
from measure import Watch
from nodes import Radroute, Storescp, tool
from table import median, print_machine, print_table

# Reception alone: nothing is looked at and nothing goes anywhere.
ALONE = 'exempt = [{ calling_ae = ["*"] }]'
# What all are compared with.
BASE = "storescp --fork"

asked = arguments.rounds(__doc__, dx=60, cr=320)
asked.add_argument("--associations", default="1,4")
args = asked.parse_args()


def servers(memory, disk):
    return {
        BASE: lambda: Storescp(memory / "storescp"),
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
    print_machine([tool("storescp"), "--version"], [os.environ["RADROUTE"], "--version"])
    with arguments.folders(args) as (memory, disk):
        taking_turns = arguments.chosen(servers(memory, disk), args.only, always=(BASE,))
        for kind in args.kinds.split(","):
            count = args.dx if kind == "DX" else args.cr
            for associations in map(int, args.associations.split(",")):
                folders = [memory / f"images/{n}" for n in range(associations)]
                size = images.write(kind, folders, count)
                results = collections.defaultdict(list)
                for _ in range(args.rounds):
                    for name, make in taking_turns.items():
                        results[name].append(run(make, folders, count))
                shutil.rmtree(memory / "images")
                print(f"{kind} ({size / 1e6:.1f} MB), {count} on {associations} association(s), median of {args.rounds}\n")
                base = median([rate for rate, _, _ in results[BASE]])
                rows = []
                for name, runs in results.items():
                    rate, cpu, most = (median(column) for column in zip(*runs))
                    rows.append([name, rate, f"{rate / base:.2f}", cpu, most])
                print_table(["server", "instances/s", "ratio", "CPU s/100", "memory MB"], rows)


main()
