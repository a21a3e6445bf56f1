"""The demo, the whole way on a few prompts of the shipped model; on SmolLM2 with all of its prompts under --full."""

import csv
import json
import re

import pytest

from conftest import ROOT

pytestmark = pytest.mark.heavy
STEPS = ["record", "info", "verify", "replay", "analyze", "validate", "plot", "report"]
LIVE = {"full", "streaming-llm", "h2o", "tova", "snapkv", "ada-snapkv", "cake"}


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def others_than(trace, out):
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file() and path != trace)


@pytest.fixture(scope="module")
def demo(tmp_path_factory, evictlab, model):
    """Three prompts of three tasks, without keeping the trace: (what was printed, the folder)."""
    directory = tmp_path_factory.mktemp("demo")
    prompts = directory / "prompts.jsonl"
    with prompts.open("w") as some:
        for task in ("needle", "kv", "map"):
            some.write((model / "prompts" / f"{task}-512.jsonl").read_text().splitlines()[0] + "\n")
    done = evictlab("demo", "--model", model, "--prompts", prompts, "--out", directory / "out", "--no-keep-trace")
    assert done.code == 0, done.err
    return done, directory / "out"


def test_every_step_is_said_as_one_would_type_it(demo):
    done, out = demo
    commands = re.findall(r"^\$ evictlab (\w+) (.*)$", done.err, flags=re.M)
    assert [name for name, _ in commands] == STEPS
    assert f"--out {out}" in dict(commands)["validate"] and "--teacher-forced" in dict(commands)["validate"]


def test_the_size_of_the_trace_is_said_before_anything_is_recorded(demo):
    done, _ = demo
    before = done.err[: done.err.index("$ evictlab record")]
    assert re.search(r"demo reads 3 prompts\. The recording will take [\d.]+ MiB in .*trace\.h5", before), before


def test_without_the_trace_everything_else_stays(demo):
    done, out = demo
    assert not list(out.glob("trace.h5*")) and "deleted at the end" in done.err
    for name in ("replay.csv", "positions.csv", "attention.csv", "validate.csv", "calibration.csv", "loss.png", "report.html"):
        assert (out / name).stat().st_size > 0, name


def test_the_policies_run_live_on_a_prompt_of_each_task_and_write_no_answers(demo):
    _, out = demo
    rows = rows_of(out / "validate.csv")
    assert {row["policy"] for row in rows} == LIVE and len({row["prompt"] for row in rows}) == 3
    assert len(rows) == 3 * len(LIVE) * 2
    for row in rows:
        assert row["kl"] != "" and row["accuracy"] == row["output_length"] == row["decode_ms"] == ""


def test_the_report_shows_prompts_and_what_came_of_the_predictions(demo):
    page = (demo[1] / "report.html").read_text()
    assert 'id="look"' in page and 'id="live"' in page and "Left out" not in page[page.index('id="live"'):][:200]


def test_the_shipped_models_own_prompts_and_others_do_not_mix(evictlab, model, tmp_path):
    prompts = model / "prompts" / "needle-512.jsonl"
    done = evictlab("demo", "--prompts", prompts, "--prompts-per-task", 1, "--out", tmp_path / "out")
    assert done.code == 2 and "--prompts-per-task is of the shipped model's own prompts" in done.err, done.err
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_hold_conversations_says_so(evictlab, model, tmp_path):
    done = evictlab("demo", "--model", model, "--prompts", ROOT / "models/texts/prompts/demo.jsonl", "--out", tmp_path / "out")
    assert done.code == 2 and done.err.count("\n") == 1 and "has no chat template" in done.err, done.err


@pytest.mark.full
def test_the_demo_on_smollm2_leaves_little_beside_its_trace(evictlab, smollm2, tmp_path):
    out = tmp_path / "out"
    done = evictlab("demo", "--model", smollm2, "--out", out)
    assert done.code == 0, done.err
    assert "reads 16 prompts" in done.err
    assert (out / "trace.h5").exists() and others_than(out / "trace.h5", out) < 60 * 2**20
    rows = rows_of(out / "validate.csv")
    assert len({row["prompt"] for row in rows}) == 6 and len(rows) == 6 * len(LIVE) * 2
    manifest = json.loads((out / "replay.manifest.json").read_text())
    assert manifest["prompts"] == 16
