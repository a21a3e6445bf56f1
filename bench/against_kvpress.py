"""What scoring a recorded prompt and selecting what stays takes in NVIDIA kvpress, and what it takes here: the same
rows, the same methods as kvpress defines them, the same budgets.

    python3 -m venv .venv-bench
    .venv-bench/bin/pip install --extra-index-url https://download.pytorch.org/whl/cpu -r bench/requirements.txt
    cmake --preset release -DEVICTLAB_BENCHMARKS=ON
    cmake --build build/release --target evictlab evictlab_kvpress_twin_bench evictlab_sweep_bench
    .venv-bench/bin/python bench/against_kvpress.py --build build/release [--lengths 8192 32768] [--runs 7]

The trace is made_trace.py's: 2 layers of an 8B model's heads, log-normal attention. kvpress gets its rows as
`attentions`, so that neither side computes attention, in float32 (with the conversion given for free) and in float16
(as stored), with 1 and with 2 threads of torch; ours always with one. All times are milliseconds per layer, the median
and the minimum of the runs. kvpress and our benchmarks take turns in every round, so that what else the machine does
meets both; on shared cores, 2 threads still suffer most.

    single methods   score() and the top-k of compress() at a tenth of the prompt. For ObservedAttentionPress the rows
                     are their sum already: kvpress sums [H, n, n] itself, n times the work. AdaKVPress in its
                     compress(), which gathers nothing. `gather` is compress() with its copy of keys and values;
                     `own rows` is score() where kvpress is not given the rows, as with its default attention
                     (AdaKVPress refuses any other): it computes them from the keys, for which projection and
                     rotation of the queries are free here.
    sweep            64 budgets from 64 to 4096, equal steps of the logarithm, float32. `scored each time`: 64 times
                     scoring and every selection, as kvpress is used; `scored once`: one scoring, every selection.
                     Ours is replay from the file, reading, hashing and judging included. Of the twelve policies in
                     evictlab_sweep_bench, kvpress lacks dynamickv, windowkv and cake (counted as its SnapKVPress) and
                     oracle (counted as ObservedAttentionPress); the seven twins count nothing but themselves.

First of all it checks that both sides keep the same positions.
"""

import argparse
import itertools
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time
import types

import h5py
import kvpress
import numpy as np
import torch
from kvpress.utils import compute_n_kept
from made_trace import HEAD_DIM, KV_HEADS, LAYERS, QUERY_HEADS, SCALE, WINDOW, write_trace

RATIO = 0.1
SWEEP_BUDGETS = np.unique(np.rint(np.geomspace(64, 4096, 64))).astype(int).tolist()


class ScoresAtHand(kvpress.ScorerPress):
    """For AdaKVPress, which writes into the scores that it gets: selecting without scoring."""

    def __init__(self, press, scores):
        super().__init__(press.compression_ratio)
        self.scores = scores

    def score(self, *_):
        return self.scores.clone()


def presses():
    """Our policy -> the press; kvpress_twin_bench.cpp has the same list. AdaKVPress of PyramidKVPress is last."""
    window = {"window_size": WINDOW, "kernel_size": 5}
    return {
        "snapkv(variant=kvpress)": kvpress.SnapKVPress(**window),
        "pyramidkv(variant=kvpress)": kvpress.PyramidKVPress(**window),
        "ada-snapkv(variant=kvpress)": kvpress.AdaKVPress(kvpress.SnapKVPress(**window)),
        "tova(variant=kvpress)": kvpress.TOVAPress(),
        "h2o(variant=kvpress)": kvpress.ObservedAttentionPress(),
        "streaming-llm(variant=kvpress)": kvpress.StreamingLLMPress(),
        "random(variant=kvpress)": kvpress.RandomPress(seed=1),
        "ada-pyramid": kvpress.AdaKVPress(kvpress.PyramidKVPress(**window)),
    }


TWINS = list(presses())[:7]
# What each of evictlab_sweep_bench's twelve policies counts as.
TWELVE = TWINS + ["ada-pyramid"] + 3 * ["snapkv(variant=kvpress)"] + ["h2o(variant=kvpress)"]


