"""What scoring, attention rows and sorting of one layer at 32768 positions take in PyTorch on this machine's CPU, the
way eviction methods' own code computes them: the figures that Evictlab's benchmarks are compared with.

    python3 -m venv .venv-bench
    .venv-bench/bin/pip install -r bench/requirements.txt
    .venv-bench/bin/python bench/against_pytorch.py [--runs 7] [--threads 1 2] [--only attention_rows]

One JSON line per figure: the median, shortest and longest of the runs, in milliseconds, and the median of the processor
time spent by all threads, which tells more than the clock on a machine that others use as well. `stored` is the type
of the arrays: float16, as models and traces hold them, or float32, with the conversion given for free.

    snapkv_scores    window rows [32, 32, 32768] summed over the window, averaged over groups of 4 query heads, max
                     pooled (7), the 1024 largest of each kv head (Li et al. 2024, arXiv:2404.14469)
    attention_rows   softmax(Q K^T / sqrt(d)) of the last 32 queries, causal; Q [32, 32, 128], K [8, 32768, 128], keys
                     repeated for the query heads as transformers' eager attention does, softmax in float32
                     (evictlab_attention_rows_bench)
    attention_rows_grouped   the same without repeating: the queries of a group as rows of one product, in place
                             where PyTorch can
    sort             indices of 32768 floats, descending (evictlab_select_bench)
"""

import argparse
import json
import math
import re
import statistics
import time

import torch
import torch.nn.functional as F

QUERY_HEADS = 32
KV_HEADS = 8
GROUP = QUERY_HEADS // KV_HEADS
WINDOW = 32
POSITIONS = 32768
HEAD_DIM = 128
KERNEL = 7
KEPT = 1024


def snapkv_scores(rows):
    sums = rows[:, :, :, : POSITIONS - WINDOW].sum(dim=-2)
    shared = sums.view(1, KV_HEADS, GROUP, -1).mean(dim=2)
    pooled = F.max_pool1d(shared, kernel_size=KERNEL, padding=KERNEL // 2, stride=1)
    return pooled.topk(KEPT, dim=-1).indices


def repeat_kv(states, count):
    batch, heads, length, dim = states.shape
    return states[:, :, None].expand(batch, heads, count, length, dim).reshape(batch, heads * count, length, dim)


def attention_rows(queries, keys, mask):
    logits = torch.matmul(queries, repeat_kv(keys, GROUP).transpose(2, 3)) / math.sqrt(HEAD_DIM)
    return F.softmax(logits + mask, dim=-1, dtype=torch.float32).to(queries.dtype)


def attention_rows_grouped(queries, keys, mask):
    logits = torch.matmul(queries.view(1, KV_HEADS, GROUP * WINDOW, HEAD_DIM), keys.transpose(2, 3))
    logits = logits.view(1, QUERY_HEADS, WINDOW, POSITIONS).div_(math.sqrt(HEAD_DIM)).add_(mask)
    return F.softmax(logits, dim=-1)


def figures():
    """(name, type of the stored arrays, what to time)."""
    random = torch.Generator().manual_seed(1)
    queries = torch.randn(1, QUERY_HEADS, WINDOW, HEAD_DIM, generator=random)
    keys = torch.randn(1, KV_HEADS, POSITIONS, HEAD_DIM, generator=random)
    mask = torch.zeros(1, 1, WINDOW, POSITIONS)
    mask[..., POSITIONS - WINDOW :] = torch.full((WINDOW, WINDOW), torch.finfo(torch.float16).min).triu(1)
    rows = attention_rows(queries, keys, mask)
    scores = torch.rand(POSITIONS, generator=random)
    for dtype in (torch.float16, torch.float32):
        stored = [tensor.to(dtype) for tensor in (rows, queries, keys, mask)]
        name = str(dtype).removeprefix("torch.")
        yield "snapkv_scores", name, lambda rows=stored[0]: snapkv_scores(rows)
        yield "attention_rows", name, lambda given=stored[1:]: attention_rows(*given)
        yield "attention_rows_grouped", name, lambda given=stored[1:]: attention_rows_grouped(*given)
    yield "sort", "float32", lambda: torch.sort(scores, descending=True)


def milliseconds(function, runs):
    function()
    elapsed, spent = [], []
    for _ in range(runs):
        start, start_spent = time.perf_counter(), time.process_time()
        function()
        elapsed.append(1000 * (time.perf_counter() - start))
        spent.append(1000 * (time.process_time() - start_spent))
    return elapsed, spent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", help="one figure")
    options = parser.parse_args()
    if options.runs < 7:
        parser.error("a median needs at least 7 runs")
    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    build = {"torch": torch.__version__, "blas": blas.group(1) if blas else "unknown"}
    print(json.dumps({**build, "instructions": torch.backends.cpu.get_cpu_capability()}))
    with torch.inference_mode():
        for name, stored, function in figures():
            if options.only not in (None, name):
                continue
            for threads in options.threads:
                torch.set_num_threads(threads)
                elapsed, spent = milliseconds(function, options.runs)
                figure = {
                    "figure": name,
                    "stored": stored,
                    "threads": threads,
                    "median_ms": round(statistics.median(elapsed), 3),
                    "shortest_ms": round(min(elapsed), 3),
                    "longest_ms": round(max(elapsed), 3),
                    "processor_ms": round(statistics.median(spent), 3),
                    "runs": options.runs,
                }
                print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
