"""What every comparison is asked: how often, which images, and where in memory and on a disk it may write."""
import argparse
import contextlib
import os
import pathlib
import shutil
import tempfile


def parser(about):
    asked = argparse.ArgumentParser(description=about)
    asked.add_argument("--memory", default="/dev/shm", help="a folder in memory")
    asked.add_argument("--disk", default=tempfile.gettempdir(), help="a folder on a disk")
    return asked


def rounds(about, dx, cr):
    """For servers that take turns; `dx`, `cr`: how many images a run, unless asked for."""
    asked = parser(about)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--kinds", default="DX,CR")
    asked.add_argument("--dx", type=int, default=dx, help="how many DX a run")
    asked.add_argument("--cr", type=int, default=cr, help="how many CR a run")
    asked.add_argument("--only", default="", help="servers whose names contain one of these, with commas")
    return asked


def chosen(servers, only, always=()):
    """The servers whose names contain one of the words in `only`, or all."""
    words = [word for word in only.split(",") if word]
    return {name: make for name, make in servers.items() if not words or name in always or any(w in name for w in words)}


@contextlib.contextmanager
def folders(args):
    """A folder in memory and one on a disk; nothing stays in them."""
    both = [pathlib.Path(tempfile.mkdtemp(prefix="radroute-bench-", dir=at)) for at in (args.memory, args.disk)]
    try:
        yield both
    finally:
        for folder in both:
            shutil.rmtree(folder, ignore_errors=True)
        # What put_away in nodes.py tells of lasts one minute from here, and five more where the removal is not yet on the disk.
        os.sync()
