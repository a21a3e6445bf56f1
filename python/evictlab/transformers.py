"""Records traces from Hugging Face transformers models, on the device they are on.

Queries, keys and values are taken where the model's attention function receives them (transformers' attention interface),
so that position encoding, norms, sliding windows and grouped heads are what the model really used; what it computes with
(sdpa, flash, eager) is unchanged, and no attention matrix is ever held: probabilities are computed anew in blocks of rows.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from . import _core
from ._attention import block_elements
from ._core import Error
from ._model import max_positions, text_config
from ._prompts import TokenizedPrompt, tokenized
from ._recorder import Recorder

__all__ = ["Recorder", "estimate", "record"]


def estimate(model, prompts: Sequence[TokenizedPrompt], *, tier: str = "summary", window: int = 64) -> dict[str, float]:
    """Bytes that recording takes besides the model: `memory` on its device for the longest prompt (its cache, a layer's
    states and a block of probabilities), and `trace` on disk."""
    config = text_config(model)
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    dimension = getattr(config, "head_dim", None) or config.hidden_size // heads
    layers = config.num_hidden_layers
    element = next(model.parameters()).element_size()
    memory = trace = 0.0
    for prompt in prompts:
        n = len(prompt.tokens)
        everything = n + len(prompt.given) + prompt.generate
        states = (heads + 2 * groups) * everything * dimension
        block = 12 * max(block_elements(model.device), heads * everything)
        block += 4 * heads * min(window, n) * n + 12 * heads * everything
        memory = max(memory, 2 * layers * groups * everything * dimension * element + 4 * states + block)
        summary = heads * (2 * min(window, n) * n + 4 * n + 8 * everything)
        trace += layers * (summary + (2 * states if tier == "full" else 0))
    return {"memory": memory, "trace": trace}


def _free_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return _core.available_memory()


def record(
    model,
    tokenizer,
    prompts: Iterable[Any],
    path: str | os.PathLike[str],
    *,
    tier: str = "summary",
    window: int = 64,
    future: int | None = None,
    evict_at: str = "prompt",
    dtype: str = "float16",
    append: bool = False,
    force: bool = False,
    progress: bool = True,
) -> str:
    """Records prompts one after the other; returns the trace's path.

    `prompts`: text, token ids, or mappings with the keys of `evictlab record`'s prompts files; `tokenizer` may be None for token
    ids. `future`: how many tokens to generate, greedily; without it the answer, where a prompt has one. `evict_at="context"`:
    eviction happens after the span "context", and what follows is future. `tier="full"` also records queries, keys and values
    (in `dtype`), for exact losses. `window`: the last prompt queries that are recorded; of a shorter prompt, all.
    Raises Error in one sentence; after an error, and after Ctrl-C, the finished prompts are in PATH.parts, and the same call resumes.
    """
    maximum = max_positions(text_config(model))
    asked = tokenized(prompts, tokenizer, future=future, evict_at=evict_at)
    for prompt in asked:
        length = len(prompt.tokens) + len(prompt.given) + prompt.generate
        if maximum and length > maximum:
            raise Error(f"prompt '{prompt.id}': {length} positions with its future, the model has {maximum}")
        vocabulary = text_config(model).vocab_size
        wrong = next((token for token in [*prompt.tokens, *prompt.given] if not 0 <= token < vocabulary), None)
        if wrong is not None:
            raise Error(f"prompt '{prompt.id}': token {wrong}, the model has 0..{vocabulary - 1}")
    needed, free = estimate(model, asked, tier=tier, window=window)["memory"], _free_memory(model.device)
    if needed > free:
        raise Error(f"about {needed / 2**30:.1f} GiB of memory are needed besides the model, {free / 2**30:.1f} GiB are free")
    recorder = Recorder(model, path, tier=tier, window=window, dtype=dtype, append=append, force=force)
    recorder._settings |= {"future": "auto" if future is None else str(future), "evict-at": evict_at}
    _core.refuse_output(os.fspath(path), [str(getattr(tokenizer, "name_or_path", "") or "")])
    with contextlib.ExitStack() as stack:
        bar = None
        if progress:
            with contextlib.suppress(ImportError):
                from tqdm.auto import tqdm

                bar = stack.enter_context(tqdm(total=len(asked), desc="recording", unit="prompt", disable=None, leave=False))
        stack.enter_context(recorder)
        stack.enter_context(torch.no_grad())
        for prompt in asked:
            if not recorder.has(prompt):
                recorder.read(prompt)
            if bar is not None:
                bar.update()
    return os.fspath(path)
