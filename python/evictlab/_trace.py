"""Traces: what was recorded, as NumPy arrays."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import numpy

from . import _core


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One recorded prompt: `prompt_length` (n) positions, then `future_length` (T)."""

    id: str
    task: str
    source: str
    prompt_length: int
    future_length: int
    future_kind: str  # "generated" or "teacher-forced"
    tier: str  # "summary" or "full"
    window: int  # recorded prompt queries (w)
    layers: tuple[int, ...]  # those recorded
    spans: tuple[tuple[str, int, int], ...]  # (name, begin, end) in positions, end exclusive
    arrays: tuple[str, ...]  # the names that array() knows
    document: str = ""  # the text that it was made from; empty where the prompts file does not say


def _axis_names(axes: str) -> tuple[str, ...]:
    """Names for xarray, which wants them distinct: "query_head, head_dimension" as ("query_head", "dimension")."""
    names: list[str] = []
    for axis in axes.split(", "):
        name = axis.removeprefix("head_")
        names.append(name if name not in names else f"{name}_2")
    return tuple(names)


class Trace:
    """A recording on disk: a trace file, or the directory of parts of one that is running or was stopped.

    Letters: L layers, H query heads, G kv heads, d head dimension, n prompt positions, T future positions, w window queries.
    Raises Error when the file is missing, no trace, or damaged; every array's hash is checked when it is read.
    """

    AXES = {name: _axis_names(axes) for name, axes in _core.FIELD_AXES.items()}

    def __init__(self, path: str | os.PathLike[str]):
        self.path = os.fspath(path)
        self._reader = _core.TraceReader(self.path)
        self.model: dict = self._reader.model()
        self.prompts: list[Prompt] = [
            Prompt(**{name: tuple(value) if isinstance(value, list) else value for name, value in prompt.items()})
            for prompt in self._reader.prompts()
        ]
        self._places = {prompt.id: place for place, prompt in enumerate(self.prompts)}

    def __len__(self) -> int:
        return len(self.prompts)

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self.prompts)

    def __repr__(self) -> str:
        return f"<Trace {self.path}: {self.model['name']}, {self.model['layers']} layers, {len(self)} prompts>"

    def _place(self, prompt: str | int) -> int:
        if isinstance(prompt, str):
            if prompt not in self._places:
                raise _core.Error(f"{self.path}: no prompt is called '{prompt}'")
            return self._places[prompt]
        if not -len(self) <= prompt < len(self):
            raise _core.Error(f"{self.path}: prompt {prompt} of {len(self)}")
        return prompt % len(self)

    def tokens(self, prompt: str | int = 0) -> numpy.ndarray:
        """[n+T] int32."""
        return self._reader.tokens(self._place(prompt))

    def array(self, prompt: str | int, layer: int, name: str, *, stored: bool = False) -> numpy.ndarray:
        """One array of one layer, with the axes `AXES[name]`; not writable where it is the mapped file itself.

        Attention and gradients are converted from scaled halves to float32; `stored` gives them as they lie in the file, times
        the scale.
        """
        place = self._place(prompt)
        if layer not in self.prompts[place].layers:
            raise _core.Error(f"{self.path}: layer {layer} of prompt '{self.prompts[place].id}' was not recorded")
        return self._reader.array(place, layer, name, stored)

    def output_weight(self, layer: int) -> numpy.ndarray:
        """W_O, [H*d, hidden] float32. Full tier only."""
        return self._reader.output_weight(layer)

    def to_xarray(self, prompt: str | int, name: str):
        """All layers of an array as an xarray.DataArray with named axes; needs xarray."""
        import xarray

        layers = list(self.prompts[self._place(prompt)].layers)
        stacked = numpy.stack([self.array(prompt, layer, name) for layer in layers])
        return xarray.DataArray(stacked, dims=("layer", *self.AXES[name]), coords={"layer": layers}, name=name)


def verify(path: str | os.PathLike[str]) -> list[str]:
    """What is wrong with a trace, a line each; nothing for a sound one."""
    return _core.verify_trace(os.fspath(path))
