"""What a model reads while it is recorded: hooks at transformers' attention interface."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from . import _core
from ._attention import masses_and_window, output_norms, query_statistics
from ._core import Error
from ._model import attention_modules, ends_of_text, fingerprint, output_weight, position_encoding, text_config
from ._prompts import TokenizedPrompt

FIRST_STATISTICS_POSITION = 4  # the first tokens' queries are unlike all others


@dataclasses.dataclass
class _Layer:
    """What is known of one layer of the batch that is being read."""

    module: torch.nn.Module
    scale: float = 0.0
    sliding: int = 0
    softcap: float = 0.0
    raw_queries: torch.Tensor | None = None  # [B, H, m, d], before position encoding
    keys: torch.Tensor | None = None  # [B, G, p, d]: the cache's own
    values: torch.Tensor | None = None
    later: list[tuple[torch.Tensor, torch.Tensor]] = dataclasses.field(default_factory=list)  # where the cache forgets
    window_queries: list[torch.Tensor] = dataclasses.field(default_factory=list)  # a prompt each: [H, w, d]
    future_queries: list[torch.Tensor] = dataclasses.field(default_factory=list)  # a pass each: [B, H, m, d]

    @property
    def seen(self) -> dict[str, Any]:
        return {"window": self.sliding, "softcap": self.softcap}

    def add(self, key: torch.Tensor, value: torch.Tensor, new: int, total: int) -> None:
        """After a pass that read `new` positions of `total`: keys and values of all of them."""
        if key.shape[2] >= total:
            self.keys, self.values, self.later = key[:, :, :total], value[:, :, :total], []
        else:  # a sliding window's cache holds the last ones alone
            self.later.append((key[:, :, -new:], value[:, :, -new:]))

    def states(self, item: int, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of one prompt of the batch, without padding: [G, n+T, d]."""
        def joined(first: torch.Tensor, rest: list[torch.Tensor]) -> torch.Tensor:
            all_of_them = torch.cat([first[item], *(one[item] for one in rest)], dim=1)
            return all_of_them[:, columns]

        return (joined(self.keys, [key for key, _ in self.later]), joined(self.values, [value for _, value in self.later]))


class _Sink:
    """Where a prompt's arrays go: to its file, or, while another prompt's is open, to memory until then."""

    def __init__(self, info: dict[str, Any], tokens: Sequence[int]):
        self.info, self.tokens = info, list(tokens)
        self.query_count = 0  # positions that query_mean is over
        self.file: _core.PromptWriter | None = None
        self.waiting: list[tuple[int, str, numpy.ndarray]] = []

    def open(self, writer: _core.TraceWriter) -> None:
        self.file = writer.begin_prompt(self.info, self.tokens)
        for layer, name, array in self.waiting:
            self.file.write(layer, name, array)
        self.waiting = []

    def write(self, layer: int, name: str, tensor: torch.Tensor, half: bool = False) -> None:
        array = tensor.detach().to("cpu", torch.float16 if half else torch.float32).numpy()
        if self.file is not None:
            self.file.write(layer, name, array)
        else:
            self.waiting.append((layer, name, array))


