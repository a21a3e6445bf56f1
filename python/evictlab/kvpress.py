"""Between Evictlab and NVIDIA's kvpress: its presses' scores are judged here, and budgets found here run as a press there.

    ours = evictlab.kvpress.press_policy(model, SnapKVPress(), trace)       # judged with oracle, bounds, any allocator
    evictlab.replay(trace, [ours, "snapkv", "oracle"], [64, 128])

    press = evictlab.kvpress.BudgetPress(SnapKVPress(), evictlab.advise(trace, loss=0.05).budgets)
    with press(model):                                                       # the same budgets on a GPU
        model.generate(...)
"""

from __future__ import annotations

import dataclasses

import kvpress
import pandas
import torch

from ._core import Error
from ._policies import CustomPolicy, scorer
from ._trace import Trace


@dataclasses.dataclass
class _Collecting(kvpress.BasePress):
    """Keeps the scores of another press and evicts nothing."""

    press: kvpress.ScorerPress
    scores: dict[int, torch.Tensor] = dataclasses.field(default_factory=dict)

    def post_init_from_model(self, model):
        self.press.post_init_from_model(model)

    def compress(self, module, hidden_states, keys, values, attentions, kwargs):
        scores = self.press.score(module, hidden_states, keys, values, attentions, kwargs)
        self.scores[module.layer_idx] = scores[0].float().cpu()
        return keys, values


def press_policy(
    model,
    press: kvpress.ScorerPress,
    trace: Trace,
    *,
    allocator: str = "uniform",
    selector: str = "top",
    protect: tuple[int, int] = (0, 0),
    name: str | None = None,
) -> CustomPolicy:
    """Lets the model read the trace's prompts once under a press, whose scores become a policy's; for traces of that model.

    A press protects positions by their scores (SnapKVPress its window), so nothing else is protected unless asked for. All
    scores are held in memory: a number per prompt, layer, kv head and position.
    """
    if not isinstance(press, kvpress.ScorerPress):
        raise Error(f"{type(press).__name__}: is no ScorerPress, so that it has no scores to judge")
    scores = {}
    for place, prompt in enumerate(trace):
        ids = torch.tensor(trace.tokens(place)[None, : prompt.prompt_length].astype("int64"), device=model.device)
        collecting = _Collecting(press)
        with torch.no_grad(), collecting(model):
            model(input_ids=ids, use_cache=True)
        for layer in prompt.layers:
            if layer not in collecting.scores:
                raise Error(f"{type(press).__name__}: gave no scores for layer {layer} of prompt '{prompt.id}'")
            scores[prompt.id, layer] = collecting.scores[layer].numpy()

    def look_up(layer):
        return scores[layer.prompt, layer.index]

    called = name or type(press).__name__
    return scorer(needs=(), allocator=allocator, selector=selector, protect=protect, name=called)(look_up)


def _per_layer(budgets: pandas.DataFrame) -> list[list[int]]:
    missing = {"layer", "head", "positions"} - set(budgets.columns)
    if missing:
        raise Error(f"budgets: lack {', '.join(sorted(missing))}; give the budgets of evictlab.advise()")
    ordered = budgets.sort_values(["layer", "head"])
    return [group["positions"].astype(int).tolist() for _, group in ordered.groupby("layer")]


@dataclasses.dataclass
class BudgetPress(kvpress.BasePress):
    """Evicts by a press's scores to budgets per layer and kv head, those of `evictlab.advise(...).budgets`.

    `budgets`: layer, head, positions; one head a layer is all of them. Layers whose heads hold the same are cut; in others
    evicted positions are masked, as kvpress does for AdaKV: right, but not smaller.
    """

    press: kvpress.ScorerPress
    budgets: pandas.DataFrame

    def __post_init__(self):
        self._layers = _per_layer(self.budgets)

    def post_init_from_model(self, model):
        config = model.config.get_text_config()
        heads = {len(layer) for layer in self._layers} - {1, config.num_key_value_heads}
        if len(self._layers) != config.num_hidden_layers or heads:
            raise Error(
                f"budgets are for {len(self._layers)} layers of {sorted({len(layer) for layer in self._layers})} heads, the model has "
                f"{config.num_hidden_layers} layers of {config.num_key_value_heads} kv heads"
            )
        self.press.post_init_from_model(model)

    def compress(self, module, hidden_states, keys, values, attentions, kwargs):
        scores = self.press.score(module, hidden_states, keys, values, attentions, kwargs)
        prompts, heads, length = scores.shape
        budgets = [min(positions, length) for positions in self._layers[module.layer_idx]]
        budgets = budgets * heads if len(budgets) == 1 else budgets
        ranked = scores.argsort(dim=-1, descending=True, stable=True)
        if len(set(budgets)) == 1:
            kept = ranked[:, :, : budgets[0], None].expand(-1, -1, -1, keys.shape[-1])
            return keys.gather(2, kept).contiguous(), values.gather(2, kept).contiguous()
        evicted = [ranked[:, head, positions:] for head, positions in enumerate(budgets)]
        batch = torch.cat([torch.arange(prompts).repeat_interleave(part.shape[1]) for part in evicted])
        head = torch.cat([torch.full((part.numel(),), place) for place, part in enumerate(evicted)])
        module.masked_key_indices = (batch, head, torch.cat([part.flatten().cpu() for part in evicted]))
        return keys, values
