"""The runtime and transformers agree on every prompt of the shipped model."""

import os
import pathlib
import subprocess
import sys

import pytest

MODELS = ["demo"]  # those that the C++ test looks for
ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.full
def test_logits_and_greedy_answers_agree_on_all_prompts(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    for model in MODELS:
        script = ROOT / "scripts" / "make_model_expectations.py"
        command = [sys.executable, script, "--all", ROOT / "models" / model, tmp_path / f"{model}.jsonl"]
        subprocess.run(command, check=True, timeout=3600)
    program = pathlib.Path(os.environ.get("EVICTLAB_PROGRAM", ROOT / "build" / "release" / "evictlab"))
    done = subprocess.run(
        [program.with_name("evictlab_runtime_tests"), "--gtest_filter=*ShippedModel*"],
        env={**os.environ, "EVICTLAB_MODEL_EXPECTATIONS": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"[  PASSED  ] {len(MODELS)} test" in done.stdout