class Layer:
    """What presses get of a layer; all they look at."""

    def __init__(self, group, index, dtype):
        rows = torch.from_numpy(group["window_attention"][()].astype(np.float32)) / SCALE
        self.rows = rows.to(dtype)[None]
        self.mass = torch.from_numpy(group["attention_mass"][()]).to(dtype)[None, :, None]
        length = rows.shape[-1]
        random = torch.Generator().manual_seed(index)
        self.keys = torch.randn(1, KV_HEADS, length, HEAD_DIM, generator=random).to(dtype)
        # What is needed to compute the window's attention: its queries, of which projection and RoPE are free.
        self.hidden = torch.randn(1, length, 1, generator=random).to(dtype)
        queries = torch.randn(1, WINDOW, QUERY_HEADS * HEAD_DIM, generator=random).to(dtype)
        rotation = torch.ones(1, length, HEAD_DIM, dtype=dtype), torch.zeros(1, length, HEAD_DIM, dtype=dtype)
        self.position_embeddings = {"position_embeddings": rotation}
        self.length = length
        config = types.SimpleNamespace(num_attention_heads=QUERY_HEADS, num_key_value_heads=KV_HEADS,
                                       num_hidden_layers=LAYERS, _attn_implementation="sdpa")
        self.module = types.SimpleNamespace(config=config, head_dim=HEAD_DIM, layer_idx=index,
                                            q_proj=lambda hidden: queries[:, -hidden.shape[1] :])

    def given(self, press):
        rows = self.mass if isinstance(press, kvpress.ObservedAttentionPress) else self.rows
        return self.module, self.hidden, self.keys, self.keys, rows, {}

    def given_no_rows(self, press):
        return *self.given(press)[:4], None, self.position_embeddings

    def select(self, press, scores=None):
        """kept [kept sets, kept] of most presses; of AdaKVPress (kv heads, positions) of what is evicted."""
        if isinstance(press, kvpress.AdaKVPress):
            if scores is not None:
                press = kvpress.AdaKVPress(ScoresAtHand(press.press, scores))
            press.compress(*self.given(press.press))
            return self.module.masked_key_indices[1:]
        if scores is None:
            scores = press.score(*self.given(press))
        pyramid = isinstance(press, kvpress.PyramidKVPress)
        kept = press.get_layer_budget(self.module, self.length) if pyramid else compute_n_kept(
            self.length, press.compression_ratio)
        return scores.topk(kept, dim=-1).indices[0]

    def kept_sets(self, press):
        chosen = self.select(press)
        if isinstance(press, kvpress.AdaKVPress):
            kept = torch.ones(KV_HEADS, self.length, dtype=torch.bool)
            kept[chosen] = False
            return [set(torch.nonzero(head).flatten().tolist()) for head in kept]
        return [set(head.tolist()) for head in chosen]


def compare_kept(build, trace, layers):
    """Prints for each method how many positions both sides keep, and how many only one does."""
    with tempfile.TemporaryDirectory() as folder:
        kept_file = pathlib.Path(folder, "kept.h5")
        subprocess.run([build / "evictlab", "replay", trace, "--policy", ",".join(TWINS), "--budget", str(RATIO),
                        "--kept", kept_file, "--out", pathlib.Path(folder, "out.csv")], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with h5py.File(kept_file) as file:
            runs = sorted(file.values(), key=lambda run: int(run.name[1:]))
            print(f"\nkept positions of {LAYERS} layers, {KV_HEADS} kv heads: in common, only kvpress, only ours")
            for (name, press), run in zip(presses().items(), runs):
                press.compression_ratio = 1 - RATIO
                common = theirs = ours = 0
                for l, layer in enumerate(layers):
                    positions, offsets = run[f"{l}/positions"][()], run[f"{l}/offsets"][()]
                    sets = [set(positions[a:b].tolist()) for a, b in zip(offsets, offsets[1:])]
                    sets = sets * KV_HEADS if len(sets) == 1 else sets
                    for mine, other in zip(sets, layer.kept_sets(press), strict=True):
                        common += len(mine & other)
                        theirs += len(other - mine)
                        ours += len(mine - other)
                print(f"{name:32}{common:9d}{theirs:6d}{ours:6d}")


def milliseconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return 1000 * (time.perf_counter() - start)


def our_times(build, trace, program, chosen):
    """Google Benchmark's name -> milliseconds per layer."""
    command = [build / program, f"--benchmark_filter={chosen}", "--benchmark_format=json", "--benchmark_min_time=0.1"]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                         env={**os.environ, "EVICTLAB_BENCH_TRACE": str(trace)})
    return {one["name"]: one["real_time"] / LAYERS for one in json.loads(run.stdout)["benchmarks"]}


