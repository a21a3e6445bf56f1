"""What is gathered of one layer while a batch of prompts and their futures are read."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from ._attention import MergedStatistics, masses_and_window
from ._attention_tap import AttentionCall, LayerPass


@dataclasses.dataclass
class Chunk:
    """The part of the prompts that one forward pass reads."""

    valid: torch.Tensor  # [B, positions so far] bool: False is padding
    new: int  # positions of this pass
    left: int  # positions of the prompts still to come
    window: int  # the last prompt queries to be recorded

    def columns(self, item: int) -> torch.Tensor:
        """Positions so far without padding."""
        return self.valid[item].nonzero().flatten()

    def window_queries(self, item: int) -> int:
        """How many of the pass's queries, its last ones, are in the prompt's observation window."""
        read = int(self.valid[item].sum())
        before = read - int(self.valid[item, -self.new :].sum())
        length = read + self.left
        return max(0, read - max(before, length - self.window))


@dataclasses.dataclass
class PromptArrays:
    """Of one prompt."""

    mass: torch.Tensor | None = None  # [H, positions so far]
    rows: list[torch.Tensor] = dataclasses.field(default_factory=list)  # of window queries [H, r, positions so far]
    queries: list[torch.Tensor] = dataclasses.field(default_factory=list)  # of the window [H, r, d]; full tier
    statistics: MergedStatistics = dataclasses.field(default_factory=MergedStatistics)  # full tier

    def window_attention(self) -> torch.Tensor:
        """[H, w, n]"""
        heads, positions = self.mass.shape
        padded = [torch.nn.functional.pad(rows, (0, positions - rows.shape[2])) for rows in self.rows]
        return torch.cat(padded, dim=1) if padded else self.mass.new_zeros(heads, 0, positions)


class LayerRecording:
    """Of one layer and a batch.

    A cache that grows gives all keys and values again with every pass: the last ones are held, which costs nothing besides the
    cache. Of one that is written in place, or forgets what a sliding window left behind, each pass's own are held.
    """

    def __init__(self, prompts: int):
        self.prompts = [PromptArrays() for _ in range(prompts)]
        self.scale, self.seen = 0.0, {"window": 0, "softcap": 0.0}
        self.future_queries: list[torch.Tensor] = []  # a pass each: [B, H, m, d]
        self._residual_norms: list[torch.Tensor] = []  # a pass each: [3, B, m]; full tier
        self._whole: tuple[torch.Tensor, torch.Tensor] | None = None
        self._parts: list[tuple[torch.Tensor, torch.Tensor]] = []  # after it

    def continues(self, call: AttentionCall, new: int, total: int, most: int = 64) -> bool:
        """Whether the cache gives what it was seen to hold: the keys of the last positions before this pass."""
        end = min(call.key.shape[2], total)
        count = min(most, end - new)
        if count <= 0:
            return True
        held = self._recent_keys(count)
        given = call.key[:, :, end - new - held.shape[2] : end - new]
        return given.shape == held.shape and bool(torch.equal(given, held))

    def _recent_keys(self, count: int) -> torch.Tensor:
        parts: list[torch.Tensor] = []
        for key, _ in reversed(([self._whole] if self._whole else []) + self._parts):
            parts.insert(0, key[:, :, -count:])
            count -= parts[0].shape[2]
            if count <= 0:
                break
        return torch.cat(parts, dim=2)

    def add(self, call: AttentionCall, new: int, total: int, in_place: bool) -> None:
        """After a pass that read `new` positions, `total` with those before."""
        self.scale, self.seen = call.scale, {"window": call.sliding, "softcap": call.softcap}
        if call.key.shape[2] == total and not in_place:
            self._whole, self._parts = (call.key, call.value), []
            return
        end = min(call.key.shape[2], total)
        self._parts.append(tuple(states[:, :, end - new : end].clone() for states in (call.key, call.value)))

    def _joined(self, kind: int, item: int, columns: torch.Tensor) -> torch.Tensor:
        parts = ([self._whole] if self._whole else []) + self._parts
        whole = parts[0][kind][item] if len(parts) == 1 else torch.cat([part[kind][item] for part in parts], dim=1)
        return whole[:, columns.to(whole.device)]

    def keys(self, item: int, columns: torch.Tensor) -> torch.Tensor:
        """Of one prompt of the batch at these positions: [G, p, d]."""
        return self._joined(0, item, columns)

    def values(self, item: int, columns: torch.Tensor) -> torch.Tensor:
        return self._joined(1, item, columns)

    def read_prompt(self, query: torch.Tensor, chunk: Chunk) -> None:
        """Adds a chunk's attention; its keys are there already. query: [B, H, m, d]."""
        for item, arrays in enumerate(self.prompts):
            new = chunk.valid[item, -chunk.new :].to(query.device)
            queries, last = query[item][:, new], chunk.window_queries(item)
            if queries.shape[1] == 0:
                continue
            keys = self.keys(item, chunk.columns(item))
            mass, rows = masses_and_window(queries, keys, self.scale, last, **self.seen)
            if arrays.mass is not None:
                mass[:, : arrays.mass.shape[1]] += arrays.mass
            arrays.mass = mass
            if last:
                arrays.rows.append(rows)

    def read_queries(self, query: torch.Tensor, raw: torch.Tensor, chunk: Chunk, first: int) -> None:
        """Adds a chunk's queries, those before position encoding to the statistics over the positions from `first` on."""
        for item, arrays in enumerate(self.prompts):
            new = chunk.valid[item, -chunk.new :].to(query.device)
            last, count = chunk.window_queries(item), int(new.sum())
            if last:
                arrays.queries.append(query[item][:, new][:, count - last :].clone())
            before = int(chunk.valid[item].sum()) - count
            arrays.statistics.add(raw[item][:, new][:, max(0, first - before) :])

    def future(self, item: int, count: int) -> torch.Tensor:
        """The first queries after the prompt [H, count, d]."""
        return torch.cat([part[item] for part in self.future_queries], dim=1)[:, :count]

    def read_residual(self, reading: LayerPass) -> None:
        """Adds a pass over the future: what its attention output is added to, and what becomes of it."""
        stream, output = reading.stream.float(), reading.output.float()
        self._residual_norms.append(torch.stack([part.norm(dim=-1) for part in (stream, output, stream + output)]))

    def residual_norms(self, item: int, count: int) -> torch.Tensor:
        """[3, T]"""
        return torch.cat([part[:, item] for part in self._residual_norms], dim=1)[:, :count]

    def future_mass(self, item: int, columns: torch.Tensor, count: int) -> torch.Tensor:
        """Attention mass [H, n+T] over the future queries."""
        keys = self.keys(item, columns)
        mass, _ = masses_and_window(self.future(item, count), keys, self.scale, 0, **self.seen)
        return mass


def valid_positions(mask: Any, prompts: int, past: int, new: int) -> torch.Tensor | None:
    """[B, new] bool from a model's attention_mask: none, where nothing is padding; [B, positions]; or [B, 1, queries, positions] of bools
    or additive numbers; or such by layer type. None where it cannot be read."""
    if isinstance(mask, dict):
        mask = mask.get("full_attention", next(iter(mask.values()), None))
    if mask is None:
        return torch.ones(prompts, new, dtype=torch.bool)
    if not isinstance(mask, torch.Tensor) or mask.ndim not in (2, 4):
        return None
    if mask.ndim == 4:
        # A position that no query sees is padding.
        seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
        mask = seen[:, 0, -new:].any(dim=1)
        if mask.shape[1] < past + new:  # a sliding window's columns are its last positions
            mask = mask[:, -new:]
            return mask.cpu().expand(prompts, -1)
    if mask.shape[1] < past + new:
        return None
    return mask[:, past : past + new].bool().cpu().expand(prompts, -1)
