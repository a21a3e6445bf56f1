"""SentencePiece models against the Python package, on models trained on the spot with seeds of their own."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.full
@pytest.mark.parametrize("seed", [2, 3])
def test_freshly_trained_models_give_the_same_ids(tmp_path, seed):
    pytest.importorskip("sentencepiece")
    script = ROOT / "scripts" / "make_fixture_sentencepiece.py"
    subprocess.run([sys.executable, script, tmp_path, "--seed", str(seed)], check=True, timeout=300)
    programs = pathlib.Path(os.environ.get("EVICTLAB_PROGRAM", ROOT / "build" / "release" / "evictlab")).parent
    done = subprocess.run(
        [programs / "evictlab_tokenizer_tests", "--gtest_filter=SentencePiece.GivesTheIdsAndTextsOfThePackage"],
        env={**os.environ, "EVICTLAB_SENTENCEPIECE_CASES": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert "[  PASSED  ] 1 test." in done.stdout
