"""What a trace says of a transformers model."""

from __future__ import annotations

from typing import Any

import torch

from . import _core
from ._core import Error


def text_config(model) -> Any:
    return model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config


def architecture(model) -> str:
    return (getattr(model.config, "architectures", None) or [type(model).__name__])[0]


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


def sliding_window(model, layer: int, module: torch.nn.Module) -> int:
    """How many positions a layer sees according to the configuration; 0 = every position."""
    config = text_config(model)
    window = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    if types is None:
        return int(getattr(module, "sliding_window", window) or 0)
    return int(window or 0) if types[layer] == "sliding_attention" else 0


def output_weight(module: torch.nn.Module, heads: int, dimension: int) -> torch.Tensor | None:
    """W_O [H, d, hidden], a view of the model's, for values of `dimension` numbers; None where it has none of a known name."""
    for name in ("o_proj", "out_proj", "dense", "wo"):
        weight = getattr(getattr(module, name, None), "weight", None)
        if weight is not None and weight.ndim == 2 and weight.shape[1] == heads * dimension:
            return weight.detach().T.unflatten(0, (heads, dimension))
    return None


def _rope_parameters(config) -> dict[str, Any]:
    return getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}


def rope_type(config) -> str:
    parameters = _rope_parameters(config)
    return parameters.get("rope_type", parameters.get("type", "default"))


def _stretched(parameters: dict[str, Any], positions: int) -> int:
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind in ("linear", "dynamic"):
        return max(positions, int(positions * parameters.get("factor", 1.0)))
    if kind == "yarn":
        original = parameters.get("original_max_position_embeddings") or positions
        return max(positions, int(original * (parameters.get("factor") or positions / original)))
    return positions


def max_positions(config) -> int | None:
    """How many positions the model reads, with what a scaled rotary encoding adds: linear and dynamic scaling multiply
    max_position_embeddings by their factor, YaRN the original ones. None: any number."""
    positions = getattr(config, "max_position_embeddings", None)
    if not positions:
        return None
    parameters = _rope_parameters(config)
    of_layers = [value for value in parameters.values() if isinstance(value, dict)] or [parameters]
    return min(_stretched(one, positions) for one in of_layers)


def forget_lengths(model) -> None:
    """Dynamic scaling keeps the frequencies of the longest text read so far: lets the next prompt be read as if it were the first."""
    if rope_type(text_config(model)) != "dynamic":
        return
    for module in model.modules():
        if hasattr(module, "max_seq_len_cached"):
            # A text within the original positions resets them.
            module(torch.zeros(1, 1, 1, device=model.device), torch.zeros(1, 1, dtype=torch.long, device=model.device))


def position_encoding(config, encodings: set[str]) -> str:
    """`encodings`: what the layers were seen to do, see LayerFacts.encoding. Policies that compute with the encoding read it where it
    is the plain rotation of all layers, "rope(theta=10000)"."""
    if encodings == {"none"}:
        return "none"
    rope = _rope_parameters(config)
    if any(isinstance(value, dict) for value in rope.values()):
        return "rope per layer type"
    theta = rope.get("rope_theta", getattr(config, "rope_theta", None))
    if theta is None:
        return "unknown"
    kind = rope_type(config)
    base = int(theta) if float(theta).is_integer() else theta
    if "none" in encodings:
        return f"rope(theta={base},type={kind},in some layers)"
    return f"rope(theta={base})" if kind == "default" and encodings == {"plain"} else f"rope(theta={base},type={kind},other)"


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
