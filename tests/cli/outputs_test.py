"""Outputs: never over what is read, whole or not at all, and one run's at a time."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess

import pytest

from conftest import PATIENCE, PROGRAM, ROOT, wait_until

MODEL = ROOT / "tests" / "data" / "checkpoints" / "gqa-f32"
POLICIES = ("--policy", "snapkv,h2o", "--budget", "64")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, evictlab, small_trace):
    """One of each kind of input, by name."""
    top = tmp_path_factory.mktemp("inputs")
    files = {"trace": top / "t.h5", "prompts": top / "p.jsonl", "text": top / "text.txt", "form": top / "form.txt"}
    shutil.copy(small_trace, files["trace"])
    files["prompts"].write_text(json.dumps({"id": "a", "tokens": list(range(3, 80)), "answer_tokens": [5, 6]}) + "\n")
    files["text"].write_text("The ferry waits for the morning tide. " * 20)
    files["form"].write_text("{context}\n{question}\n")
    shutil.copytree(MODEL, top / "model")
    files["model"] = top / "model"
    done = evictlab("replay", files["trace"], *POLICIES, "--out", top / "replayed" / "replay.csv", "--kept", top / "kept.h5")
    assert done.code == 0, done.err
    files["tables"] = top / "replayed"
    files["kept"] = top / "kept.h5"
    done = evictlab("advise", files["trace"], "--loss", "0.5", "--out", top / "budgets.json")
    assert done.code == 0, done.err
    files["budgets"] = top / "budgets.json"
    return files


@pytest.fixture
def inputs(workspace, tmp_path):
    """A copy of its own, for a test that may destroy it."""
    top = tmp_path / "inputs"
    shutil.copytree(next(iter(workspace.values())).parent, top)
    return {name: top / path.name for name, path in workspace.items()}


def spelled(path, how):
    """Another path to the same file."""
    if how == "same":
        return path
    if how == "through a directory that is not there":
        return path.parent / "nodir" / ".." / path.name
    other = path.parent / "alias" / path.name
    other.parent.mkdir(exist_ok=True)
    if how == "link":
        other.symlink_to(path)
    else:
        os.link(path, other)
    return other


def contents(top):
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in sorted(top.rglob("*")) if path.is_file()}


# command, the input that is written over, and where that is as a function of the inputs.
OVERWRITES = {
    "replay its trace": ("trace", lambda i, o: ("replay", i["trace"], *POLICIES, "--out", o)),
    "replay its trace with kept": ("trace", lambda i, o: ("replay", i["trace"], *POLICIES, "--kept", o, "--out", i["trace"].parent / "x" / "r.csv")),
    "replay its budgets": ("budgets", lambda i, o: ("replay", i["trace"], "--budgets", i["budgets"], "--scores", i["budgets"], "--budget", "64", "--out", o)),
    "advise its trace": ("trace", lambda i, o: ("advise", i["trace"], "--loss", "0.5", "--out", o)),
    "report its trace": ("trace", lambda i, o: ("report", i["trace"], *POLICIES, "--out", o)),
    "report its table": ("replay", lambda i, o: ("report", i["tables"], "--out", o)),
    "record its prompts": ("prompts", lambda i, o: ("record", "--model", i["model"], "--prompts", i["prompts"], "--out", o)),
    "record its text": ("text", lambda i, o: ("record", "--model", i["model"], "--text", i["text"], "--out", o)),
    "record its template": ("form", lambda i, o: ("record", "--model", i["model"], "--prompts", i["prompts"], "--template", i["form"], "--out", o)),
    "record its model's weights": ("weights", lambda i, o: ("record", "--model", i["model"], "--prompts", i["prompts"], "--out", o)),
    "record its model's configuration": ("config", lambda i, o: ("record", "--model", i["model"], "--prompts", i["prompts"], "--out", o)),
}  # fmt: skip


@pytest.mark.parametrize("how", ["same", "link", "hard link", "through a directory that is not there"])
@pytest.mark.parametrize("what", OVERWRITES)
def test_no_output_is_an_input(evictlab, inputs, what, how):
    kind, command = OVERWRITES[what]
    inputs |= {"replay": inputs["tables"] / "replay.csv", "weights": inputs["model"] / "model.safetensors",
               "config": inputs["model"] / "config.json"}
    out = spelled(inputs[kind], how)
    before = contents(inputs["trace"].parent)
    done = evictlab(*command(inputs, out), "--force")
    assert done.code == 2 and done.err.count("\n") == 1, done.err
    assert "that is read here" in done.err, done.err
    assert contents(inputs["trace"].parent) == before
    assert not (inputs["trace"].parent / "nodir").exists()


@pytest.mark.parametrize("how", ["same", "link", "hard link"])
@pytest.mark.parametrize("command, name", [("analyze", "attention.csv"), ("sweep", "summary.csv"), ("plot", "loss.svg"),
                                           ("replay", "budgets.csv")])
def test_no_file_of_a_folder_of_outputs_is_an_input(evictlab, inputs, command, name, how):
    source = inputs["tables"] / "replay.csv" if command == "plot" else inputs["trace"]
    out = inputs["trace"].parent / "out"
    out.mkdir()
    place = out / name
    if how == "same":
        shutil.move(source, place)
        source = place
    elif how == "link":
        place.symlink_to(source)
    else:
        os.link(source, place)
    before = contents(inputs["trace"].parent)
    more = () if command in ("analyze", "plot") else POLICIES
    done = evictlab(command, source, *more, "--out", out / "replay.csv" if command == "replay" else out, "--force")
    assert done.code == 2 and "that is read here" in done.err.splitlines()[-1], done.err
    assert contents(inputs["trace"].parent) == before


def test_recording_removes_no_file_of_others_beside_its_parts(evictlab, inputs):
    trace = inputs["trace"].parent / "new.h5"
    parts = trace.with_name("new.h5.parts")
    parts.mkdir()
    (parts / "notes.txt").write_text("mine")
    done = evictlab("record", "--model", inputs["model"], "--prompts", inputs["prompts"], "--out", trace)
    assert done.code == 0, done.err
    assert [path.name for path in parts.iterdir()] == ["notes.txt"]


def limited(size, *arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))


COMMANDS = {
    "replay": lambda i, out: ("replay", i["trace"], *POLICIES, "--out", out / "replay.csv"),
    "sweep": lambda i, out: ("sweep", i["trace"], *POLICIES, "--out", out),
    "analyze": lambda i, out: ("analyze", i["trace"], "--out", out),
    "fit": lambda i, out: ("fit", i["trace"], "--policy", "h2o", "--budget", 48, "--out", out),
    "plot": lambda i, out: ("plot", i["tables"], "--out", out),
    "report": lambda i, out: ("report", i["tables"], "--out", out / "report.html"),
    "validate": lambda i, out: ("validate", "--model", MODEL, "--prompts", i["prompts"], "--policy", "snapkv,h2o",
                                "--window", 32, "--budget", "40,48", "--out", out),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_what_was_there_stays_when_there_is_no_room(evictlab, inputs, tmp_path, command):
    out = tmp_path / "out"
    done = limited(1000, *COMMANDS[command](inputs, out))
    assert done.returncode == 2 and ("File too large" in done.stderr or "is there room" in done.stderr), done.stderr
    assert not out.exists() or [path.name for path in out.iterdir()] == ["parts"], "a failed run leaves no directory"
    assert evictlab(*COMMANDS[command](inputs, out)).code == 0
    before = contents(out)
    done = limited(1000, *COMMANDS[command](inputs, out), "--force")
    assert done.returncode == 2, done.stderr
    assert {path: what for path, what in contents(out).items() if path.parent == out} == before


def test_a_killed_run_leaves_the_old_tables_or_the_new(evictlab, inputs, tmp_path):
    out = tmp_path / "out"
    old = ("replay", inputs["trace"], "--policy", "snapkv", "--budget", "48", "--out", out / "replay.csv")
    new = ("replay", inputs["trace"], "--policy", "snapkv,h2o,tova", "--budget", "64,96,128", "--out", out / "replay.csv")
    assert evictlab(*new).code == 0
    wanted = contents(out)
    shutil.rmtree(out)
    assert evictlab(*old).code == 0
    before = contents(out)
    for _ in range(5):
        job = subprocess.Popen([PROGRAM, *map(str, new), "--force"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: any(out.glob("*.tmp")) or job.poll() is not None, job)
        job.kill()
        job.wait()
        for left in out.glob("*.tmp"):
            left.unlink()
        is_finished = (out / "replay.manifest.json").exists()
        assert not is_finished or contents(out) == before or set(contents(out)) == set(wanted)


def test_tables_without_a_manifest_are_said_to_be_unfinished(evictlab, inputs, tmp_path):
    (inputs["tables"] / "replay.manifest.json").unlink()
    done = evictlab("plot", inputs["tables"], "--out", tmp_path / "figures")
    assert done.code == 0 and "no manifest beside it lists" in done.err, done.err


def test_each_run_has_a_folder_of_its_own(evictlab, inputs):
    done = evictlab("replay", inputs["trace"], *POLICIES, "--out", inputs["tables"] / "other.csv", "--force")
    assert done.code == 2 and "belongs to another run" in done.err and done.err.count("\n") == 1, done.err
    assert not (inputs["tables"] / "other.csv").exists()


def test_a_run_that_replaces_another_leaves_none_of_its_files(evictlab, inputs):
    replay = ("replay", inputs["trace"], *POLICIES, "--out", inputs["tables"] / "replay.csv", "--force")
    assert evictlab(*replay, "--constrain", "share=layer").code == 0
    assert (inputs["tables"] / "constraints.csv").exists()
    assert evictlab(*replay).code == 0
    assert not (inputs["tables"] / "constraints.csv").exists()


def test_a_second_sweep_into_one_place_is_refused_at_once(evictlab, tmp_path):
    trace = tmp_path / "t.h5"
    assert evictlab("synth", "--out", trace, "--prompts", 12, "--layers", 4, "--length", 700, "--window", 32).code == 0
    sweep = ("sweep", trace, "--policy", "snapkv,ada-snapkv,cake,h2o,oracle", "--budget", "64:512:log12", "--threads", 1,
             "--out", tmp_path / "out")
    job = subprocess.Popen([PROGRAM, *map(str, sweep)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: list((tmp_path / "out" / "parts").glob("*.json")), job)
    second = evictlab(*sweep)
    assert job.poll() is None, "it ended before the second was refused"
    job.send_signal(signal.SIGTERM)
    job.wait()
    assert second.code == 2 and "another sweep is at work there" in second.err and second.err.count("\n") == 1
