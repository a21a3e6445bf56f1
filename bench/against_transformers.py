"""Reading a prompt, decoding and recording here, beside Hugging Face transformers on the same weights (CPU, float32, sdpa, 2 threads).

    cmake --preset release -DEVICTLAB_BENCHMARKS=ON && cmake --build build/release --target evictlab_recording_bench
    .venv/bin/python bench/against_transformers.py [--rounds 5] [--large]

Both sides take turns, a process each a round; printed are medians of the rounds, ratios medians of the rounds' ratios. Large: a random
model with the shape of a 1B Llama (16 layers, hidden size 2048, 32 query and 8 kv heads), stored in bfloat16.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
BENCH = ROOT / "build" / "release" / "evictlab_recording_bench"
FUTURE = 32


def theirs(directory, tokens):
    import time

    import torch
    import transformers

    torch.set_num_threads(2)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="sdpa").eval()
    ids = torch.randint(3, 900, (1, tokens - FUTURE), generator=torch.Generator().manual_seed(1))

    def prefill():
        start = time.perf_counter()
        cache = model(ids, use_cache=True, logits_to_keep=1).past_key_values
        return time.perf_counter() - start, cache

    with torch.no_grad():
        prefill()
        seconds, cache = min((prefill() for _ in range(2)), key=lambda pair: pair[0])
        start = time.perf_counter()
        for step in range(FUTURE):
            model(ids[:, step : step + 1], past_key_values=cache, use_cache=True)
        decode = (time.perf_counter() - start) / FUTURE
    print(json.dumps({"prefill": seconds, "decode": decode}))


def large_model(directory):
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=32000, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
                                      num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=4096)
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)


def compare(name, directory, tokens, rounds, runs):
    ratios, times = {}, {}
    for _ in range(rounds):
        them = json.loads(subprocess.run([sys.executable, __file__, "--theirs", directory, str(tokens)], check=True,
                                         capture_output=True, text=True).stdout)
        us = json.loads(subprocess.run([BENCH, directory, str(tokens), str(runs)], check=True, capture_output=True,
                                       text=True).stdout)
        for what, one, other in [("prefill, theirs / ours", them["prefill"], us["prefill"]),
                                 ("decode, theirs / ours", them["decode"], us["decode"]),
                                 ("summary tier / forward", us["summary"], us["forward"]),
                                 ("  gathering alone / forward", us["gather_summary"], us["forward"]),
                                 ("full tier / forward", us["full"], us["forward"])]:
            ratios.setdefault(what, []).append(one / other)
            times.setdefault(what, []).append((one, other))
    for what in ratios:
        one, other = (statistics.median(pair[place] for pair in times[what]) * 1e3 for place in (0, 1))
        print(f"{name:8} {tokens:5} tokens  {what:28} {one:10.2f} ms {other:10.2f} ms  {statistics.median(ratios[what]):6.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--theirs", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.theirs:
        return theirs(arguments.theirs[0], int(arguments.theirs[1]))
    compare("shipped", str(ROOT / "models" / "demo"), 1024, arguments.rounds, 5)
    if arguments.large:
        with tempfile.TemporaryDirectory() as directory:
            large_model(directory)
            compare("large", directory, 1024, max(1, arguments.rounds // 3), 2)


if __name__ == "__main__":
    main()
