"""What a trace says of a transformers model."""

from __future__ import annotations

from typing import Any

import torch

from . import _core
from ._core import Error


def text_config(model) -> Any:
    return model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config


def attention_modules(model) -> list[torch.nn.Module]:
    """By layer."""
    found = {}
    for module in model.modules():
        index = getattr(module, "layer_idx", None)
        if index is not None and "Attention" in type(module).__name__:
            found[int(index)] = module
    config = text_config(model)
    layers, name = config.num_hidden_layers, type(model).__name__
    other = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if other:
        raise Error(f"{name}: layers of type {', '.join(sorted(other))} are not recorded")
    if not getattr(model, "_supports_attention_backend", False) or sorted(found) != list(range(layers)):
        raise Error(
            f"{name}: its attention does not go through transformers' attention interface in all {layers} layers, so that "
            f"queries and keys cannot be taken; give its attentions to `evictlab import`"
        )
    return [found[layer] for layer in range(layers)]


def output_weight(module: torch.nn.Module, heads: int, dimension: int) -> torch.Tensor | None:
    """W_O [H, d, hidden], a view of the model's; None where it has none of a known name."""
    for name in ("o_proj", "out_proj", "dense", "wo"):
        weight = getattr(getattr(module, name, None), "weight", None)
        if weight is not None and weight.ndim == 2 and weight.shape[1] == heads * dimension:
            return weight.detach().T.unflatten(0, (heads, dimension))
    return None


def position_encoding(config) -> str:
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if any(isinstance(value, dict) for value in rope.values()):
        return "rope per layer type"
    theta = rope.get("rope_theta", getattr(config, "rope_theta", None))
    if theta is None:
        return "unknown"
    kind = rope.get("rope_type", "default")
    partial = rope.get("partial_rotary_factor", getattr(config, "partial_rotary_factor", 1.0)) or 1.0
    base = int(theta) if float(theta).is_integer() else theta
    return f"rope(theta={base})" if kind == "default" and partial == 1.0 else f"rope(theta={base},type={kind},other)"


def fingerprint(model) -> str:
    """Of the weights as they are in memory."""
    parts = []
    for name, weight in sorted(model.state_dict().items()):
        raw = weight.detach().to("cpu").reshape(-1).view(torch.uint8).numpy()
        parts.append(f"{name}{tuple(weight.shape)}{weight.dtype}{_core.content_hash(raw)}")
    return _core.content_hash("\n".join(parts).encode())


def ends_of_text(model) -> set[int]:
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return set(ends) if isinstance(ends, (list, tuple)) else {ends} - {None}
