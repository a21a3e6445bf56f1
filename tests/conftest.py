"""What tests of the program from outside share."""

import dataclasses
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAM = os.environ.get("EVICTLAB_PROGRAM", str(ROOT / "build" / "release" / "evictlab"))
MODEL = ROOT / "models" / "demo"


@dataclasses.dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def evictlab():
    """Runs the program: evictlab("info", path) -> Outcome."""

    def run(*arguments, **options):
        done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=300, **options)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def model():
    return MODEL


@pytest.fixture(scope="session")
def small_trace(tmp_path_factory, evictlab):
    """A synthetic full-tier trace: 2 prompts, 2 layers, 4 query heads, 2 kv heads."""
    path = tmp_path_factory.mktemp("trace") / "small.h5"
    done = evictlab("synth", "--out", path, "--seed", 1, "--layers", 2, "--query-heads", 4, "--kv-heads", 2,
                    "--head-dim", 16, "--length", 200, "--future", 8, "--window", 32, "--prompts", 2, "--tier", "full")
    assert done.code == 0, done.err
    return path
