"""What reaches a model's attention functions: hooks at transformers' attention interface and at its attention modules."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ._model import text_config


@dataclasses.dataclass
class AttentionCall:
    """What one call of an attention function was given."""

    query: torch.Tensor  # [B, H, m, d], after position encoding
    key: torch.Tensor  # [B, G, p, d]: what the cache gave, new positions included
    value: torch.Tensor  # [B, G, p, d]
    options: dict[str, Any]

    @property
    def scale(self) -> float:
        scale = self.options.get("scaling")
        return float(scale) if scale is not None else self.query.shape[-1] ** -0.5

    @property
    def sliding(self) -> int:
        return int(self.options.get("sliding_window") or 0)

    @property
    def softcap(self) -> float:
        return float(self.options.get("softcap") or 0.0)

    @property
    def has_sinks(self) -> bool:
        return self.options.get("s_aux") is not None


@dataclasses.dataclass
class LayerPass:
    """One layer in one forward pass: the calls of its attention module, and what the module was given."""

    module: torch.nn.Module
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    calls: list[AttentionCall] = dataclasses.field(default_factory=list)
    stream: torch.Tensor | None = None  # [B, m, hidden]: what the decoder layer around the module was given
    output: torch.Tensor | None = None  # [B, m, hidden]: what the module gave, once it is left

    @property
    def cache(self) -> Cache | None:
        """Whatever the argument is called: past_key_values, cache, ..."""
        given = [*self.arguments, *self.options.values()]
        return next((value for value in given if isinstance(value, Cache)), None)

    @property
    def rotation(self) -> tuple[torch.Tensor, torch.Tensor] | torch.Tensor | None:
        """Cosine and sine of the position encoding, or both as complex numbers."""
        return next((value for value in [*self.arguments, *self.options.values()] if _is_rotation(value)), None)


def _is_rotation(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.is_complex()
    pair = isinstance(value, tuple) and len(value) == 2 and all(isinstance(one, torch.Tensor) for one in value)
    return pair and value[0].shape == value[1].shape


def given_states(arguments: tuple[Any, ...], options: dict[str, Any]) -> torch.Tensor | None:
    """The hidden states [B, m, hidden] among what a module was given."""
    given = [*arguments, *options.values()]
    return next((one.detach() for one in given if isinstance(one, torch.Tensor) and one.is_floating_point() and one.ndim == 3), None)


def decoder_layers(model: torch.nn.Module, modules: Sequence[torch.nn.Module]) -> list[torch.nn.Module]:
    """The module around each attention module."""
    around = {id(child): parent for parent in model.modules() for child in parent.children()}
    return [around[id(module)] for module in modules]


class _Taken(Exception):
    """Ends a module's forward once its queries are known."""

    def __init__(self, query: torch.Tensor):
        self.query = query


class AttentionTap:
    """While entered, calls `before(layer, pass)` and `after(layer, pass)` around every attention module of a model.

    What the model computes is unchanged.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        modules: Sequence[torch.nn.Module],
        before: Callable[[int, LayerPass], None],
        after: Callable[[int, LayerPass], None],
    ):
        self._model, self._modules, self._before, self._after = model, modules, before, after
        self._layer_of = {id(module): layer for layer, module in enumerate(modules)}
        self._pass: LayerPass | None = None  # of the attention module that is running
        self._stream: torch.Tensor | None = None  # what its decoder layer was given
        self._taking = False  # whether only queries are wanted

    def unrotated_queries(self, reading: LayerPass) -> torch.Tensor | None:
        """The pass's queries [B, H, m, d] before position encoding: those that the module makes of the same states with a rotation
        by 0. None where the rotation is not among the module's arguments, or the module cannot do without its cache."""

        def without(value: Any) -> Any:
            if isinstance(value, Cache):
                return None
            if not _is_rotation(value):
                return value
            if isinstance(value, torch.Tensor):
                return torch.ones_like(value)
            return torch.ones_like(value[0]), torch.zeros_like(value[1])

        if reading.rotation is None:
            return None
        options = {name: without(value) for name, value in reading.options.items()}
        self._taking = True
        try:
            reading.module.forward(*map(without, reading.arguments), **options)
        except _Taken as taken:
            return taken.query
        except (AttributeError, TypeError, IndexError, RuntimeError):
            return None
        finally:
            self._taking = False
        return None

    def _enter_layer(self, module, arguments, options) -> None:
        self._stream = given_states(arguments, options)

    def _enter_module(self, module, arguments, options) -> None:
        self._pass = LayerPass(module, arguments, options, stream=self._stream)
        self._before(self._layer_of[id(module)], self._pass)

    def _leave_module(self, module, arguments, options, output) -> None:
        reading, self._pass = self._pass, None
        reading.output = (output[0] if isinstance(output, tuple) else output).detach()
        with torch.no_grad():
            self._after(self._layer_of[id(module)], reading)

    def _attend(self, original, module, query, key, value, mask, *arguments, **options):
        """Stands for the attention function: looks, then does what it would have done."""
        if id(module) in self._layer_of:
            if self._taking:
                raise _Taken(query.detach())
            if self._pass is not None:
                self._pass.calls.append(AttentionCall(query.detach(), key.detach(), value.detach(), options))
        function = original or sys.modules[type(module).__module__].eager_attention_forward
        return function(module, query, key, value, mask, *arguments, **options)

    @contextlib.contextmanager
    def _interface(self) -> Iterator[None]:
        name = text_config(self._model)._attn_implementation or "eager"
        before = ALL_ATTENTION_FUNCTIONS.get(name)
        local = dict(ALL_ATTENTION_FUNCTIONS._local_mapping)  # comes before what is registered for all

        def attention(module, query, key, value, attention_mask=None, *arguments, **options):
            return self._attend(before, module, query, key, value, attention_mask, *arguments, **options)

        ALL_ATTENTION_FUNCTIONS[name] = attention
        try:
            yield
        finally:
            if name in local:
                ALL_ATTENTION_FUNCTIONS[name] = local[name]
            else:
                del ALL_ATTENTION_FUNCTIONS[name]

    def __enter__(self) -> AttentionTap:
        with contextlib.ExitStack() as stack:
            for layer in decoder_layers(self._model, self._modules):
                stack.callback(layer.register_forward_pre_hook(self._enter_layer, with_kwargs=True).remove)
            for module in self._modules:
                stack.callback(module.register_forward_pre_hook(self._enter_module, with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(self._leave_module, with_kwargs=True).remove)
            stack.enter_context(self._interface())
            self._undo = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()
        self._pass = self._stream = None
