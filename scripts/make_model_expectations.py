#!/usr/bin/env python3
"""What Hugging Face transformers computes on a shipped model's own prompts.

    python3 -m venv .venv && .venv/bin/pip install -r tests/requirements-conformance.txt
    .venv/bin/python scripts/make_model_expectations.py models/demo tests/data/models/demo.jsonl

One object a line, from a float32 forward pass of the stored weights with the full cache:

    id               of the prompt
    tokens           [n] how the tokenizers package encodes it
    top              [[id, logit], ...] the 5 largest logits after the last token
    greedy           [t] the greedy continuation
"""

import argparse
import json
import pathlib

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

CONTINUATION = 10


@torch.no_grad()
def expectation(model, tokens):
    out = model(torch.tensor([tokens]), use_cache=True)
    logits = out.logits[0, -1]
    top = logits.topk(5)
    greedy = [int(logits.argmax())]
    while len(greedy) < CONTINUATION and greedy[-1] != model.config.eos_token_id:
        out = model(torch.tensor([greedy[-1:]]), past_key_values=out.past_key_values, use_cache=True)
        greedy.append(int(out.logits[0, -1].argmax()))
    return {"top": [[int(i), float(v)] for i, v in zip(top.indices, top.values, strict=True)], "greedy": greedy}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--all", action="store_true", help="every prompt instead of one of each file")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    with open(arguments.out, "w") as out:
        for number, path in enumerate(sorted((arguments.model / "prompts").glob("*.jsonl"))):
            lines = path.read_text().splitlines()
            for line in range(len(lines)) if arguments.all else [5 * number % len(lines)]:
                prompt = json.loads(lines[line])
                tokens = tokenizer.encode(prompt["prompt"]).ids
                row = {"id": prompt["id"], "tokens": tokens, **expectation(model, tokens)}
                out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
