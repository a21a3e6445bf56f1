"""What a model reads while it is recorded: prompts and their futures, from the forward passes over its cache."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy
import torch
from transformers.cache_utils import Cache

from . import _core
from ._attention import output_norms
from ._attention_tap import AttentionTap, LayerPass
from ._core import Error
from ._generation import watched_generation
from ._layer_recording import Chunk, LayerRecording, valid_positions
from ._model import attention_modules, ends_of_text, forget_lengths, output_weight, rope_type, text_config
from ._model_facts import check_full_tier, find_facts, model_info
from ._prompts import TokenizedPrompt

FIRST_STATISTICS_POSITION = 4  # the first tokens' queries are unlike all others


class _Sink:
    """Where a prompt's arrays go: to its file, or, while another prompt's is open, to memory until then."""

    def __init__(self, info: dict[str, Any], tokens: Sequence[int]):
        self.info, self.tokens = info, list(tokens)
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
    their future, until the next such pass or the end. `generate` may read its prompts in several passes (prefill_chunk_size) and
    over any cache, static ones included. A prompt without a future is not kept. `ids`: of the prompts, in the order they come;
    prompt-0, prompt-1, ... without. `window`: the last prompt queries that are recorded; of a shorter prompt, all. Of a batch, all
    prompts but one wait in memory until the first is done.

    Raises Error in one sentence for what cannot be recorded: beam search, assisted decoding, no cache, a cache that holds positions
    that were not seen. After an error, and after Ctrl-C, the finished prompts are in PATH.parts, and recording to the same path resumes.
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
        self._tap = AttentionTap(model, self._modules, self._before_layer, self._after_layer)
        self._ids = iter(ids) if ids is not None else None
        self._count = 0
        self._described: list[TokenizedPrompt] = []  # of prompts to come, where record() knows more than ids
        self._writer: _core.TraceWriter | None = None
        # Of the batch that is being read.
        self._layers: list[LayerRecording] = []
        self._sinks: list[_Sink] = []  # once its prompts are read
        self._tokens: list[list[int]] = []  # of its prompts, padding included
        self._future: list[list[int]] = []
        self._valid: torch.Tensor | None = None  # [B, prompt positions read] bool: False is padding
        self._first: torch.Tensor | None = None  # [B]: where the model places the first token that is no padding
        self._cache: Cache | None = None
        self._read = 0  # positions in the cache, padding included
        self._prompt = 0  # of them, the prompts'
        # Of the pass that is running.
        self._pending: tuple[torch.Tensor, Any, Any] | None = None  # its tokens, mask and positions until its first layer is read
        self._new = 0
        self._in_prompt = False
        # Of the call of generate that is running.
        self._generating = False
        self._announced: int | None = None  # positions of its prompts
        self._begun = False  # whether it read any

    # ---- the model's description --------------------------------------------------------------------------------

    def _open(self) -> None:
        model, facts = self._model, find_facts(self._model, self._modules)
        heads, dimension = facts[0].query_heads, facts[0].value_dimension
        self._weights = [output_weight(module, heads, dimension) for module in self._modules]
        if self._tier == "full":
            check_full_tier(model, facts, self._weights)
        several = any(one.attends > 1 for one in facts)  # values that no one weight moves to the output
        self._missing = ["output_norms"] if several or any(weight is None for weight in self._weights) else []
        if self._tier == "full" and not all(one.is_added for one in facts):
            self._missing.append("residual_norms")
        self._facts = facts
        self._writer = _core.TraceWriter(
            os.fspath(self._path),
            model_info(model, facts),
            append=self._append,
            force=self._force,
            command="evictlab.transformers",
            settings=self._settings,
        )
        if self._tier == "full":
            for layer, weight in enumerate(self._weights):
                self._writer.write_output_weight(layer, weight.float().flatten(0, 1).cpu().numpy())

    def _prompt_info(self, name: str, length: int, described: TokenizedPrompt | None) -> dict[str, Any]:
        given = described.given if described and not described.generate else []
        return {
            "id": name,
            "task": described.task if described else "",
            "source": described.source if described else "python",
            "document": described.document if described else "",
            "prompt_length": length,
            "future_length": len(given),  # 0: not known yet
            "future_kind": "teacher-forced" if given else "generated",
            "tier": self._tier,
            "window": min(self._window, length),
            "layers": list(range(len(self._modules))),
            "spans": [span for span in described.spans if span[2] <= length + len(given)] if described else [],
            "missing": self._missing,
        }

    def _records(self, field: str) -> bool:
        """One of those that not every model has."""
        return field not in self._missing and (self._tier == "full" or field != "residual_norms")

    # ---- what happens while the model runs ----------------------------------------------------------------------

    def _begin_generation(self, positions: int | None) -> None:
        self._generating, self._announced, self._begun = True, positions, False

    def _end_generation(self) -> None:
        self._generating, self._announced = False, None

    def _before_model(self, module, arguments, options) -> None:
        tokens = options.get("input_ids", arguments[0] if arguments else None)
        if tokens is None:
            raise Error("the model was given no input_ids; embeddings cannot be recorded")
        self._pending = tokens, options.get("attention_mask"), options.get("position_ids")

    def _before_layer(self, layer: int, reading: LayerPass) -> None:
        if self._pending is None:
            return
        (tokens, mask, positions), self._pending = self._pending, None
        cache = reading.cache
        if cache is None:
            raise Error("the model reads without a cache, so that nothing follows a prompt; give use_cache=True")
        past = int(cache.get_seq_length())
        if past == 0:
            if self._generating and self._begun:
                raise Error("generate reads over a second cache, which is not recorded")
            self._finish_prompts()
            self._begin_prompts(tokens, cache)
        elif cache is not self._cache or past != self._read:
            raise Error(
                f"the cache holds {past} positions, of which {self._read if cache is self._cache else 0} were seen: a prefix, or tokens "
                f"taken back, cannot be recorded; begin with an empty cache"
            )
        self._new, self._in_prompt = tokens.shape[1], past < self._prompt
        self._read = past + self._new
        if self._in_prompt:
            self._read_prompts(tokens, mask, past)
        else:
            for item, future in enumerate(self._future):
                future += tokens[item].tolist()
        self._check_positions(positions, past)

    def _begin_prompts(self, tokens: torch.Tensor, cache: Cache) -> None:
        self._begun, self._cache = True, cache
        self._prompt = self._announced if self._generating and self._announced else tokens.shape[1]
        self._layers = [LayerRecording(tokens.shape[0]) for _ in self._modules]
        self._tokens = [[] for _ in range(tokens.shape[0])]
        self._future = [[] for _ in range(tokens.shape[0])]
        self._valid = torch.zeros(tokens.shape[0], 0, dtype=torch.bool)
        self._first = torch.full((tokens.shape[0],), -1)

    def _read_prompts(self, tokens: torch.Tensor, mask: Any, past: int) -> None:
        if self._read > self._prompt:
            raise Error(f"a pass reads {self._read} positions of prompts that have {self._prompt}")
        valid = valid_positions(mask, len(tokens), past, self._new)
        if valid is None:
            raise Error("the attention_mask does not say what is padding; give one of [prompts, positions]")
        self._valid = torch.cat([self._valid, valid], dim=1)
        if past > 0 and bool((self._valid[:, :-1] & ~self._valid[:, 1:]).any()):
            raise Error("prompts that are read in several passes must be padded on the left")
        for item, read in enumerate(self._tokens):
            read += tokens[item].tolist()
        if self._read == self._prompt:
            self._sinks = [self._new_sink(item) for item in range(len(tokens))]

    def _check_positions(self, positions: Any, past: int) -> None:
        """Positions must count a prompt's tokens, from whatever number on: attention sees only how far apart two are."""
        if positions is None:
            positions = torch.arange(past, self._read)[None]
        if not isinstance(positions, torch.Tensor) or positions.ndim != 2:
            return
        valid = torch.nn.functional.pad(self._valid, (0, self._read - self._valid.shape[1]), value=True)
        first = positions.cpu() - (valid.cumsum(1)[:, past:] - 1)
        for item, (own, seen) in enumerate(zip(first.expand(len(valid), -1), valid[:, past:], strict=True)):
            if not bool(seen.any()):
                continue
            self._first[item] = own[seen][0] if self._first[item] < 0 else self._first[item]
            if bool((own[seen] != self._first[item]).any()):
                raise Error(
                    "the model is given positions that do not count its tokens, which is not recorded (some versions of "
                    "transformers do so when generate reads a prompt in chunks)"
                )

    def _new_sink(self, item: int) -> _Sink:
        prompt = [token for token, valid in zip(self._tokens[item], self._valid[item].tolist(), strict=True) if valid]
        described = self._described.pop(0) if self._described else None
        name = described.id if described else (next(self._ids, None) if self._ids is not None else f"prompt-{self._count}")
        self._count += 1
        if name is None:
            raise Error(f"prompt {self._count}: there are fewer ids than prompts")
        if not prompt:
            raise Error(f"prompt '{name}': is empty")
        if self._tier == "full" and len(prompt) <= FIRST_STATISTICS_POSITION:
            raise Error(f"prompt '{name}': has {len(prompt)} positions; the full tier needs more than {FIRST_STATISTICS_POSITION}")
        given = described.given if described and not described.generate else []
        return _Sink(self._prompt_info(name, len(prompt), described), prompt + given)

    def _after_layer(self, layer: int, reading: LayerPass) -> None:
        if not self._layers:
            return
        if len(reading.calls) != self._facts[layer].attends or reading.calls[0].sliding != self._facts[layer].sliding:
            raise Error(f"layer {layer}: attends otherwise than in the model's first pass")
        state, call = self._layers[layer], reading.calls[0]
        if layer == 0 and not state.continues(call, self._new, self._read):
            raise Error("the cache was changed between two passes (reordered as beam search does, or compressed), which is not recorded")
        state.add(call, self._new, self._read, bool(getattr(self._cache, "is_compileable", False)))
        if not self._in_prompt:
            state.future_queries.append(call.query)
            if self._records("residual_norms"):
                state.read_residual(reading)
            return
        chunk = Chunk(self._valid, self._new, self._prompt - self._read, self._window)
        state.read_prompt(call.query, chunk)
        if self._tier == "full":
            raw = self._tap.unrotated_queries(reading)
            state.read_queries(call.query, raw, chunk, FIRST_STATISTICS_POSITION)
        if self._sinks:
            self._write_prompts(layer, state)

    def _write_prompts(self, layer: int, state: LayerRecording) -> None:
        if self._sinks[0].file is None:
            self._sinks[0].open(self._writer)
        for arrays, sink in zip(state.prompts, self._sinks, strict=True):
            if not bool(torch.isfinite(arrays.mass).all()):
                raise Error(f"prompt '{sink.info['id']}', layer {layer}: attention that is not finite")
            sink.write(layer, "window_attention", arrays.window_attention())
            sink.write(layer, "attention_mass", arrays.mass)
            if self._tier == "full":
                sink.write(layer, "query_mean", arrays.statistics.mean)
                sink.write(layer, "query_covariance", arrays.statistics.covariance)
            arrays.mass, arrays.rows = None, []

    # ---- the end of prompts -------------------------------------------------------------------------------------

    def _finish_prompts(self) -> None:
        sinks, self._sinks = self._sinks, []
        try:
            if not sinks:
                return
            if not self._future[0]:
                sinks[0].file.discard()
                return
            for item, sink in enumerate(sinks):
                if sink.file is None:
                    sink.open(self._writer)
                self._finish(item, sink)
                sink.file = None
        except BaseException:
            for sink in sinks:
                if sink.file is not None:
                    sink.file.discard()
            raise
        finally:
            self._layers, self._cache, self._read = [], None, 0

    def _future_length(self, item: int) -> int:
        """Without what follows the end of a text that other prompts of its batch outlast."""
        future = self._future[item]
        if len(self._future) == 1:
            return len(future)
        ends = ends_of_text(self._model)
        return next((max(1, step) for step, token in enumerate(future) if token in ends), len(future))

    def _finish(self, item: int, sink: _Sink) -> None:
        count = self._future_length(item)
        later = torch.arange(self._prompt, self._prompt + count)
        columns = torch.cat([self._valid[item].nonzero().flatten(), later])
        if not sink.info["future_length"]:
            sink.file.set_future(self._future[item][:count])
        for layer, state in enumerate(self._layers):
            mass = state.future_mass(item, columns, count)
            if not bool(torch.isfinite(mass).all()):
                raise Error(f"prompt '{sink.info['id']}', layer {layer}: attention of the future that is not finite")
            sink.write(layer, "future_mass", mass)
            values = state.values(item, columns)
            if self._records("output_norms"):
                sink.write(layer, "output_norms", output_norms(values, self._weights[layer].to(values.device)))
            if self._tier == "full":
                arrays = state.prompts[item]
                sink.write(layer, "queries", torch.cat([*arrays.queries, state.future(item, count)], dim=1), self._half)
                sink.write(layer, "keys", state.keys(item, columns), self._half)
                sink.write(layer, "values", values, self._half)
                if self._records("residual_norms"):
                    sink.write(layer, "residual_norms", state.residual_norms(item, count))
                sink.file.set_query_count(layer, arrays.statistics.count)
        sink.file.finish()

    # ---- entering and leaving -----------------------------------------------------------------------------------

    def __enter__(self) -> Recorder:
        # What is being read must not be written over.
        _core.refuse_output(os.fspath(self._path), [str(getattr(self._model.config, "_name_or_path", "") or "")])
        self._open()
        with contextlib.ExitStack() as stack:
            stack.callback(self._model.register_forward_pre_hook(self._before_model, with_kwargs=True).remove)
            stack.enter_context(self._tap)
            stack.enter_context(watched_generation(self._model, self._begin_generation, self._end_generation))
            self._undo = stack.pop_all()
        return self

    def __exit__(self, kind, failure, trace) -> None:
        self._undo.close()
        try:
            if kind is None:
                with torch.no_grad():
                    self._finish_prompts()
                if self._writer.prompts() == 0:
                    raise Error(f"{os.fspath(self._path)}: no prompt with a future was read, so that there is nothing to record")
                self._writer.finish()
        finally:
            for sink in self._sinks:
                if sink.file is not None:
                    sink.file.discard()
            # Without finish() the recording is unfinished: its prompts stay in the parts, for the next one to resume.
            self._layers, self._sinks, self._cache, self._writer = [], [], None, None

    def has(self, prompt: TokenizedPrompt) -> bool:
        """Whether an earlier recording has it. Raises Error where it was recorded otherwise."""
        info = self._prompt_info(prompt.id, len(prompt.tokens), prompt)
        given = prompt.given if not prompt.generate else []
        return self._writer.contains_alike(info, prompt.tokens + given)

    def read(self, prompt: TokenizedPrompt) -> None:
        """Lets the model read a prompt and its future, and writes it."""
        self._described = [prompt]
        device = self._model.device
        last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self._model.forward).parameters else {}
        held: dict[str, Cache] = {}  # by the name that the model gives it

        def forward(tokens: list[int]) -> torch.Tensor:
            nonlocal held
            ids = torch.tensor([tokens], device=device)
            output = self._model(input_ids=ids, use_cache=True, return_dict=True, **held, **last)
            held = {name: value for name, value in output.items() if isinstance(value, Cache)}
            return output.logits

        forget_lengths(self._model)
        logits = forward(prompt.tokens)
        # Dynamic scaling turns a position by the length read so far: an answer is read as it would be generated.
        step = 1 if rope_type(text_config(self._model)) == "dynamic" else max(1, len(prompt.given))
        for first in range(0, len(prompt.given), step):
            logits = forward(prompt.given[first : first + step])
        ends = ends_of_text(self._model)
        for place in range(prompt.generate):
            token = int(logits[0, -1].argmax())
            # The query at a token that ends the text predicts nothing, unless there would be no future at all.
            if token in ends and (place > 0 or prompt.given):
                break
            logits = forward([token])
            if token in ends:
                break
        self._finish_prompts()
