"""What a server costs: CPU time and memory of its whole process group, from /proc."""
import os
import pathlib
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def _group(pgid):
    """The fields of /proc/PID/stat behind the command name, for each process of the group."""
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pgid:
            yield entry, fields


def cpu(pgid):
    """CPU seconds so far, ended children included."""
    ticks = 0
    for entry, f in _group(pgid):
        ticks += int(f[11]) + int(f[12])
        if int(entry.name) == pgid:
            ticks += int(f[13]) + int(f[14])
    return ticks / TICK


def rss(pgid):
    """Resident memory now, MB: of each process its own and, once, what they share (proportional set size)."""
    total = 0
    for entry, _ in _group(pgid):
        try:
            for line in (entry / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            pass
    return total / 1024


def peak(pid):
    """The largest resident memory of one process so far, MB, as the kernel counts it."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Watch:
    """Looks at the memory of a group now and then, rarely enough to cost nothing; `with` it, then read `most`."""

    def __init__(self, pgid, every=0.2):
        self.pgid, self.every, self.most = pgid, every, 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self.over.wait(self.every):
            self.most = max(self.most, rss(self.pgid))

    def __enter__(self):
        self.cpu = cpu(self.pgid)
        self.began = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.began
        self.over.set()
        self.thread.join()
        self.most = max(self.most, rss(self.pgid))
        self.cpu = cpu(self.pgid) - self.cpu
