"""An interpolated trigram model with absolute discounting (Ney, Essen and Kneser 1994): what text costs without attention."""

import collections
import math

DISCOUNT = 0.75


class Trigram:
    def __init__(self, documents: list[list[int]], vocabulary: int):
        self.vocabulary = vocabulary
        self.counts: list[dict[tuple, collections.Counter]] = [collections.defaultdict(collections.Counter) for _ in range(3)]
        for ids in documents:
            for place, token in enumerate(ids):
                for order in range(min(3, place + 1)):
                    self.counts[order][tuple(ids[place - order : place])][token] += 1

    def probability(self, context: tuple, token: int) -> float:
        """p(token | context), a context of at most two tokens."""
        lower = self.probability(context[1:], token) if context else 1.0 / self.vocabulary
        counts = self.counts[len(context)].get(context)
        if not counts:
            return lower
        total = counts.total()
        return (max(counts[token] - DISCOUNT, 0.0) + DISCOUNT * len(counts) * lower) / total

    def nll(self, context: list[int], wanted: list[int]) -> float:
        """Mean negative log-likelihood of `wanted` after `context`, nats per token."""
        ids = context[-2:] + wanted
        start = len(ids) - len(wanted)
        losses = [-math.log(self.probability(tuple(ids[max(0, i - 2) : i]), ids[i])) for i in range(start, len(ids))]
        return sum(losses) / len(losses)
