"""SmolLM2-135M-Instruct, a GGUF file of 4-bit weights with its own chat template, where it is installed (scripts/test --full
does): recorded in the full tier, replayed, validated."""

import csv
import os
import subprocess

import h5py
import pytest

from conftest import PROGRAM, ROOT

pytestmark = pytest.mark.heavy
PROMPTS = ROOT / "models" / "texts" / "prompts" / "demo.jsonl"


@pytest.fixture(scope="module")
def recording(tmp_path_factory, evictlab, smollm2):
    trace = tmp_path_factory.mktemp("smollm2") / "trace.h5"
    done = evictlab("record", "--model", smollm2, "--prompts", PROMPTS, "--only", "needle-512-000,key-value-512-000",
                    "--tier", "full", "--out", trace)
    assert done.code == 0, done.err
    return trace


def test_conversations_are_recorded_by_the_models_template(evictlab, smollm2, recording):
    assert evictlab("verify", recording).code == 0
    with h5py.File(recording) as trace:
        assert sorted(trace["prompts"]) == ["key-value-512-000", "needle-512-000"]
        prompt = trace["prompts/needle-512-000"]
        assert len(prompt["layers"]) == 30 and prompt["layers/0/window_attention"].shape[0] == 9
        assert list(prompt["tokens"][:2]) == [1, 9690]  # <|im_start|>, system


def test_what_snapkv_loses_lies_between_the_oracle_and_random(evictlab, recording, tmp_path):
    done = evictlab("replay", recording, "--policy", "oracle,snapkv,random", "--budget", 64, "--out", tmp_path / "replay.csv")
    assert done.code == 0, done.err
    with open(tmp_path / "replay.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["layer"] == "all"]
    for prompt in ("needle-512-000", "key-value-512-000"):
        mass = {row["policy"]: float(row["retained_mass"]) for row in rows if row["prompt"] == prompt}
        assert 1 > mass["oracle"] > mass["snapkv"] > mass["random"] > 0


def test_it_reads_on_from_a_compacted_cache(evictlab, smollm2, recording, tmp_path):
    done = evictlab("validate", "--model", smollm2, "--prompts", PROMPTS, "--only", "key-value-512-000", "--policy",
                    "snapkv,random", "--budget", 64, "--teacher-forced", "--out", tmp_path / "live")
    assert done.code == 0, done.err
    with open(tmp_path / "live" / "validate.csv", newline="") as file:
        kl = {row["policy"]: float(row["kl"]) for row in csv.DictReader(file)}
    assert kl["full"] == 0 < kl["snapkv"] < kl["random"]


def test_2048_positions_in_the_full_tier_take_less_than_500_megabytes(smollm2, tmp_path):
    command = (PROGRAM, "record", "--model", smollm2, "--prompts", PROMPTS, "--only", "long-copy-2048-000", "--tier", "full",
               "--out", tmp_path / "t.h5")
    recording = subprocess.Popen([str(word) for word in command])
    _, status, used = os.wait4(recording.pid, 0)
    assert status == 0
    assert used.ru_maxrss * 1024 < 500_000_000
