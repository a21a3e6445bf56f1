"""Replay, sweep, analyze, advise and report: the program's commands, with pandas tables of the same columns."""

from __future__ import annotations

import csv
import dataclasses
import os
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence

import pandas

from . import _core
from ._policies import PolicyLike, policies_of, policy_texts
from ._trace import Trace

__all__ = ["Advice", "Tables", "advise", "analyze", "fit", "kept", "replay", "report", "sweep"]

PathLike = str | os.PathLike[str] | Trace


class Tables(dict):
    """Result tables by name, as attributes too: `result.replay` is `result["replay"]`. docs/results.md lists their columns."""

    left_out: list[str]  # policies that could not be run, and why
    notes: list[str]  # what policies had to say
    policy: str  # of fit alone: the text of the policy that was fitted

    def __init__(self, columns: dict[str, dict[str, list]], left_out: Sequence[str] = (), notes: Sequence[str] = ()):
        super().__init__({name: pandas.DataFrame(table) for name, table in columns.items()})
        self.left_out = list(left_out)
        self.notes = list(notes)

    def __getattr__(self, name: str) -> pandas.DataFrame:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no table '{name}'; there are {', '.join(self)}") from None

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes NAME.csv of each, as the program does: for `evictlab plot` and `evictlab report`."""
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        for name, table in self.items():
            _write_csv(table, directory / f"{name}.csv")


# What a spreadsheet would run as a formula has an apostrophe in front, as in the program's tables.
_FORMULA = re.compile(r"'*[=+@\t\r\n-]")
_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _guarded(cell: object) -> object:
    formula = isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if formula else cell


def _unguarded(cell: object) -> object:
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and _FORMULA.match(cell) else cell


def _with_texts(table: pandas.DataFrame, change: Callable[[object], object]) -> pandas.DataFrame:
    texts = [name for name in table if not pandas.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{name: table[name].map(change) for name in texts})


def _write_csv(table: pandas.DataFrame, path: pathlib.Path) -> None:
    table = _with_texts(table, _guarded)
    texts = (cell for name in table for cell in table[name] if isinstance(cell, str))
    # Control characters are read in quoted cells alone.
    quoting = csv.QUOTE_NONNUMERIC if any(map(_CONTROL.search, texts)) else csv.QUOTE_MINIMAL
    table.to_csv(path, index=False, quoting=quoting)


def _read_csv(path: pathlib.Path) -> pandas.DataFrame:
    return _with_texts(pandas.read_csv(path), _unguarded)


def _paths(traces: PathLike | Iterable[PathLike]) -> list[str]:
    items = [traces] if isinstance(traces, (str, os.PathLike, Trace)) else list(traces)
    return [item.path if isinstance(item, Trace) else os.fspath(item) for item in items]


def _budgets(budgets: int | float | str | Iterable[int | float | str]) -> str:
    if isinstance(budgets, (int, float, str)):
        return str(budgets)
    return ",".join(map(str, budgets))


class _Bar:
    """A tqdm bar where tqdm is installed: on a terminal and in notebooks; silent elsewhere."""

    def __init__(self, label: str, wanted: bool):
        self._bar = None
        if wanted:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                return
            self._bar = tqdm(desc=label, unit="layer", disable=None, leave=False)

    def __call__(self, done: float, total: float) -> None:
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def replay(
    traces: PathLike | Iterable[PathLike],
    policies: PolicyLike | Iterable[PolicyLike],
    budgets: int | float | str | Iterable[int | float | str],
    *,
    protect: str = "",
    variant: str = "",
    calibration: str | os.PathLike[str] | None = None,
    measures: str = "all",
    progress: bool = True,
) -> Tables:
    """Every policy at every budget on recorded prompts: what is kept, what it costs, how far from the oracle.

    `policies`: texts as the program takes them ("snapkv(kernel=5),h2o"), and policies made with `scorer` and `allocator`.
    `budgets`: stored slots (128), ratios (0.05, "5%"), sizes ("64MiB"), ranges ("16:4096:log32"). `protect` ("sinks=4,window=32") and
    `variant` set defaults for policies given as text. Tables: replay, summary, budgets, positions, spans, trajectory, curves, kept_overlap.
    `calibration`: calibration.json of `evictlab validate` on this model, which foretells KL divergence (docs/prediction.md).
    `measures="summary"` leaves out those of the full tier, which take nearly all of the time where there are many runs.
    """
    return _replayed(
        traces, policies, budgets, protect, variant, headroom=False, measures=measures, calibration=calibration, progress=progress
    )


def sweep(
    traces: PathLike | Iterable[PathLike],
    policies: PolicyLike | Iterable[PolicyLike],
    budgets: int | float | str | Iterable[int | float | str] = "16:4096:log32",
    *,
    protect: str = "",
    variant: str = "",
    matrix: bool = False,
    tune: str = "",
    layers: bool = False,
    out: str | os.PathLike[str] | None = None,
    calibration: str | os.PathLike[str] | None = None,
    measures: str = "all",
    force: bool = False,
    progress: bool = True,
) -> Tables:
    """As replay, with the table `headroom`: what better scoring, better allocation, and both could gain.

    `tune` ("kernel=5|7|9") also grid-searches these parameters, selected on one half of the prompts and reported on the held-out
    half: the table `tune`. `matrix` adds every combination of a scorer, an allocator and a selector. `out` is a folder for the
    tables, where an interrupted sweep resumes (`force` starts over). With any of these the tables are replay, summary, headroom
    and tune, rows over all layers; `layers` adds rows per layer, budgets and trajectory.
    """
    if not (matrix or tune or layers or out):
        return _replayed(
            traces, policies, budgets, protect, variant, headroom=True, measures=measures, calibration=calibration, progress=progress
        )
    parts, impossible = policies_of(policies, protect, variant)
    with _Bar("sweeping", progress) as bar:
        result = _core.sweep(
            _paths(traces),
            parts,
            _budgets(budgets),
            protect=protect,
            matrix=matrix,
            tune=tune,
            layers=layers,
            full_measures=_full_measures(measures),
            out=None if out is None else os.fspath(out),
            calibration=None if calibration is None else os.fspath(calibration),
            force=force,
            progress=bar,
        )
    tables = Tables(result["tables"], impossible + result["left_out"], result["notes"])
    if out is not None and layers:
        for name in ("budgets", "trajectory"):
            tables[name] = _read_csv(pathlib.Path(out) / f"{name}.csv")
    return tables


def _full_measures(measures: str) -> bool:
    if measures not in ("all", "summary"):
        raise _core.Error(f"measures must be 'all' or 'summary', not '{measures}'")
    return measures == "all"


def _replayed(traces, policies, budgets, protect, variant, *, headroom, measures, calibration, progress) -> Tables:
    parts, impossible = policies_of(policies, protect, variant)
    with _Bar("replaying", progress) as bar:
        file = None if calibration is None else os.fspath(calibration)
        result = _core.replay(_paths(traces), parts, _budgets(budgets), headroom, _full_measures(measures), file, bar)
    return Tables(result["tables"], impossible + result["left_out"], result["notes"])


def kept(traces: PathLike | Iterable[PathLike], policy: PolicyLike, budget: int | float | str, *, protect: str = "", variant: str = ""):
    """Which positions a policy keeps: {prompt: [layers][kept sets] of positions, in the order they are stored}."""
    policies, impossible = policies_of(policy, protect, variant)
    if len(policies) != 1:
        raise _core.Error(impossible[0] if impossible else f"one policy, not {len(policies)}")
    (one,) = policies
    return _core.kept(_paths(traces), one, _budgets(budget))


def analyze(trace: PathLike, *, sensitivity: str = "", progress: bool = True) -> Tables:
    """How layers and heads attend: attention, layers, concentration, overlap, future, maps, scorers, tasks.

    With `sensitivity`, such as "snapkv@64", also what it costs to evict in one layer, or one kv head, only: sensitivity,
    sensitivity_summary, sensitivity_agreement."""
    (path,) = _paths(trace)
    with _Bar("analysing", progress) as bar:
        return Tables(_core.analyze(path, sensitivity, bar))


def fit(
    traces: PathLike | Iterable[PathLike],
    out: str | os.PathLike[str],
    *,
    policies: PolicyLike | Iterable[PolicyLike] = (),
    budgets: int | float | str | Iterable[int | float | str] = "64,128,256",
    unit: str = "output",
    only: Iterable[str] = (),
    force: bool = False,
    progress: bool = True,
) -> Tables:
    """A policy compiled from recordings of one model: `fitted(file=OUT/policy.json)` wherever a policy is asked for.

    `policies` are those whose scorers may rank a head's positions, `budgets` the slots at which choices are made, `unit` what a
    loss is measured in (output, stream, squared, mass), `only` the ids of the prompts to fit to. Tables: fit (what was compared on
    what was held out), fit_budgets (what every head gets); `policy` is the text of the policy."""
    parts, impossible = policies_of(policies, "", "") if policies else ([], [])
    with _Bar("fitting", progress) as bar:
        result = _core.fit(_paths(traces), os.fspath(out), parts, _budgets(budgets), unit, [only] if isinstance(only, str) else list(only), force, bar)
    tables = Tables(result["tables"], impossible + result["left_out"])
    tables.policy = f"fitted(file={result['policy']})"
    return tables


@dataclasses.dataclass(frozen=True)
class Advice:
    """The cheapest policy and budget that meets a target, and its budgets."""

    policy: str
    budget: str
    granularity: str  # "query", "kv" or "layer": whose kept sets the budgets are for
    slots: float  # per layer and kv head, held on average
    bytes: float
    loss: dict[str, float | None]  # mean, low, high; ends None with one prompt
    budgets: pandas.DataFrame  # layer, head, positions
    text: str  # what the program says: all candidates
    model: str
    model_fingerprint: str


def advise(
    traces: PathLike | Iterable[PathLike],
    *,
    loss: float | None = None,
    kl: float | None = None,
    bytes: str | None = None,
    measure: str | None = None,
    policies: str | Iterable[str] | None = None,
    calibration: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Advice:
    """The cheapest that loses at most `loss`, or costs at most `kl` nats as `calibration` foretells, or the least lossy of at
    most `bytes` ("64MiB") a sequence. `measure`: "attention", "output" or "kl"; by default "kl" where a calibration and no loss
    is given, else "attention"."""
    if loss is not None and kl is not None:
        raise _core.Error("give loss or kl")
    foretold = kl is not None or (calibration is not None and loss is None and measure is None)
    with _Bar("advising", progress) as bar:
        found = _core.advise(
            _paths(traces),
            loss=loss if kl is None else kl,
            bytes=bytes or "",
            measure="kl" if foretold else measure or "attention",
            policies=policy_texts(policies),
            calibration=None if calibration is None else os.fspath(calibration),
            progress=bar,
        )
    budgets = [
        {"layer": layer, "head": head, "positions": positions}
        for layer, heads in enumerate(found.pop("budgets"))
        for head, positions in enumerate(heads)
    ]
    return Advice(**found, budgets=pandas.DataFrame(budgets))


def report(
    results: PathLike | Tables,
    out: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    policies: str | Iterable[str] | None = None,
    budgets: int | float | str | Iterable[int | float | str] | None = None,
    calibration: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: bool = True,
) -> pathlib.Path:
    """One HTML page of a trace, a directory of result tables, or tables. `model`: whose tokenizer turns tokens into text.
    `calibration`, of a trace: what foretells KL divergence."""
    with tempfile.TemporaryDirectory() as directory:
        if isinstance(results, Tables):
            results.save(directory)
            source = directory
        else:
            (source,) = _paths(results)
        with _Bar("reporting", progress) as bar:
            return _core.report(
                source,
                os.fspath(out),
                model=None if model is None else os.fspath(model),
                policies=policy_texts(policies),
                budgets=None if budgets is None else _budgets(budgets),
                calibration=None if calibration is None else os.fspath(calibration),
                force=force,
                progress=bar,
            )
