"""Folders include only what docs/architecture.md allows; HDF5 stays in its folder, gnuplot and MPI behind one file each."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]

ALLOWED = {
    "core": set(),
    "trace": {"core"},
    "trace/io/hdf5": {"core", "trace"},
    "trace/io": {"core", "trace", "trace/io/hdf5"},
    "trace/imports": {"core", "trace"},
    "results": {"core"},
    "analysis": {"core", "trace"},
    "sim/policy": {"core", "trace", "analysis", "results"},
    "sim/replay": {"core", "trace", "analysis", "results", "sim/policy"},
    "runtime/tokenizer": {"core"},
    "runtime/prompts": {"core", "trace", "runtime/tokenizer"},
    "runtime": {"core", "trace", "trace/io", "analysis", "runtime/tokenizer", "runtime/prompts"},
    "runtime/live": {"core", "trace", "analysis", "sim/policy", "sim/replay", "runtime", "runtime/prompts"},
    "plots": {"core", "results"},
    "plots/report": {"core", "results", "plots"},
    "lab": {"core", "trace", "trace/io", "trace/io/hdf5", "trace/imports", "results", "analysis", "sim/policy", "sim/replay", "runtime",
            "runtime/tokenizer", "runtime/prompts", "runtime/live", "plots", "plots/report"},
}
ALLOWED["cli"] = ALLOWED["lab"] | {"lab"}
ALLOWED["python"] = ALLOWED["lab"] | {"lab"}
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)


def folder_of(path: str) -> str | None:
    """The longest known folder a path lies in."""
    parts = pathlib.PurePosixPath(path).parts
    for depth in (3, 2, 1):
        folder = "/".join(parts[:depth])
        if len(parts) > depth and folder in ALLOWED:
            return folder
    return None


def sources():
    for folder in ("core", "trace", "results", "analysis", "sim", "runtime", "plots", "lab", "cli", "python"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".cpp", ".hpp", ".def"}:
                yield path.relative_to(ROOT).as_posix(), path.read_text()


def test_every_include_points_downwards():
    wrong = []
    for name, text in sources():
        own = folder_of(name)
        for included in INCLUDE.findall(text):
            target = folder_of(included)
            if target and target != own and target not in ALLOWED[own]:
                wrong.append(f"{name} includes {included}")
    assert not wrong, "\n".join(wrong)


def test_fenced_libraries_are_included_behind_their_fence():
    users = {}
    for name, text in sources():
        for included in INCLUDE.findall(text):
            if included in {"hdf5.h", "gnuplot-iostream.h", "csv.h", "oniguruma.h", "mpi.h"}:
                users.setdefault(included, []).append(name)
    assert {folder_of(name) for name in users.pop("hdf5.h")} == {"trace/io/hdf5"}
    assert all(len(files) == 1 for files in users.values()), users
