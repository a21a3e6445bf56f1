"""Runs that are killed at any moment: what was there stays or the new is whole, and the same command ends as if nothing had been."""

import hashlib
import json
import random
import shutil
import subprocess
import time

import pytest

from conftest import PROGRAM, ROOT

MODEL = ROOT / "tests" / "data" / "checkpoints" / "gqa-f32"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, evictlab):
    top = tmp_path_factory.mktemp("inputs")
    draw = random.Random(1)
    lines = [{"id": f"p{i}", "tokens": [draw.randrange(3, 93) for _ in range(90)], "answer_tokens": [5, 6, 7]} for i in range(12)]
    (top / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert evictlab("record", "--model", MODEL, "--prompts", top / "p.jsonl", "--out", top / "t.h5", "--window", 32).code == 0
    return top


COMMANDS = {
    "record": lambda i, o: ("record", "--model", MODEL, "--prompts", i / "p.jsonl", "--window", 32, "--out", o / "t.h5"),
    "synth": lambda i, o: ("synth", "--prompts", 8, "--layers", 3, "--length", 300, "--window", 32, "--out", o / "t.h5"),
    "sweep": lambda i, o: ("sweep", i / "t.h5", "--policy", "snapkv(window=8),h2o,oracle", "--budget", "16:64:log4", "--out", o),
    "replay": lambda i, o: ("replay", i / "t.h5", "--policy", "snapkv(window=8),h2o,tova,oracle", "--budget", "24,32,48,64",
                             "--out", o / "replay.csv"),
    "report": lambda i, o: ("report", i / "t.h5", "--policy", "snapkv(window=8),h2o,oracle", "--budget", "32,48", "--out", o / "r.html"),
}  # fmt: skip


def results(out):
    """The finished files of a run; manifests have the time of day in them, and say only whether it is finished."""
    files = {path.name: path for path in out.glob("*") if path.is_file() and path.suffix in (".h5", ".csv", ".html")}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def is_finished(out, command):
    if command in ("sweep", "replay"):
        return any(out.glob("*.manifest.json"))
    return bool(results(out))


def kill_often(evictlab, inputs, tmp_path, command, count):
    out = tmp_path / "out"
    draw = random.Random(command)
    # Results name the command that made them; with --force it resumes or replaces, whatever is there.
    same = (*COMMANDS[command](inputs, out), "--force")
    begin = time.monotonic()
    assert evictlab(*same).code == 0
    duration = time.monotonic() - begin
    wanted = results(out)
    stopped = 0
    for _ in range(count):
        if draw.random() < 0.5:
            shutil.rmtree(out)
        job = subprocess.Popen([PROGRAM, *map(str, same)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.random() * duration)
        job.kill()
        stopped += job.wait() != 0
        if out.exists() and is_finished(out, command):
            assert results(out) == wanted, "half of a result, said to be whole"
        done = evictlab(*same)
        assert done.code == 0, done.err
        assert results(out) == wanted
        assert not list(out.glob("*.tmp"))
    assert stopped > 0
    print(f"{command}: {count} runs, {stopped} killed")


@pytest.mark.heavy
@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_killed_at_any_moment_leaves_no_half_result(evictlab, inputs, tmp_path, command):
    kill_often(evictlab, inputs, tmp_path, command, 2)


@pytest.mark.full
@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_killed_a_hundred_times_leaves_no_half_result(evictlab, inputs, tmp_path, command):
    kill_often(evictlab, inputs, tmp_path, command, 100)


def test_a_finished_run_is_not_begun_again(evictlab, inputs, tmp_path):
    arguments = COMMANDS["record"]
    assert evictlab(*arguments(inputs, tmp_path / "out")).code == 0
    before = results(tmp_path / "out")
    done = evictlab(*arguments(inputs, tmp_path / "out"))
    assert done.code == 2 and "exists already" in done.err, done.err
    assert results(tmp_path / "out") == before
