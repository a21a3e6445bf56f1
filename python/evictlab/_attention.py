"""What a trace holds of a layer, computed on the model's device from the queries, keys and values it really used."""

from __future__ import annotations

from collections.abc import Iterator

import torch



def block_elements(device: torch.device) -> int:
    """Of the largest block of probabilities, query heads x rows x positions: what a processor's cache holds, or what keeps an
    accelerator busy."""
    return 1 << 20 if device.type == "cpu" else 1 << 26


def rows(
    queries: torch.Tensor,  # [H, m, d], of the last m positions
    keys: torch.Tensor,  # [G, p, d]
    scale: float,
    *,
    window: int = 0,  # sliding window; 0 = sees every position
    softcap: float = 0.0,  # logits become softcap * tanh(logits / softcap); 0 = as they are
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Softmax rows in blocks: (first query, first position, probabilities [H, rows, positions from there on]) in float32.

    Positions that no query of a block sees are left out of it.
    """
    heads, count, dimension = queries.shape
    groups, positions, _ = keys.shape
    before = positions - count
    step = max(1, block_elements(queries.device) // (heads * positions))
    keys = keys.float().transpose(-1, -2).contiguous()
    queries = queries.float() * scale
    for first in range(0, count, step):
        last = min(first + step, count)
        end = before + last
        begin = max(0, before + first - window + 1) if window else 0
        # The query heads of a kv head are rows of one product: broadcasting would copy the keys for each of them.
        block = queries[:, first:last].reshape(groups, heads // groups * (last - first), dimension)
        logits = (block @ keys[..., begin:end]).view(heads, last - first, end - begin)
        if softcap:
            logits = torch.tanh(logits / softcap) * softcap
        # Every query sees what lies before the block, but for the far end of a sliding window.
        near = begin if window else before + first
        query = torch.arange(before + first, end, device=queries.device)[:, None]
        position = torch.arange(near, end, device=queries.device)[None, :]
        unseen = position > query
        if window:
            unseen |= position <= query - window
        logits[..., near - begin :].masked_fill_(unseen, float("-inf"))
        yield first, begin, torch.softmax(logits, dim=-1)


def masses_and_window(
    queries: torch.Tensor, keys: torch.Tensor, scale: float, last: int, **seen
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention mass [H, p] over all queries, and the rows of the `last` ones [H, last, p]."""
    heads, count, _ = queries.shape
    positions = keys.shape[1]
    # Sums of thousands of small numbers; not every device has doubles.
    exact = torch.float32 if queries.device.type == "mps" else torch.float64
    mass = torch.zeros(heads, positions, dtype=exact, device=queries.device)
    kept = torch.zeros(heads, last, positions, device=queries.device)
    for first, begin, probabilities in rows(queries, keys, scale, **seen):
        stop = begin + probabilities.shape[2]
        ones = probabilities.new_ones(heads, 1, probabilities.shape[1])
        mass[:, begin:stop] += (ones @ probabilities)[:, 0]
        skip = max(0, count - last - first)
        if last and skip < probabilities.shape[1]:
            place = first + skip - (count - last)
            kept[:, place : place + probabilities.shape[1] - skip, begin:stop] = probabilities[:, skip:]
    return mass.float(), kept


def output_norms(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """L1 norm of value_j W_O^(h): values [G, p, d], weight [H, d, hidden] -> [H, p]."""
    heads, _, hidden = weight.shape
    groups, positions, _ = values.shape
    norms = torch.empty(heads, positions, device=values.device)
    step = max(1, block_elements(values.device) // 4 // hidden)
    weight = weight.float().contiguous()
    buffer = torch.empty(min(step, positions), hidden, device=values.device)
    for head in range(heads):
        value = values[head * groups // heads]
        for first in range(0, positions, step):
            part = value[first : first + step].float()
            moved = torch.mm(part, weight[head], out=buffer[: part.shape[0]])
            norms[head, first : first + step] = moved.abs_().sum(-1)
    return norms


class MergedStatistics:
    """Mean [H, d] and covariance [H, d, d] (divisor: the count) over positions that come in parts.

    Chan, Golub and LeVeque 1979: sums of squares about the means of two parts add up, with d d^T a b / (a + b) for means that are
    d apart over a and b positions.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: torch.Tensor | None = None
        self._squares: torch.Tensor | None = None  # [H, d, d]

    def add(self, queries: torch.Tensor) -> None:
        """[H, m, d]; none are fine."""
        count = queries.shape[1]
        if count == 0:
            return
        used = queries.float()
        mean = used.mean(1)
        centered = used - mean[:, None]
        squares = centered.transpose(1, 2) @ centered
        if self.count:
            apart, total = mean - self.mean, self.count + count
            squares += self._squares + apart[:, :, None] * apart[:, None, :] * (self.count * count / total)
            mean = self.mean + apart * (count / total)
        self.mean, self._squares, self.count = mean, squares, self.count + count

    @property
    def covariance(self) -> torch.Tensor:
        return self._squares / self.count
