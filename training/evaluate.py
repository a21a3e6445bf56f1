"""Accuracy of a model on its test prompts: with the full cache, or with what a policy kept."""

import argparse
import collections
import dataclasses
import math
import pathlib

import torch
from model import Model
from prompts import Prompt, read_prompts
from text import Corpus, Encoder
from trigram import Trigram


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


def score_prompts(model: Model, encode: Encoder, prompts: list[Prompt]) -> list[tuple[Prompt, Score]]:
    scores = []
    for prompt in prompts:
        logits, wanted = answer_predictions(model, encode, prompt)
        right = (logits.argmax(-1) == wanted).float()
        nll = torch.nn.functional.cross_entropy(logits, wanted)
        scores.append((prompt, Score(float(right.all()), right.mean().item(), nll.item(), 1)))
    return scores


def accuracy_table(scores: list[tuple[Prompt, Score]], key=lambda prompt: prompt.length):
    """task -> key(prompt) -> mean Score, leaving out prompts whose key is None."""
    found: dict[str, dict[object, list[Score]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for prompt, score in scores:
        if key(prompt) is not None:
            found[prompt.task][key(prompt)].append(score)
    return {
        task: {
            column: Score(
                sum(score.exact for score in group) / len(group),
                sum(score.tokens for score in group) / len(group),
                sum(score.nll for score in group) / len(group),
                len(group),
            )
            for column, group in columns.items()
        }
        for task, columns in found.items()
    }


def decile(prompt: Prompt) -> float | None:
    return None if prompt.depth is None else min(9, math.floor(10 * prompt.depth)) / 10


def print_table(title: str, table, value, first: str = "task") -> None:
    columns = sorted({column for row in table.values() for column in row})
    print(f"\n{title}\n\n| {first} | " + " | ".join(str(column) for column in columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for task, row in table.items():
        cells = (value(row[column]) if column in row else "" for column in columns)
        print(f"| {task} | " + " | ".join(cells) + " |")


def report_full_cache(model: Model, encode: Encoder, prompts: list[Prompt]) -> None:
    scores = score_prompts(model, encode, prompts)
    table = accuracy_table(scores)
    print_table("Exact match, full cache", table, lambda score: f"{100 * score.exact:.1f} %")
    print_table("Answer tokens right", table, lambda score: f"{100 * score.tokens:.1f} %")
    print_table("Negative log-likelihood of the answer, nats per token", table, lambda score: f"{score.nll:.3f}")
    by_depth = accuracy_table(scores, decile)
    print_table("Exact match by depth (deciles, all lengths)", by_depth, lambda score: f"{100 * score.exact:.0f} %")


def report_trigram(corpus: pathlib.Path, encode: Encoder, prompts: list[Prompt]) -> None:
    documents = [encode("".join(document)) for document in Corpus(corpus, held_out=False).documents]
    trigram = Trigram(documents, encode.tokenizer.get_vocab_size())
    table: dict[str, dict[int, Score]] = {"text": {}}
    for length in sorted({prompt.length for prompt in prompts}):
        texts = [prompt for prompt in prompts if prompt.task == "text" and prompt.length == length]
        losses = [trigram.nll(encode(prompt.prompt), encode(prompt.answer)) for prompt in texts]
        table["text"][length] = Score(nll=sum(losses) / len(losses), prompts=len(losses))
    print_table("A trigram model of the training text, nats per token", table, lambda score: f"{score.nll:.3f}")


def short_name(policy: str) -> str:
    """"snapkv" of "snapkv(window=32,...)"; a composed policy is known by its parts alone."""
    return policy if policy.startswith("compose") else policy.split("(")[0]


def report_eviction(model: Model, encode: Encoder, prompts: list[Prompt], kept: pathlib.Path) -> None:
    from eviction import evicted_accuracy, read_kept  # h5py is needed for this alone

    table = evicted_accuracy(model, encode, prompts, read_kept(kept))
    by_policy: dict[str, dict[str, dict[int, Score]]] = collections.defaultdict(lambda: collections.defaultdict(dict))
    for task, columns in table.items():
        for (policy, budget), score in columns.items():
            by_policy[task][short_name(policy)][budget] = score
    for task, rows in by_policy.items():
        title = f"{task}: exact match after the first answer token, by slots kept"
        print_table(title, rows, lambda score: f"{100 * score.exact:.1f} %", first="policy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=pathlib.Path, help="model folder with config.json, weights, tokenizer, prompts")
    parser.add_argument("--prompts", type=pathlib.Path, help="folder of TASK-LENGTH.jsonl; the model's own by default")
    parser.add_argument("--kept", type=pathlib.Path, help="decode with what `evictlab replay --kept` wrote instead")
    parser.add_argument("--corpus", type=pathlib.Path, help="compare text with a trigram model of this corpus")
    arguments = parser.parse_args()
    encode = Encoder(arguments.model)
    model = Model.read(arguments.model)
    prompts = read_prompts(arguments.prompts or arguments.model / "prompts")
    if arguments.kept:
        report_eviction(model, encode, prompts, arguments.kept)
        return
    report_full_cache(model, encode, prompts)
    if arguments.corpus:
        report_trigram(arguments.corpus, encode, prompts)


if __name__ == "__main__":
    main()
