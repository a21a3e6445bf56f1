"""A recording that is stopped, killed, watched, or left without room: what was finished stays, and one line says what happened."""

import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import tempfile

import pytest

from conftest import PATIENCE, PROGRAM, wait_until


def start_recording(model, out):
    prompts = [word for task in ("needle", "multi-needle", "count", "text")
               for word in ("--prompts", str(model / f"prompts/{task}-512.jsonl"))]
    return subprocess.Popen([PROGRAM, "record", "--model", str(model), *prompts, "--out", str(out)], stderr=subprocess.PIPE)


def wait_for_parts(out, recording):
    """Until two prompts are recorded, and others are not."""
    wait_until(lambda: len([p for p in out.parent.glob("t.h5.parts/*.h5") if p.name != "model.h5"]) >= 2, recording)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_a_recording_leaves_a_valid_trace(evictlab, model, tmp_path, number):
    recording = start_recording(model, tmp_path / "t.h5")
    wait_for_parts(tmp_path / "t.h5", recording)
    recording.send_signal(number)
    _, err = recording.communicate(timeout=PATIENCE)
    assert recording.returncode == 130, err
    assert evictlab("verify", tmp_path / "t.h5").code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["t.h5"]


def test_a_killed_recording_is_read_from_its_parts_and_goes_on(evictlab, model, tmp_path):
    trace = tmp_path / "t.h5"
    recording = start_recording(model, trace)
    wait_for_parts(trace, recording)
    recording.kill()
    recording.communicate()
    parts = tmp_path / "t.h5.parts"
    assert evictlab("verify", parts).code == 0
    assert evictlab("replay", parts, "--policy", "snapkv", "--budget", 64, "--out", tmp_path / "replay.csv").code == 0
    done = evictlab("record", "--model", model, "--prompts", model / "prompts/needle-512.jsonl", "--limit", 4, "--out", trace)
    assert done.code == 0 and "were there already" in done.err, done.err
    assert evictlab("verify", trace).code == 0 and not parts.exists()


def test_a_running_recording_can_be_read_but_not_written_by_others(evictlab, model, tmp_path):
    trace = tmp_path / "t.h5"
    recording = start_recording(model, trace)
    wait_for_parts(trace, recording)
    again = evictlab("record", "--model", model, "--prompts", model / "prompts/kv-512.jsonl", "--out", trace)
    forced = evictlab("record", "--model", model, "--prompts", model / "prompts/kv-512.jsonl", "--out", trace, "--force")
    absent = evictlab("info", trace)
    parts = tmp_path / "t.h5.parts"
    read = evictlab("replay", parts, "--policy", "snapkv", "--budget", 64, "--out", tmp_path / "replay.csv")
    assert recording.poll() is None, "it ended before it was looked at"
    recording.kill()
    recording.communicate()
    for refused in (again, forced):
        assert refused.code == 2 and refused.err.count("\n") == 1 and "another recording is writing there" in refused.err
    assert absent.code == 2 and f"{parts} holds a recording that is running or was stopped: give that" in absent.err
    assert read.code == 0, read.err


def with_files_of_at_most(size, *arguments):
    """What a full disk is to a program: some write fails."""
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))


def test_without_room_finished_prompts_survive_and_the_same_command_goes_on(evictlab, model, tmp_path):
    trace = tmp_path / "t.h5"
    prompts = tmp_path / "prompts.jsonl"
    short, long = ((model / "prompts" / name).read_text().splitlines()[0] for name in ("kv-512.jsonl", "kv-1024.jsonl"))
    prompts.write_text(f"{short}\n{long}\n")
    command = ("record", "--model", model, "--prompts", prompts, "--out", trace)
    assert evictlab(*command, "--limit", 1).code == 0
    room = trace.stat().st_size * 3 // 2
    trace.unlink()
    done = with_files_of_at_most(room, *command)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "File too large" in done.stderr, done.stderr
    parts = tmp_path / "t.h5.parts"
    assert "sound: 1 prompt," in evictlab("verify", parts).out
    assert not list(parts.glob("*.tmp")) and not trace.exists()
    done = evictlab(*command)
    assert done.code == 0 and "recorded 2 of 2 prompts (1 were there already)" in done.err


def test_a_place_that_cannot_be_written_to_is_named(model):
    """Root could write there, so as somebody else."""
    other = ["setpriv", "--reuid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        closed = pathlib.Path(name)
        closed.chmod(0o555)
        command = [*other, PROGRAM, "record", "--model", model, "--prompts", model / "prompts/kv-512.jsonl", "--out",
                   closed / "t.h5"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        except FileNotFoundError:
            pytest.skip("root may write everywhere, and there is no setpriv")
        if done.returncode in (126, 127) or f"{model}" in done.stderr:
            pytest.skip("others may not read this checkout")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and f"{closed}/t.h5" in done.stderr, done.stderr


def test_a_prompt_that_cannot_fit_into_memory_is_refused_ahead(evictlab, model, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(model, copy, ignore=shutil.ignore_patterns("prompts"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 1 << 21}))
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"tokens": [1] * 1_000_000}) + "\n")
    done = evictlab("record", "--model", copy, "--prompts", prompts, "--window", 65536, "--future", 1, "--out",
                    tmp_path / "t.h5")
    assert done.code == 2 and done.err.count("\n") == 1, done.err
    assert "GiB of memory are needed" in done.err or "TiB of memory are needed" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "prompts.jsonl"]
