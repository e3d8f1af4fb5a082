"""ONNX Runtime and OpenVINO beside radroute's engine: the shipped weights, grey squares, as many threads, taken in turn.

In each round every row of the table is measured once, for `--seconds`; the table gives the median over the rounds, and its ratio
to ONNX Runtime's best batch, in single precision and in 8 bits. Rows of 8 bits take their ranges from the images that are measured;
OpenVINO reads ONNX Runtime's quantised graph. Largest differences of logits to the first row are told at the end. See engine.sh.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import graph
import numpy as np

BASES = ["ONNX Runtime f32", "ONNX Runtime int8"]


class Peer:
    """A row. `measure` gives images a second and logits."""

    def __init__(self, name):
        self.name = name

    def run(self, images):
        """Logits of `images`."""
        raise NotImplementedError

    def measure(self, images, _file, seconds):
        logits = self.run(images)
        times = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 3:
            begin = time.perf_counter()
            self.run(images)
            times.append(time.perf_counter() - begin)
        return len(images) / statistics.median(times), logits


class OnnxRuntime(Peer):
    """Default settings but for the threads."""

    def __init__(self, name, model, threads):
        import onnxruntime

        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, images):
        return self.session.run(None, {"grey": images})[0]


class OpenVino(Peer):
    """Single precision where nothing is quantised, also where the CPU has half."""

    def __init__(self, name, model, threads):
        import openvino

        super().__init__(name)
        core = openvino.Core()
        config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        self.model = core.compile_model(core.read_model(model), "CPU", config)

    def run(self, images):
        return self.model(images)[0]


PEERS = {"ONNX Runtime": OnnxRuntime, "OpenVINO": OpenVino}


class Radroute(Peer):
    """The example `engine_rate` (rate.rs), which has its own clock."""

    def __init__(self, binary, weights, threads, instructions="best", ranges=None):
        name = "radroute int8" if ranges else "radroute f32"
        super().__init__(name if instructions == "best" else f"{name} ({instructions})")
        command = [binary, weights, str(threads), instructions, *map(str, ranges or ())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def measure(self, images, file, seconds):
        self.process.stdin.write(f"{images.shape[-1]} {len(images)} {seconds} {file}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["images_per_s"], np.array(answer["logits"])


def rows(args, models, ranges, threads):
    """The table's rows. Add one here."""
    ours = [
        Radroute(args.binary, args.weights, threads, name, of)
        for name in args.instructions.split(",")
        for of in (None, ranges)
    ]
    theirs = [kind(f"{name} {bits}", model, threads) for bits, model in models.items() for name, kind in PEERS.items()]
    return [*ours, *theirs]


def cpu():
    """Its name, where Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(title, batches, rates):
    """Markdown: medians, and the ratios of each row's best batch to those of the bases."""
    best = {name: max(medians.values()) for name, medians in rates.items()}
    print(f"\n{title}\n")
    head = [f"batch {batch}" for batch in batches] + [f"best : {base}" for base in BASES]
    print(f"| engine | {' | '.join(head)} |")
    print("|---|" + "---:|" * len(head))
    for name, medians in rates.items():
        cells = [f"{medians[b]:.0f}" for b in batches] + [f"{best[name] / best[base]:.2f}" for base in BASES]
        print(f"| {name} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", help="the example engine_rate")
    parser.add_argument("weights")
    parser.add_argument("--sides", default="160,224")
    parser.add_argument("--threads", default=f"1,{len(os.sched_getaffinity(0))}")
    parser.add_argument("--batches", default="1,8,16")
    parser.add_argument("--instructions", default="best", help="of radroute, such as best,avx2,portable")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    args = parser.parse_args()
    numbers = lambda text: [int(n) for n in dict.fromkeys(text.split(","))]
    batches = numbers(args.batches)
    versions = [f"{name} {__import__(name).__version__}" for name in ("onnxruntime", "openvino")]
    print(f"{cpu()}, {time.strftime('%Y-%m-%d')}, {', '.join(versions)}; images a second, median of {args.rounds} rounds")
    apart = {}
    with tempfile.TemporaryDirectory() as folder:
        models, file = {bits: f"{folder}/{bits}.onnx" for bits in ("f32", "int8")}, f"{folder}/images"
        graph.export(args.weights, models["f32"])
        side = numbers(args.sides)[0]
        seen = graph.images(max(batches), side)
        graph.quantise(models["f32"], models["int8"], seen)
        seen.tofile(f"{folder}/seen")
        for threads in numbers(args.threads):
            peers = rows(args, models, (f"{folder}/seen", side), threads)
            for side in numbers(args.sides):
                found = {peer.name: {batch: [] for batch in batches} for peer in peers}
                for _ in range(args.rounds):
                    for batch in batches:
                        images = graph.images(batch, side)
                        images.tofile(file)
                        logits = {}
                        for peer in peers:
                            rate, logits[peer.name] = peer.measure(images, file, args.seconds)
                            found[peer.name][batch].append(rate)
                        for name, values in logits.items():
                            difference = float(np.abs(values - logits[peers[0].name]).max())
                            apart[name] = max(apart.get(name, 0), difference)
                medians = {n: {b: statistics.median(r) for b, r in by.items()} for n, by in found.items()}
                table(f"{side}×{side}, {threads} thread{'s' * (threads > 1)}", batches, medians)
    print("\nLargest difference of a logit to the first row: " + ", ".join(f"{n} {d:.1e}" for n, d in apart.items()))


main()
