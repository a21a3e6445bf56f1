"""What a model's layers do with queries, keys and values, found by letting it read a few tokens."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import torch

from ._attention_tap import AttentionTap, LayerPass, decoder_layers, given_states
from ._core import Error
from ._model import architecture, fingerprint, position_encoding, sliding_window, text_config

READ_TOKENS = 8


@dataclasses.dataclass(frozen=True)
class LayerFacts:
    query_heads: int
    kv_heads: int
    key_dimension: int
    value_dimension: int
    scale: float
    softcap: float
    sliding: int  # 0 = sees every position
    has_sinks: bool
    attends: int  # calls of the attention function
    same_rows: bool  # all calls with the same queries and keys, so the same attention
    encoding: str  # of positions: "plain" rotation, "other" rotation, "none", "unknown"
    element_bytes: int  # of a key
    is_added: bool  # its output to the residual stream as it is: neither normalised nor scaled before


def _encoding(tap: AttentionTap, reading: LayerPass) -> str:
    query, raw = reading.calls[0].query, tap.unrotated_queries(reading)
    if raw is None:
        return "unknown"
    if torch.equal(raw, query):
        return "none"
    rotation = reading.rotation
    if isinstance(rotation, torch.Tensor) or rotation[0].shape[-1] != query.shape[-1]:
        return "other"
    cosine, sine = (part[:, None].float() for part in rotation)
    first, second = raw.float().chunk(2, dim=-1)
    plain = raw.float() * cosine + torch.cat([-second, first], dim=-1) * sine
    return "plain" if torch.allclose(plain, query.float(), rtol=0.02, atol=0.02 * float(query.abs().max())) else "other"


def _is_added(reading: LayerPass, read_after: Sequence[torch.Tensor]) -> bool:
    """`read_after`: what the decoder layer's other modules were given."""
    if reading.stream is None or reading.stream.shape != reading.output.shape:
        return False
    total = reading.stream + reading.output
    return any(given.shape == total.shape and torch.equal(given, total) for given in read_after)


def _facts(tap: AttentionTap, reading: LayerPass, read_after: Sequence[torch.Tensor]) -> LayerFacts:
    first = reading.calls[0]
    return LayerFacts(
        query_heads=first.query.shape[1],
        kv_heads=first.key.shape[1],
        key_dimension=first.key.shape[-1],
        value_dimension=first.value.shape[-1],
        scale=first.scale,
        softcap=first.softcap,
        sliding=first.sliding,
        has_sinks=first.has_sinks,
        attends=len(reading.calls),
        same_rows=all(torch.equal(call.query, first.query) and torch.equal(call.key, first.key) for call in reading.calls),
        encoding=_encoding(tap, reading),
        element_bytes=first.key.element_size(),
        is_added=_is_added(reading, read_after),
    )


def find_facts(model, modules: Sequence[torch.nn.Module]) -> list[LayerFacts]:
    """By layer. Raises Error where a layer cannot be recorded in any tier."""
    name = type(model).__name__
    passes: dict[int, LayerPass] = {}
    read_after: dict[int, list[torch.Tensor]] = {}  # by layer: what modules beside its attention were given

    def look(layer: int, reading: LayerPass) -> None:
        if reading.calls:
            passes[layer] = reading

    def see(layer: int, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        if (states := given_states(arguments, options)) is not None:
            read_after.setdefault(layer, []).append(states)

    tap = AttentionTap(model, modules, lambda layer, reading: None, look)
    tokens = torch.arange(READ_TOKENS, device=model.device)[None] % text_config(model).vocab_size
    with torch.no_grad(), contextlib.ExitStack() as stack:
        stack.enter_context(tap)
        for layer, around in enumerate(decoder_layers(model, modules)):
            for module in around.children():
                hook = lambda _, arguments, options, layer=layer: see(layer, arguments, options)  # noqa: E731
                stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        model(input_ids=tokens, use_cache=False)
        if len(passes) < len(modules):
            raise Error(f"{name}: its attention did not go through transformers' attention interface")
        facts = [_facts(tap, passes[layer], read_after.get(layer, [])) for layer in range(len(modules))]
    for layer, one in enumerate(facts):
        configured = sliding_window(model, layer, modules[layer])
        if one.has_sinks:
            raise Error(f"{name}: attention with learned sinks is not recorded")
        if not one.same_rows:
            raise Error(f"{name}: layer {layer} attends {one.attends} times, each time otherwise, which a trace cannot hold")
        if one.sliding != configured:
            raise Error(f"{name}: layer {layer} sees {one.sliding} positions, its configuration says {configured}")
        for what in ("query_heads", "kv_heads", "key_dimension", "value_dimension", "scale"):
            if getattr(one, what) != getattr(facts[0], what):
                raise Error(
                    f"{name}: layer {layer} has {what.replace('_', ' ')} {getattr(one, what)} and layer 0 {getattr(facts[0], what)}; "
                    f"a trace holds one for all layers"
                )
    return facts


def check_full_tier(model, facts: Sequence[LayerFacts], weights: Sequence[torch.Tensor | None]) -> None:
    """Raises Error with the reason where the full tier cannot be recorded."""
    name, first = architecture(model), facts[0]
    reason = None
    if any(one.attends > 1 for one in facts):
        reason = "its layers attend several times to different values and combine the outputs, which the full tier does not hold"
    elif first.key_dimension != first.value_dimension:
        reason = f"its keys have {first.key_dimension} dimensions and its values {first.value_dimension}; the full tier holds one number"
    elif any(weight is None for weight in weights):
        reason = "it has no output projection of a known name"
    elif any(one.encoding == "unknown" for one in facts):
        reason = "its queries before position encoding cannot be taken"
    if reason is not None:
        raise Error(f"{name}: {reason}, so that only the summary tier can be recorded")


def model_info(model, facts: Sequence[LayerFacts]) -> dict[str, Any]:
    """The model as a trace describes it."""
    config, first = text_config(model), facts[0]
    path = getattr(model.config, "_name_or_path", "") or type(model).__name__
    return {
        "name": os.path.basename(os.path.normpath(path)),
        "architecture": architecture(model),
        "layers": len(facts),
        "query_heads": first.query_heads,
        "kv_heads": first.kv_heads,
        "head_dim": first.key_dimension,
        "hidden_size": config.hidden_size,
        "attention_scale": first.scale,
        "sliding_windows": [one.sliding for one in facts],
        "position_encoding": position_encoding(config, {one.encoding for one in facts}),
        "fingerprint": fingerprint(model),
        "cache_element_bytes": first.element_bytes,
    }
