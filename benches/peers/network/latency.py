"""From release to archive: see latency.sh."""
import statistics
import time

import arguments
import images
from load import send
from nodes import Radroute, Storescp
from table import print_machine

asked = arguments.parser(__doc__)
asked.add_argument("--times", type=int, default=20)
args = asked.parse_args()


def main():
    print_machine()
    with arguments.folders(args) as (memory, disk):
        folders = [memory / f"images/{n}" for n in range(args.times)]
        images.write("CR", folders, args.times, series_of=1)
        rows, columns, _ = images.KINDS["CR"]
        waits = []
        with Storescp(memory / "sink") as sink, Radroute(disk / "router", sink.port) as node:
            out = sink.folder / "out"
            for n, folder in enumerate(folders):
                send(node, [folder])
                released = time.monotonic()
                while sum(f.stat().st_size > 2 * rows * columns for f in out.iterdir()) <= n:
                    if time.monotonic() - released > 30:
                        raise SystemExit("an image did not arrive in 30 s")
                    time.sleep(0.001)
                waits.append(1000 * (time.monotonic() - released))
                time.sleep(0.3)
        waits.sort()
        print(f"{args.times} CR, one at a time: median {statistics.median(waits):.0f} ms, longest {waits[-1]:.0f} ms "
              "from the end of the sender to the last byte at the archive")


main()
