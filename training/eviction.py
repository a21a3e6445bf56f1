"""Accuracy with eviction: the answer is decoded with attention masked to the positions `evictlab replay --kept` wrote."""

import collections
import dataclasses
import pathlib

import h5py
import numpy
import torch
from attention import causal_attention
from evaluate import Score
from model import Model
from prompts import Prompt
from text import Encoder


@dataclasses.dataclass(frozen=True)
class Run:
    """What one policy at one budget kept of one prompt: for every layer, the positions of each of its heads."""

    policy: str
    budget: int
    layers: list[list[numpy.ndarray]]


def read_kept(path: pathlib.Path) -> dict[str, list[Run]]:
    """Prompt id -> runs."""
    runs: dict[str, list[Run]] = collections.defaultdict(list)
    with h5py.File(path) as file:
        for name in sorted(file, key=int):
            group = file[name]
            layers = []
            for layer in range(len(group)):
                offsets = group[f"{layer}/offsets"][:]
                layers.append(numpy.split(group[f"{layer}/positions"][:], offsets[1:-1]))
            run = Run(str(group.attrs["policy"]), int(group.attrs["budget"]), layers)
            runs[str(group.attrs["prompt"])].append(run)
    return runs


def kept_mask(runs: list[Run], layer: int, heads: int, length: int) -> torch.Tensor:
    """[runs, H, n]: which prompt positions a query head still sees; heads of one kept set see the same."""
    mask = torch.zeros(len(runs), heads, length, dtype=torch.bool)
    for number, run in enumerate(runs):
        sets = run.layers[layer]
        for kept_set, positions in enumerate(sets):
            share = heads // len(sets)
            mask[number, kept_set * share : (kept_set + 1) * share, torch.from_numpy(positions).long()] = True
    return mask


@torch.no_grad()
def decode_with(model: Model, prompt_ids: list[int], answer_ids: list[int], runs: list[Run]) -> torch.Tensor:
    """Logits [runs, A, vocabulary] after each of the answer's tokens but the last, each given those before it.

    The first answer token comes from the full cache and is not among them.
    """
    config, length = model.config, len(prompt_ids)
    caches = []

    def remember(query, key, value):
        caches.append((key[0], value[0]))
        return causal_attention(query, key, value)

    model(torch.tensor([prompt_ids]), remember)
    group = config.heads // config.kv_heads
    later = torch.ones(len(answer_ids), len(answer_ids), dtype=torch.bool).tril()
    cosine = model.cosine[length : length + len(answer_ids)]
    sine = model.sine[length : length + len(answer_ids)]
    states = model.model.embed_tokens(torch.tensor([answer_ids] * len(runs)))
    for number, layer in enumerate(model.model.layers):
        query, key, value = layer.before_attention(states, cosine, sine)
        old_key, old_value = (part.expand(len(runs), -1, -1, -1) for part in caches[number])
        keys = torch.cat((old_key, key), 1).repeat_interleave(group, 2).transpose(1, 2)
        values = torch.cat((old_value, value), 1).repeat_interleave(group, 2).transpose(1, 2)
        seen = kept_mask(runs, number, config.heads, length)[:, :, None, :].expand(-1, -1, len(answer_ids), -1)
        seen = torch.cat((seen, later.expand(*seen.shape[:2], -1, -1)), -1)
        attended = torch.nn.functional.scaled_dot_product_attention(query.transpose(1, 2), keys, values, attn_mask=seen)
        states = layer.after_attention(states, attended.transpose(1, 2))
    return model.logits(model.model.norm(states))


def evicted_accuracy(model: Model, encode: Encoder, prompts: list[Prompt], kept: dict[str, list[Run]]):
    """task -> (policy, budget) -> Score over the answer's tokens after the first."""
    found: dict[str, dict[tuple[str, int], list]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for prompt in prompts:
        runs = kept.get(prompt.id, [])
        if not runs:
            continue
        wanted = torch.tensor(encode(prompt.answer + (prompt.stop or "")))
        logits = decode_with(model, encode(prompt.prompt), wanted[:-1].tolist(), runs)
        for run, row in zip(runs, logits, strict=True):
            right = (row.argmax(-1) == wanted[1:]).float()
            nll = torch.nn.functional.cross_entropy(row, wanted[1:])
            found[prompt.task][run.policy, run.budget].append((float(right.all()), right.mean().item(), nll.item()))
    return {
        task: {
            column: Score(*(sum(values) / len(values) for values in zip(*scores, strict=True)), len(scores))
            for column, scores in columns.items()
        }
        for task, columns in found.items()
    }
