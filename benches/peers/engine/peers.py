"""ONNX Runtime and OpenVINO beside radroute's engine: the shipped weights, grey squares, as many threads, taken in turn.

In each round every row of the table is measured once, for `--seconds`; the table gives the median over the rounds, and its ratio
to ONNX Runtime's best batch. Largest differences of logits to the first row are told at the end. See engine.sh.
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

BASE = "ONNX Runtime f32"


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

        super().__init__(f"{name} f32")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, images):
        return self.session.run(None, {"grey": images})[0]


class OpenVino(Peer):
    """Single precision, also where the CPU has half."""

    def __init__(self, name, model, threads):
        import openvino

        super().__init__(f"{name} f32")
        core = openvino.Core()
        config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        self.model = core.compile_model(core.read_model(model), "CPU", config)

    def run(self, images):
        return self.model(images)[0]


class Radroute(Peer):
    """The example `engine_rate` (rate.rs), which has its own clock."""

    def __init__(self, binary, weights, threads, instructions="best"):
        super().__init__("radroute f32" if instructions == "best" else f"radroute f32 ({instructions})")
        command = [binary, weights, str(threads), instructions]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def measure(self, images, file, seconds):
        self.process.stdin.write(f"{images.shape[-1]} {len(images)} {seconds} {file}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["images_per_s"], np.array(answer["logits"])


def rows(args, model, threads):
    """The table's rows. Add one here."""
    ours = [Radroute(args.binary, args.weights, threads, name) for name in args.instructions.split(",")]
    return [*ours, OnnxRuntime("ONNX Runtime", model, threads), OpenVino("OpenVINO", model, threads)]


def cpu():
    """Its name, where Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(title, batches, rates):
    """Markdown: medians, and the ratio of each row's best batch to that of the base."""
    best = {name: max(medians.values()) for name, medians in rates.items()}
    print(f"\n{title}\n")
    print("| engine |" + "".join(f" batch {batch} |" for batch in batches) + f" best : {BASE} |")
    print("|---|" + "---:|" * (len(batches) + 1))
    for name, medians in rates.items():
        print(f"| {name} |" + "".join(f" {medians[b]:.0f} |" for b in batches) + f" {best[name] / best[BASE]:.2f} |")


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
        model, file = f"{folder}/model.onnx", f"{folder}/images"
        graph.export(args.weights, model)
        for threads in numbers(args.threads):
            peers = rows(args, model, threads)
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
