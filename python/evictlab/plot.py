"""The program's figures, shown by notebooks: `evictlab.plot.loss(result)`, `evictlab.plot.all(result)`."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

import pandas

from . import _core


class Figure:
    """One figure: SVG text, which notebooks show."""

    def __init__(self, name: str, svg: str):
        self.name = name
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | os.PathLike[str]) -> None:
        """As SVG."""
        pathlib.Path(path).write_text(self.svg)

    def __repr__(self) -> str:
        return f"<Figure {self.name}>"


def _columns(tables: Mapping[str, pandas.DataFrame]) -> dict[str, dict[str, list]]:
    return {name: {column: table[column].tolist() for column in table} for name, table in tables.items()}


def all(tables: Mapping[str, pandas.DataFrame]) -> list[Figure]:  # noqa: A001
    """Every figure that these tables give."""
    return [Figure(name, svg) for name, svg in _core.draw(_columns(tables))]


def figure(name: str, tables: Mapping[str, pandas.DataFrame]) -> Figure:
    """One of them; Error where the tables do not give it."""
    drawn = _core.draw(_columns(tables), name)
    if not drawn:
        raise _core.Error(f"these tables give no figure '{name}'; all() tells which they give")
    return Figure(*drawn[0])


def __getattr__(name: str):
    """`evictlab.plot.loss(tables)` is `figure("loss", tables)`, and so for every figure."""
    if name.startswith("_"):
        raise AttributeError(name)
    return lambda tables: figure(name, tables)
