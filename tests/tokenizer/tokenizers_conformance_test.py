"""Compares with the installed tokenizers package on fresh text and tokenizers put together at random."""

import os
import pathlib
import random
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("EVICTLAB_PROGRAM", ROOT / "build" / "release" / "evictlab"))


@pytest.mark.full
def test_random_tokenizers_agree_with_the_package_on_fresh_text(tmp_path):
    pytest.importorskip("tokenizers")
    seed = os.environ.get("EVICTLAB_SEED", str(random.SystemRandom().randrange(10**6)))
    print("EVICTLAB_SEED =", seed)
    script = ROOT / "scripts" / "make_fixture_tokenizers.py"
    subprocess.run([sys.executable, script, "--fresh", seed, tmp_path], check=True, timeout=300)
    done = subprocess.run([PROGRAM.parent / "evictlab_tokenizer_tests", "--gtest_filter=TokenizerEquality.Every*"],
                          env={**os.environ, "EVICTLAB_TOKENIZER_CASES": str(tmp_path)}, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, f"seed {seed}\n{done.stdout[-4000:]}{done.stderr[-2000:]}"
    assert "1 test" in done.stdout
