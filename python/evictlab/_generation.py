"""What `model.generate` is asked for, and whether its passes can be recorded."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ._core import Error


def _setting(model, arguments: dict[str, Any], name: str) -> Any:
    """As generate resolves it: its keyword, its generation_config, the model's own."""
    configs = [arguments.get("generation_config"), getattr(model, "generation_config", None)]
    values = [arguments.get(name), *(getattr(config, name, None) for config in configs)]
    return next((value for value in values if value is not None), None)


def check_generation(model, arguments: dict[str, Any]) -> None:
    """Raises Error in one sentence where a call of generate would read tokens in a way that is not one prompt and its future."""

    def setting(name: str) -> Any:
        return _setting(model, arguments, name)

    beams = setting("num_beams") or 1
    if beams > 1:
        raise Error(f"generate with num_beams={beams}: beams exchange their caches, which is not recorded; give num_beams=1")
    for name in ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp"):
        if setting(name):
            raise Error(f"generate with {name}: assisted decoding takes back tokens that it has read, which is not recorded")
    if setting("penalty_alpha") and (setting("top_k") or 0) > 1 and not setting("do_sample"):
        raise Error("generate with penalty_alpha: contrastive search reads candidates that it drops, which is not recorded")
    if (setting("guidance_scale") or 1) != 1:
        raise Error("generate with guidance_scale: guidance reads a second prompt of its own, which is not recorded")
    if setting("use_cache") is False:
        raise Error("generate with use_cache=False reads the whole text again for every token, which is not recorded; give use_cache=True")


@contextlib.contextmanager
def watched_generation(model, begin: Callable[[int | None], None], end: Callable[[], None]) -> Iterator[None]:
    """While entered, calls `begin(positions of the prompts)` before and `end()` after every model.generate that can be recorded.

    The forward pass is not compiled meanwhile: a compiled one calls no hooks.
    """
    original = getattr(model, "generate", None)
    if original is None:
        yield
        return

    @functools.wraps(original)
    def generate(*positional, **options):
        arguments = dict(zip(("inputs", "generation_config"), positional, strict=False)) | options
        check_generation(model, arguments)
        tokens = arguments.get("inputs")
        tokens = arguments.get("input_ids") if tokens is None else tokens
        begin(tokens.shape[1] if isinstance(tokens, torch.Tensor) and tokens.ndim == 2 else None)
        try:
            return original(*positional, **{**options, "disable_compile": True})
        finally:
            end()

    own = model.__dict__.get("generate")
    model.generate = generate
    try:
        yield
    finally:
        if own is None:
            del model.generate
        else:
            model.generate = own
