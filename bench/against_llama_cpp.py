"""Reading a prompt and decoding after it here, beside llama.cpp and transformers, on the same GGUF file (CPU, one thread each).

    cmake --preset release -DEVICTLAB_BENCHMARKS=ON && cmake --build build/release --target evictlab_products_bench
    .venv-bench/bin/pip install xllamacpp==2026.10.11549 torch==2.13.0 transformers==5.24.0 gguf==0.19.0
    .venv-bench/bin/python bench/against_llama_cpp.py MODEL.gguf [--tokens 400] [--rounds 3] [--without transformers]

The sides take turns, a process each a round; printed are medians of the rounds in tokens a second, and medians of the rounds' ratios.
llama.cpp multiplies activations that it rounds to 8 bits; transformers expands the weights to float32; we multiply the stored
blocks with float32 activations.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
BENCH = ROOT / "build" / "release" / "evictlab_products_bench"
DECODED = 32


def ours(model, tokens):
    done = subprocess.run([BENCH, model, str(tokens)], env={**os.environ, "EVICTLAB_THREADS": "1"}, capture_output=True, text=True, check=True)
    prefill, decode = re.findall(r"\(([\d.]+) tokens/s\)", done.stdout)
    return {"prefill": float(prefill), "decode": float(decode)}


def llama_cpp(model, tokens):
    import urllib.request

    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.n_ctx = tokens + 2 * DECODED
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(parameters)
    body = {"prompt": [3 + 7919 * i % 900 for i in range(tokens)], "n_predict": DECODED, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
    request = urllib.request.Request(server.listening_address + "/completion", json.dumps(body).encode(), {"Content-Type": "application/json"})
    best = {"prefill": 0.0, "decode": 0.0}
    for _ in range(2):
        with urllib.request.urlopen(request) as reply:
            timings = json.load(reply)["timings"]
        best = {"prefill": max(best["prefill"], timings["prompt_per_second"]), "decode": max(best["decode"], timings["predicted_per_second"])}
    return best


def transformers(model, tokens):
    import time

    import torch
    import transformers

    torch.set_num_threads(1)
    path = pathlib.Path(model)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    ids = torch.tensor([[3 + 7919 * i % 900 for i in range(tokens)]])
    with torch.no_grad():
        loaded(ids[:, :32])
        start = time.perf_counter()
        cache = loaded(ids, use_cache=True, logits_to_keep=1).past_key_values
        middle = time.perf_counter()
        for step in range(DECODED):
            loaded(ids[:, step : step + 1], past_key_values=cache, use_cache=True)
        end = time.perf_counter()
    return {"prefill": tokens / (middle - start), "decode": DECODED / (end - middle)}


SIDES = {"ours": ours, "llama.cpp": llama_cpp, "transformers": transformers}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without", action="append", default=[], choices=["llama.cpp", "transformers"])
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options.model, options.tokens)))
        return
    sides = [side for side in SIDES if side not in options.without]
    rounds = []
    for _ in range(options.rounds):
        figures = {}
        for side in sides:
            command = [sys.executable, __file__, options.model, "--tokens", str(options.tokens), "--side", side]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
            figures[side] = json.loads(done.stdout.splitlines()[-1])
        rounds.append(figures)
    for side in sides:
        for what in ("prefill", "decode"):
            speed = statistics.median(figures[side][what] for figures in rounds)
            ratio = statistics.median(figures["ours"][what] / figures[side][what] for figures in rounds)
            print(f"{side:14}{what:8} {speed:7.1f} tokens/s   ours is {ratio:.2f} x")


if __name__ == "__main__":
    main()
