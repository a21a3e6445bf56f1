"""What recording through transformers takes, beside the plain forward pass and beside output_attentions=True.

    .venv/bin/python bench/transformers_recording.py [--runs 5] [--length 2048] [--large]

Summary tier, CPU, float32. Each way runs in a process of its own, in turn, so that peaks are its own; times are medians
of the runs, ratios medians of the rounds' ratios. `forward` reads the prompt and its 32 future tokens; `record` does that and
writes a trace; `attentions` asks for every probability and keeps them, as one must to make a trace of them. The large
model is random, with the shape of a 1B Llama: 16 layers, 32 query heads, 8 kv heads, hidden size 2048.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
FUTURE = 32


def model_of(name, implementation):
    import torch
    import transformers

    if name == "shipped":
        return transformers.AutoModelForCausalLM.from_pretrained(
            ROOT / "models" / "demo", dtype=torch.float32, attn_implementation=implementation)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=32000, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, max_position_embeddings=4096, attn_implementation=implementation)
    return transformers.LlamaForCausalLM(config)


def measure(way, name, length):
    """Seconds and the growth of the peak over what the model takes, in MiB; printed as JSON."""
    import torch

    torch.set_num_threads(2)
    model = model_of(name, "eager" if way == "attentions" else "sdpa").eval()
    tokens = torch.randint(3, 900, (1, length), generator=torch.Generator().manual_seed(1))
    prompt, future = tokens[0, : length - FUTURE].tolist(), tokens[0, length - FUTURE :].tolist()

    def run():
        if way == "record":
            import evictlab.transformers

            with tempfile.TemporaryDirectory() as directory:
                evictlab.transformers.record(model, None, [{"tokens": prompt, "answer_tokens": future}],
                                             os.path.join(directory, "t.h5"), progress=False)
            return
        with torch.no_grad():
            options = {"output_attentions": True} if way == "attentions" else {}
            if way == "attentions":
                attentions = model(tokens, **options).attentions
                assert len(attentions) == model.config.num_hidden_layers
                return
            cache = model(torch.tensor([prompt]), use_cache=True, logits_to_keep=1).past_key_values
            model(torch.tensor([future]), past_key_values=cache)

    if name == "shipped":
        run()  # warms up
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "before": before / 1024}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--large", action="store_true", help="the 1B-shaped model too (6 GiB, minutes a run)")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        return measure(*arguments.measure, arguments.length)
    ways = ["forward", "record", "attentions"]
    for name in ["shipped", "large"] if arguments.large else ["shipped"]:
        rounds = []
        for _ in range(arguments.runs):
            taken = {}
            for way in ways:
                command = [sys.executable, __file__, "--measure", way, name, "--length", str(arguments.length)]
                taken[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rounds.append(taken)
        for way in ways:
            seconds = statistics.median(taken[way]["seconds"] for taken in rounds)
            ratio = statistics.median(taken[way]["seconds"] / taken["forward"]["seconds"] for taken in rounds)
            peak = statistics.median(taken[way]["peak"] for taken in rounds)
            print(f"{name:8} {way:11} {seconds:8.2f} s  {ratio:5.2f} x forward  peak {peak:8.0f} MiB")


if __name__ == "__main__":
    main()
