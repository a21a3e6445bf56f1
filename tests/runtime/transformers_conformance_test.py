"""The runtime against Hugging Face transformers on checkpoints made on the spot, with seeds of their own."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.full
@pytest.mark.parametrize("seed", [2, 3])
def test_random_checkpoints_conform(tmp_path, program_directory, seed):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    script = ROOT / "scripts" / "make_fixture_checkpoints.py"
    subprocess.run([sys.executable, script, tmp_path, "--seed", str(seed)], check=True, timeout=300)
    done = subprocess.run(
        [program_directory / "evictlab_runtime_tests", "--gtest_filter=*Conformance*"],
        env={**os.environ, "EVICTLAB_CHECKPOINTS": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert "[  PASSED  ]" in done.stdout


@pytest.mark.full
def test_every_architecture_conforms_with_every_rope_type():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    matrix = [sys.executable, ROOT / "scripts" / "conformance_matrix"]
    done = subprocess.run(matrix, capture_output=True, text=True, timeout=600)
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["internlm2", "llama", "mistral", "qwen2", "qwen3"]


@pytest.fixture
def program_directory():
    """Where the build put its programs."""
    return pathlib.Path(os.environ.get("EVICTLAB_PROGRAM", ROOT / "build" / "release" / "evictlab")).parent
