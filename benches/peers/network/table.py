"""Tables of results, and what they were measured on."""
import datetime
import os
import pathlib
import statistics
import subprocess


def median(values):
    return statistics.median(values)


def print_table(head, rows):
    """A Markdown table, so that it can go into the documentation as it is."""
    cells = [head] + [[c if isinstance(c, str) else f"{c:.3g}" if c < 100 else f"{c:.0f}" for c in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for n, row in enumerate(cells):
        print("| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))) + " |")
        if n == 0:
            print("|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths)) + "|")
    print(flush=True)


def _first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "")
    except OSError:
        return ""


def print_machine(*commands):
    """Processor, cores, memory, date and the versions that `commands` tell in their first line."""
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    name = next((line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    print(f"{datetime.date.today()}: {name}, {os.cpu_count()} logical CPUs, {memory:.0f} GiB, Linux {os.uname().release}")
    for command in commands:
        print(f"  {_first_line(command)}")
    print(flush=True)
