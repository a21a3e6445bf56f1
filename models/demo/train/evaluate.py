"""Accuracy of a model on the test prompts, with the full cache."""

import argparse
import collections
import dataclasses
import math
import pathlib

import torch
from model import Model
from prompts import Prompt, read_prompts
from text import Encoder


@dataclasses.dataclass
class Score:
    exact: float = 0.0  # share of prompts whose every answer token, and stop, is the most probable one
    tokens: float = 0.0  # share of answer tokens that are the most probable one
    nll: float = 0.0  # mean negative log-likelihood of the answer tokens, nats
    prompts: int = 0


@torch.no_grad()
def answer_predictions(model: Model, encode: Encoder, prompt: Prompt, attention=None) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [A, vocabulary] at the answer's tokens, each given those before it, and the tokens [A].

    All most probable means that greedy decoding gives the answer: the first wrong token would be seen here as well.
    """
    given = encode(prompt.prompt)
    wanted = encode(prompt.answer + (prompt.stop or ""))
    ids = torch.tensor([given + wanted[:-1]], device=model.cosine.device)
    states = model(ids) if attention is None else model(ids, attention)
    return model.logits(states[0, len(given) - 1 :]), torch.tensor(wanted, device=ids.device)


def accuracy_table(model: Model, encode: Encoder, prompts: list[Prompt], key=lambda prompt: prompt.length):
    """task -> key(prompt) -> Score, over all prompts."""
    found: dict[str, dict[object, list[tuple[float, float, float]]]] = collections.defaultdict(
        lambda: collections.defaultdict(list)
    )
    for prompt in prompts:
        logits, wanted = answer_predictions(model, encode, prompt)
        right = (logits.argmax(-1) == wanted).float()
        nll = torch.nn.functional.cross_entropy(logits, wanted)
        found[prompt.task][key(prompt)].append((float(right.all()), right.mean().item(), nll.item()))
    return {
        task: {
            column: Score(*(sum(values) / len(values) for values in zip(*scores, strict=True)), len(scores))
            for column, scores in columns.items()
        }
        for task, columns in found.items()
    }


def print_table(title: str, table, value) -> None:
    columns = sorted({column for row in table.values() for column in row})
    print(f"\n{title}\n\n| task | " + " | ".join(str(column) for column in columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for task, row in table.items():
        cells = (value(row[column]) if column in row else "" for column in columns)
        print(f"| {task} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=pathlib.Path, help="model folder with config.json, weights, tokenizer, prompts")
    parser.add_argument("--prompts", type=pathlib.Path, help="folder of TASK-LENGTH.jsonl; the model's own by default")
    arguments = parser.parse_args()
    encode = Encoder(arguments.model)
    model = Model.read(arguments.model)
    prompts = read_prompts(arguments.prompts or arguments.model / "prompts")
    table = accuracy_table(model, encode, prompts)
    print_table("Exact match, full cache", table, lambda score: f"{100 * score.exact:.1f} %")
    print_table("Answer tokens right", table, lambda score: f"{100 * score.tokens:.1f} %")
    print_table("Negative log-likelihood of the answer, nats per token", table, lambda score: f"{score.nll:.3f}")
    deep = [prompt for prompt in prompts if prompt.depth is not None]
    by_depth = accuracy_table(model, encode, deep, key=lambda prompt: min(9, math.floor(10 * prompt.depth)) / 10)
    print_table("Exact match by depth (deciles, all lengths)", by_depth, lambda score: f"{100 * score.exact:.0f} %")


if __name__ == "__main__":
    main()