def measure(options, trace, layers):
    """figure -> its time in every round: our benchmarks by name, kvpress by (press, type, threads, what)."""
    times = {}

    def add(key, value):
        times.setdefault(key, []).append(value)

    def add_mean(key, function, chosen):
        add(key, statistics.mean(milliseconds(function, layer) for layer in chosen))

    alone = options.threads[0]
    for number in range(options.runs + 1):
        if number == 1:
            times.clear()  # the first round warmed up
        for program, chosen in (("evictlab_kvpress_twin_bench", "."),
                                ("evictlab_sweep_bench", "twelve_policies_64_budgets/1")):
            for name, value in our_times(options.build, trace, program, chosen).items():
                add(name, value)
        for name, press in presses().items():
            inner = press.press if isinstance(press, kvpress.AdaKVPress) else press
            for dtype, threads in itertools.product(layers, options.threads):
                torch.set_num_threads(threads)
                press.compression_ratio = 1 - RATIO
                add_mean((name, dtype, threads, "select"), lambda layer: layer.select(press), layers[dtype])
                if dtype != torch.float32 or threads != alone:
                    continue
                add_mean((name, "gather"), lambda layer: press.compress(*layer.given(inner)), layers[dtype])
                add_mean((name, "score"), lambda layer: inner.score(*layer.given(inner)), layers[dtype])
                if isinstance(inner, (kvpress.SnapKVPress, kvpress.TOVAPress)):
                    add_mean((name, "own rows"), lambda layer: inner.score(*layer.given_no_rows(inner)), layers[dtype])
                scores = [inner.score(*layer.given(inner)) for layer in layers[dtype]]
                selecting = 0.0
                for budget in SWEEP_BUDGETS:
                    press.compression_ratio = 1 - budget / layers[dtype][0].length
                    selecting += sum(milliseconds(layer.select, press, known)
                                     for layer, known in zip(layers[dtype], scores))
                add((name, "selecting"), selecting / LAYERS)
    return times


def print_tables(options, times, of):
    found = {key: of(value) for key, value in times.items()}

    def ours(start):
        return next(value for key, value in found.items() if isinstance(key, str) and key.startswith(start))

    columns = list(itertools.product((torch.float32, torch.float16), options.threads))
    heads = [f"{str(dtype).removeprefix('torch.')}/{threads}" for dtype, threads in columns]
    heads += ["gather", "own rows", "ours"]
    heads += [f"{heads[0]} / ours", "fastest / ours"]
    print(f"\n{of.__name__}, ms per layer".ljust(33), *(f"{head:>10}" for head in heads))
    for name in TWINS:
        theirs = [found[name, dtype, threads, "select"] for dtype, threads in columns]
        mine = ours(f"evict/{name}")
        print(f"{name:32}", *(f"{value:10.3f}" for value in theirs),
              f"{found[name, 'gather']:10.3f} {found.get((name, 'own rows'), math.nan):10.3f} {mine:10.4f}",
              f"{theirs[0] / mine:16.1f} {min(theirs) / mine:14.1f}")
    print(f"sweep, threads {options.threads[0]}: scored each time, scored once, ours, the first two in times ours")
    for title, methods, mine in (("seven twins", TWINS, ours("replay/64_budgets")),
                                 ("twelve policies", TWELVE, ours("run/twelve_policies_64_budgets"))):
        scoring = sum(found[name, "score"] for name in methods)
        selecting = sum(found[name, "selecting"] for name in methods)
        each, once = len(SWEEP_BUDGETS) * scoring + selecting, scoring + selecting
        print(f"{title:16}{each:11.1f}{once:11.1f}{mine:10.2f}{each / mine:9.1f}{once / mine:9.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build directory with EVICTLAB_BENCHMARKS")
    parser.add_argument("--lengths", type=int, nargs="+", default=[8192, 32768])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    print(f"torch {torch.__version__}, BLAS {blas.group(1) if blas else 'unknown'}, "
          f"{torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores, {options.runs} runs")
    for length in options.lengths:
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            trace = pathlib.Path(folder, "trace.h5")
            write_trace(trace, length)
            with h5py.File(trace) as file:
                layers = {dtype: [Layer(file[f"prompts/made/layers/{l}"], l, dtype) for l in range(LAYERS)]
                          for dtype in (torch.float32, torch.float16)}
            print(f"\nn = {length}, {QUERY_HEADS} query heads, {KV_HEADS} kv heads, window {WINDOW}")
            compare_kept(options.build, trace, layers[torch.float32])
            times = measure(options, trace, layers)
            for of in (statistics.median, min):
                print_tables(options, times, of)


if __name__ == "__main__":
    main()
