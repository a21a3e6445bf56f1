"""Memory and long prompts: traces are made and replayed layer by layer, whatever the whole of them takes."""

import csv
import os
import pathlib
import subprocess

import pytest

from conftest import PROGRAM

MIB = 1 << 20


def peak_memory_of(*arguments):
    """Runs the program; returns the most memory that was resident at any time, in bytes."""
    # A sanitizer would keep what is freed for a while, to catch its use: 256 MiB of it.
    environment = {**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=1"}
    with subprocess.Popen([PROGRAM, *map(str, arguments)], stderr=subprocess.PIPE, text=True, env=environment) as process:
        message = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, message
    return usage.ru_maxrss * 1024


def make(path, layers, *options):
    return peak_memory_of("synth", "--out", path, "--prompts", 1, "--layers", layers, "--tier", "summary", "--window", 32,
                          "--threads", 2, *options)


def test_more_layers_take_no_more_memory_to_make(tmp_path):
    # A layer is 8 * 32 * 16384 halves and 3 * 8 * 16416 floats: 9.5 MiB; twenty of them 190 MiB.
    shape = ("--query-heads", 8, "--kv-heads", 2, "--hidden-size", 16, "--length", 16384)
    few = make(tmp_path / "few.h5", 2, *shape)
    many = make(tmp_path / "many.h5", 22, *shape)
    assert (tmp_path / "many.h5").stat().st_size > (tmp_path / "few.h5").stat().st_size + 180 * MIB
    assert many < few + 40 * MIB


@pytest.fixture(scope="module")
def long_trace(tmp_path_factory):
    """131072 positions in the shape of an 8B model, 9 GiB: EVICTLAB_LONG_TRACE names one that is there already."""
    if path := os.environ.get("EVICTLAB_LONG_TRACE"):
        return pathlib.Path(path)
    path = tmp_path_factory.mktemp("long") / "long.h5"
    peak = make(path, 32, "--query-heads", 32, "--kv-heads", 8, "--head-dim", 128, "--hidden-size", 32, "--length", 131072,
                "--future", 32)
    print(f"synth: {peak // MIB} MiB")
    assert peak < 2048 * MIB
    return path


@pytest.mark.full
def test_a_prompt_of_131072_positions_is_replayed_in_4_gib(long_trace, tmp_path, capsys):
    peak = peak_memory_of("replay", long_trace, "--policy", "snapkv,cake,ada-snapkv,oracle", "--budget", 1024,
                          "--threads", 2, "--out", tmp_path / "replay.csv")
    with capsys.disabled():
        print(f"\nreplay of 131072 positions: at most {peak // MIB} MiB")
    with open(tmp_path / "replay.csv", newline="") as file:
        retained = {row["policy"]: float(row["retained_mass"]) for row in csv.DictReader(file) if row["layer"] == "all"}
    assert set(retained) == {"snapkv", "cake", "ada-snapkv", "oracle"}
    assert 0 < retained["snapkv"] <= retained["oracle"] <= 1  # the others give heads or layers more than others
    assert peak < 4096 * MIB


@pytest.mark.full
def test_twelve_policies_at_sixteen_budgets_stay_in_4_gib_too(long_trace, tmp_path, capsys):
    peak = peak_memory_of("sweep", long_trace, "--policy", "random,streaming-llm,h2o,tova,snapkv,pyramidkv,ada-snapkv,"
                          "ada-pyramid,dynamickv,windowkv,cake,oracle(over=layers)", "--budget", "64:8192:log16",
                          "--threads", 2, "--out", tmp_path / "sweep")
    with capsys.disabled():
        print(f"\nsweep over 131072 positions: at most {peak // MIB} MiB")
    assert peak < 4096 * MIB
