"""Hides AVX-512 and dot products of bytes from the peers, so that they compute as on a CPU that has AVX2 alone: for gdb's Python.

Their libraries ask by the instruction `cpuid`; wherever that stands in them its answer for leaf 7 is changed. Programs that they start
are not touched. Needs gdb and objdump. See engine.sh.
"""

import os
import re
import subprocess

import gdb

LIBRARIES = re.compile(r"onnxruntime_pybind11|libopenvino|libtbb")
# Leaf 7 (Intel, Software Developer's Manual, volume 2, CPUID): all of AVX-512, AMX, AVX-VNNI.
EBX = sum(1 << bit for bit in (16, 17, 21, 26, 27, 28, 30, 31))
ECX = sum(1 << bit for bit in (1, 6, 11, 12, 14))
EDX = sum(1 << bit for bit in (2, 3, 8, 22, 23, 24, 25))
HIDDEN = {(7, 0): {"rbx": EBX, "rcx": ECX, "rdx": EDX}, (7, 1): {"rax": 1 << 4 | 1 << 5, "rdx": 0xFFFFFFFF}}
asked = {}


def register(name):
    return int(gdb.parse_and_eval(f"${name}")) & 0xFFFFFFFF


class Before(gdb.Breakpoint):
    """At the instruction: what is asked."""

    def stop(self):
        asked[gdb.selected_thread().ptid] = register("rax"), register("rcx")
        return False


class Behind(gdb.Breakpoint):
    """Behind it: what is answered."""

    def stop(self):
        for name, bits in HIDDEN.get(asked.get(gdb.selected_thread().ptid), {}).items():
            gdb.execute(f"set ${name} = {register(name) & ~bits}", to_string=True)
        return False


def loaded(event):
    file = os.path.realpath(event.new_objfile.filename or "")
    if not LIBRARIES.search(file):
        return
    code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", file], capture_output=True, text=True, check=True).stdout
    places = [int(line.split(":")[0], 16) for line in code.splitlines() if line.rstrip().endswith("cpuid")]
    # Where the file begins in memory; places are told from there.
    with open(f"/proc/{gdb.selected_inferior().pid}/maps") as maps:
        base = next(int(line.split("-")[0], 16) for line in maps if line.rstrip().endswith(file))
    for place in places:
        Before(f"*{base + place}", internal=True)
        Behind(f"*{base + place + 2}", internal=True)
    if places:
        print(f"cpuid {len(places)} times in {os.path.basename(file)}", flush=True)


gdb.events.new_objfile.connect(loaded)