class Recorder:
    """Records what a model reads while it is entered: for one's own generation loop.

        with Recorder(model, "t.h5", ids=["a", "b"]) as recorder:
            model.generate(**tokenizer(texts, padding=True, return_tensors="pt"))

    A forward pass over an empty cache begins prompts, one for each sequence of the batch, padding left out; passes after it are
    their future, until the next such pass or the end. A prompt without a future is not kept. `ids`: of the prompts, in the
    order they come; prompt-0, prompt-1, ... without. Of a batch, all prompts but one wait in memory until the first is done.
    """

    def __init__(
        self,
        model,
        path: str | os.PathLike[str],
        *,
        tier: str = "summary",
        window: int = 64,
        dtype: str = "float16",
        ids: Iterable[str] | None = None,
        append: bool = False,
        force: bool = False,
    ):
        if tier not in ("summary", "full"):
            raise Error(f"tier '{tier}', must be \"summary\" or \"full\"")
        if dtype not in ("float16", "float32"):
            raise Error(f"dtype '{dtype}', must be \"float16\" or \"float32\"")
        if window < 1:
            raise Error(f"window {window}, must be at least 1")
        self._model, self._path, self._tier, self._window, self._half = model, path, tier, window, dtype == "float16"
        self._append, self._force = append, force
        self._settings = {"tier": tier, "window": str(window)}  # what the trace says of how its prompts were recorded
        if tier == "full":
            self._settings["dtype"] = dtype
        self._modules = attention_modules(model)
        self._of = {id(module): layer for layer, module in enumerate(self._modules)}
        self._current: int | None = None  # the layer whose attention module is running
        self._ids = iter(ids) if ids is not None else None
        self._count = 0
        self._described: list[TokenizedPrompt] = []  # of prompts to come, where record() knows more than ids
        self._writer: _core.TraceWriter | None = None
        self._layers: list[_Layer] = []
        self._sinks: list[_Sink] = []
        self._columns: list[torch.Tensor] = []
        self._future: list[list[int]] = []
        self._read = 0  # positions in the cache, padding included
        self._new = 0  # of the pass that is running

    # ---- the model's description --------------------------------------------------------------------------------

    def _describe(self, query: torch.Tensor, key: torch.Tensor, scale: float) -> None:
        config = text_config(self._model)
        self._heads, self._groups, self._dimension = query.shape[1], key.shape[1], query.shape[3]
        architectures = getattr(self._model.config, "architectures", None) or [type(self._model).__name__]
        weights = [output_weight(module, self._heads, self._dimension) for module in self._modules]
        self._missing = ["output_norms"] if any(weight is None for weight in weights) else []
        self._weights = weights
        if self._missing and self._tier == "full":
            raise Error(f"{architectures[0]}: no output projection of a known name, so that the full tier cannot be recorded")
        path = getattr(self._model.config, "_name_or_path", "") or type(self._model).__name__
        info = {
            "name": os.path.basename(os.path.normpath(path)),
            "architecture": architectures[0],
            "layers": len(self._modules),
            "query_heads": self._heads,
            "kv_heads": self._groups,
            "head_dim": self._dimension,
            "hidden_size": config.hidden_size,
            "attention_scale": scale,
            "sliding_windows": [self._sliding(module) for module in self._modules],
            "position_encoding": position_encoding(config),
            "fingerprint": fingerprint(self._model),
            "cache_element_bytes": key.element_size(),
        }
        self._writer = _core.TraceWriter(
            os.fspath(self._path),
            info,
            append=self._append,
            force=self._force,
            command="evictlab.transformers",
            settings=self._settings,
        )
        if self._tier == "full":
            for layer, weight in enumerate(weights):
                self._writer.write_output_weight(layer, weight.float().flatten(0, 1).cpu().numpy())

    def _sliding(self, module: torch.nn.Module) -> int:
        config = getattr(text_config(self._model), "sliding_window", None)
        return int(getattr(module, "sliding_window", config) or 0)

    # ---- what happens while the model runs ----------------------------------------------------------------------

    def _before_model(self, module, arguments, options) -> None:
        tokens = options.get("input_ids", arguments[0] if arguments else None)
        if tokens is None:
            raise Error("the model was given no input_ids; embeddings cannot be recorded")
        cache = options.get("past_key_values")
        empty = cache is None or cache.get_seq_length() == 0
        self._new = tokens.shape[1]
        if empty:
            self._finish_prompts()
            self._begin_prompts(tokens, options.get("attention_mask"))
        else:
            for item, future in enumerate(self._future):
                future += tokens[item].tolist()
            self._read += self._new

    def _begin_prompts(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> None:
        self._layers = [_Layer(module) for module in self._modules]
        self._read = tokens.shape[1]
        self._future = [[] for _ in range(tokens.shape[0])]
        self._columns, self._sinks = [], []
        if mask is not None and (not isinstance(mask, torch.Tensor) or mask.ndim != 2) and tokens.shape[0] > 1:
            raise Error("a batch needs an attention_mask [prompts, positions], which says what is padding")
        for item in range(tokens.shape[0]):
            flat = isinstance(mask, torch.Tensor) and mask.ndim == 2
            valid = mask[item].nonzero().flatten().cpu() if flat else torch.arange(self._read)
            prompt = tokens[item, valid.to(tokens.device)].tolist()
            described = self._described.pop(0) if self._described else None
            name = described.id if described else (next(self._ids, None) if self._ids is not None else f"prompt-{self._count}")
            self._count += 1
            if name is None:
                raise Error(f"prompt {self._count}: there are fewer ids than prompts")
            if len(prompt) < max(self._window, FIRST_STATISTICS_POSITION + 1):
                raise Error(f"prompt '{name}': has {len(prompt)} positions, fewer than the observation window of {self._window}")
            given = described.given if described and not described.generate else []
            spans = [span for span in described.spans if span[2] <= len(prompt) + len(given)] if described else []
            info = {
                "id": name,
                "task": described.task if described else "",
                "source": described.source if described else "python",
                "prompt_length": len(prompt),
                "future_length": len(given),  # 0: not known yet
                "future_kind": "teacher-forced" if given else "generated",
                "tier": self._tier,
                "window": self._window,
                "layers": list(range(len(self._modules))),
                "spans": spans,
                "missing": [],
            }
            self._columns.append(valid)
            self._sinks.append(_Sink(info, prompt + given))

    def _before_attention(self, module, arguments, options) -> None:
        self._current = self._of.get(id(module))

    def _attention(self, original, module, query, key, value, mask, *arguments, **options):
        """Stands for the attention function: looks, then does what it would have done."""
        layer = self._of.get(id(module))
        if layer is not None and self._sinks:
            if options.get("s_aux") is not None:
                raise Error(f"{type(self._model).__name__}: attention with learned sinks is not recorded")
            with torch.no_grad():
                self._look(layer, query, key, value, options)
        function = original or sys.modules[type(module).__module__].eager_attention_forward
        return function(module, query, key, value, mask, *arguments, **options)

    def _look(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: dict[str, Any]) -> None:
        state = self._layers[layer]
        scale = options.get("scaling")
        state.scale = float(scale) if scale is not None else query.shape[-1] ** -0.5
        state.sliding = int(options.get("sliding_window") or 0)
        state.softcap = float(options.get("softcap") or 0.0)
        if state.sliding != self._sliding(state.module):
            raise Error(f"layer {layer}: sees {state.sliding} positions, its configuration says {self._sliding(state.module)}")
        if self._writer is None:
            self._describe(query, key, state.scale)
        if self._sinks[0].file is None:
            for sink in self._sinks:
                sink.info["missing"] = self._missing
            self._sinks[0].open(self._writer)
        state.add(key, value, self._new, self._read)
        if self._future[0]:
            state.future_queries.append(query)
            return
        for item, sink in enumerate(self._sinks):
            columns = self._columns[item].to(query.device)
            queries, keys = query[item][:, columns], key[item][:, columns]
            mass, window = masses_and_window(queries, keys, state.scale, self._window, **state.seen)
            if not bool(torch.isfinite(mass).all()):
                raise Error(f"prompt '{sink.info['id']}', layer {layer}: attention that is not finite")
            sink.write(layer, "window_attention", window)
            sink.write(layer, "attention_mass", mass)
            if self._tier == "full":
                state.window_queries.append(queries[:, -self._window :].clone())
                self._write_statistics(layer, item, columns)
        state.raw_queries = None

    def _write_statistics(self, layer: int, item: int, columns: torch.Tensor) -> None:
        raw = self._layers[layer].raw_queries
        if raw is None:
            raise Error(
                f"{type(self._model).__name__}: queries before position encoding cannot be taken, so that the full tier cannot "
                f"be recorded"
            )
        mean, covariance, count = query_statistics(raw[item][:, columns], FIRST_STATISTICS_POSITION)
        sink = self._sinks[item]
        sink.write(layer, "query_mean", mean)
        sink.write(layer, "query_covariance", covariance)
        sink.query_count = count

    def _rotary(self, original):
        """Stands for the file's apply_rotary_pos_emb, whose first argument are the queries before it."""

        def rotate(queries, *arguments, **options):
            if self._current is not None and self._layers and not self._future[0]:
                self._layers[self._current].raw_queries = queries.detach()
            return original(queries, *arguments, **options)

        return rotate

    # ---- the end of prompts -------------------------------------------------------------------------------------

    def _finish_prompts(self) -> None:
        sinks, self._sinks = self._sinks, []
        if not sinks:
            return
        if not all(layer.keys is not None for layer in self._layers):
            raise Error(f"{type(self._model).__name__}: its attention did not go through transformers' attention interface")
        if not self._future[0]:
            sinks[0].file.discard()
            return
        for item, sink in enumerate(sinks):
            if sink.file is None:
                sink.open(self._writer)
            self._finish(item, sink)
            sink.file = None

    def _future_length(self, item: int) -> int:
        """Without what follows the end of a text that other prompts of its batch outlast."""
        future = self._future[item]
        if len(self._future) == 1:
            return len(future)
        ends = ends_of_text(self._model)
        return next((max(1, step) for step, token in enumerate(future) if token in ends), len(future))

    def _finish(self, item: int, sink: _Sink) -> None:
        count = self._future_length(item)
        padded = self._read - len(self._future[item])
        later = torch.arange(padded, padded + count)
        if not sink.info["future_length"]:
            sink.file.set_future(self._future[item][:count])
        for layer, state in enumerate(self._layers):
            device = state.keys.device
            columns = torch.cat([self._columns[item], later]).to(device)
            keys, values = state.states(item, columns)
            queries = torch.cat([part[item] for part in state.future_queries], dim=1)[:, :count]
            mass, _ = masses_and_window(queries, keys, state.scale, 0, **state.seen)
            if not bool(torch.isfinite(mass).all()):
                raise Error(f"prompt '{sink.info['id']}', layer {layer}: attention of the future that is not finite")
            sink.write(layer, "future_mass", mass)
            if not self._missing:
                sink.write(layer, "output_norms", output_norms(values, self._weights[layer].to(device)))
            if self._tier == "full":
                both = torch.cat([state.window_queries[item], queries], dim=1)
                sink.write(layer, "queries", both, self._half)
                sink.write(layer, "keys", keys, self._half)
                sink.write(layer, "values", values, self._half)
                sink.file.set_query_count(layer, sink.query_count)
        sink.file.finish()

    # ---- entering and leaving -----------------------------------------------------------------------------------

    def __enter__(self) -> Recorder:
        with contextlib.ExitStack() as stack:
            stack.callback(self._model.register_forward_pre_hook(self._before_model, with_kwargs=True).remove)
            for module in self._modules:
                stack.callback(module.register_forward_pre_hook(self._before_attention, with_kwargs=True).remove)
            stack.enter_context(self._interface())
            if self._tier == "full":
                stack.enter_context(self._rotations())
            self._undo = stack.pop_all()
        return self

    @contextlib.contextmanager
    def _interface(self) -> Iterator[None]:
        name = text_config(self._model)._attn_implementation or "eager"
        before = ALL_ATTENTION_FUNCTIONS.get(name)
        local = dict(ALL_ATTENTION_FUNCTIONS._local_mapping)  # comes before what is registered for all

        def attention(module, query, key, value, attention_mask=None, *arguments, **options):
            return self._attention(before, module, query, key, value, attention_mask, *arguments, **options)

        ALL_ATTENTION_FUNCTIONS[name] = attention
        try:
            yield
        finally:
            if name in local:
                ALL_ATTENTION_FUNCTIONS[name] = local[name]
            else:
                del ALL_ATTENTION_FUNCTIONS[name]

    @contextlib.contextmanager
    def _rotations(self) -> Iterator[None]:
        files = {type(module).__module__ for module in self._modules}
        with contextlib.ExitStack() as undo:
            for name in files:
                file = sys.modules[name]
                if hasattr(file, "apply_rotary_pos_emb"):
                    before = file.apply_rotary_pos_emb
                    file.apply_rotary_pos_emb = self._rotary(before)
                    undo.callback(setattr, file, "apply_rotary_pos_emb", before)
            yield

    def __exit__(self, kind, failure, trace) -> None:
        self._undo.close()
        try:
            if kind is None:
                with torch.no_grad():
                    self._finish_prompts()
        finally:
            self._discard()
            if self._writer is not None:
                # What was finished is kept, whatever happened; what happened is what is told.
                with contextlib.suppress(Error) if kind is not None else contextlib.nullcontext():
                    self._writer.finish()

    def _discard(self) -> None:
        for sink in self._sinks:
            if sink.file is not None:
                sink.file.discard()
        self._layers, self._sinks = [], []

    def read(self, prompt: TokenizedPrompt) -> None:
        """Lets the model read a prompt and its future, and writes it."""
        self._described = [prompt]
        device = self._model.device
        last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self._model.forward).parameters else {}

        def forward(tokens: list[int], cache):
            ids = torch.tensor([tokens], device=device)
            output = self._model(input_ids=ids, past_key_values=cache, use_cache=True, **last)
            return output.logits, output.past_key_values

        logits, cache = forward(prompt.tokens, None)
        if prompt.given:
            logits, cache = forward(prompt.given, cache)
        ends = ends_of_text(self._model)
        for step in range(prompt.generate):
            token = int(logits[0, -1].argmax())
            # The query at a token that ends the text predicts nothing, unless there would be no future at all.
            if token in ends and (step > 0 or prompt.given):
                break
            logits, cache = forward([token], cache)
            if token in ends:
                break
        self._finish_prompts()
