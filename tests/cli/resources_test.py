"""A recording that is stopped, killed, watched, or left without room: what was finished stays, and one line says what happened."""

import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import tempfile

import h5py
import numpy
import pytest

from conftest import PATIENCE, PROGRAM, wait_until


def command_of(model, out, *options, limit=8):
    prompts = [word for task in ("needle", "multi-needle") for word in ("--prompts", model / f"prompts/{task}-512.jsonl")]
    return ("record", "--model", model, *prompts, "--limit", limit, "--out", out, *options)


def start(*command):
    return subprocess.Popen([PROGRAM, *map(str, command)], stderr=subprocess.PIPE, text=True)


def start_recording(model, out, *options):
    return start(*command_of(model, out, *options, limit=100))


def parts_of(out):
    return [part for part in out.parent.glob(f"{out.name}.parts/*.h5") if part.name != "model.h5"]


def wait_for_parts(out, recording):
    """Until two prompts are recorded, and others are not."""
    wait_until(lambda: len(parts_of(out)) >= 2, recording)


def stop(recording, number):
    recording.send_signal(number)
    _, err = recording.communicate(timeout=PATIENCE)
    return err


def ids(trace):
    with h5py.File(trace) as file:
        return sorted(file["prompts"])


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_recording_looks_unfinished_and_the_same_command_resumes(evictlab, model, tmp_path, number):
    trace = tmp_path / "t.h5"
    command = command_of(model, trace)
    recording = start(*command)
    wait_for_parts(trace, recording)
    err = stop(recording, number)
    assert recording.returncode == 130 and err.count("\n") == 1, err
    there = len(parts_of(trace))
    assert f"interrupted: {there} of 16 prompts" in err and f"{trace}.parts" in err and "same command resumes" in err
    assert [path.name for path in tmp_path.iterdir()] == ["t.h5.parts"]
    assert evictlab("verify", f"{trace}.parts").code == 0
    done = evictlab(*command)
    assert done.code == 0 and f"recorded 16 prompts ({there} of them before)" in done.err, done.err
    assert [path.name for path in tmp_path.iterdir()] == ["t.h5"] and len(ids(trace)) == 16
    assert evictlab("verify", trace).code == 0


@pytest.mark.heavy
@pytest.mark.parametrize("option, kept", [("--force", 0), ("--append", 1)])
def test_the_old_trace_stays_until_the_new_one_is_complete(evictlab, model, tmp_path, option, kept):
    trace = tmp_path / "t.h5"
    assert evictlab("record", "--model", model, "--prompts", model / "prompts/kv-512.jsonl", "--limit", 1, "--out", trace).code == 0
    before = trace.read_bytes()
    command = command_of(model, trace, option, limit=2)
    recording = start_recording(model, trace, option)
    wait_for_parts(trace, recording)
    assert "same command resumes" in stop(recording, signal.SIGINT)
    assert trace.read_bytes() == before
    there = len([part for part in parts_of(trace) if part.name.split("-")[-1] in ("000.h5", "001.h5")])
    done = evictlab(*command)
    assert done.code == 0 and f"recorded 4 prompts ({there} of them before)" in done.err, done.err
    assert not (tmp_path / "t.h5.parts").exists()
    others = {"--force": 0, "--append": 1 + len(ids(trace)) - 5}[option]
    assert len(ids(trace)) == 4 + others and ("kv-512-000" in ids(trace)) == bool(kept)
    assert (f"which holds {others} more" in done.err) == (others > 0)


@pytest.mark.heavy
def test_a_second_recording_to_one_place_is_refused_before_it_reads_the_model(evictlab, model, tmp_path):
    trace = tmp_path / "t.h5"
    without_weights = tmp_path / "model"
    shutil.copytree(model, without_weights, ignore=shutil.ignore_patterns("prompts", "*.safetensors"))
    record = ("record", "--model", without_weights, "--prompts", model / "prompts/kv-512.jsonl")
    recording = start_recording(model, trace)
    wait_for_parts(trace, recording)
    for second in (record, ("import", "nowhere.npy", "--future", 1)):
        for option in ((), ("--force",)):
            done = evictlab(*second, *option, "--out", trace)
            assert done.code == 2 and done.err.count("\n") == 1 and "another recording is writing there" in done.err
    stop(recording, signal.SIGKILL)
    done = evictlab(*record, "--out", tmp_path / "new/t.h5")
    assert done.code == 2 and ".safetensors" in done.err and not (tmp_path / "new").exists()


def test_an_interrupted_synthetic_trace_and_import_are_resumed(evictlab, tmp_path):
    attention = numpy.tril(numpy.ones((4, 8, 1100, 1100), "float32"))
    attention /= attention.sum(-1, keepdims=True)
    for number in range(4):
        numpy.save(tmp_path / f"a{number}.npy", attention)
    files = [tmp_path / f"a{number}.npy" for number in range(4)]
    for trace, command in ((tmp_path / "s.h5", ("synth", "--prompts", 40, "--length", 1000)),
                           (tmp_path / "i.h5", ("import", *files, "--future", 4))):
        job = start(*command, "--out", trace)
        wait_until(lambda: parts_of(trace), job)
        err = stop(job, signal.SIGINT)
        assert job.returncode == 130 and "same command resumes" in err and not trace.exists(), err
        assert len(parts_of(trace)) < 40
        assert evictlab(*command, "--out", trace).code == 0
        assert evictlab("verify", trace).code == 0 and not parts_of(trace)


@pytest.mark.heavy
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
    assert done.code == 0 and "of them before)" in done.err, done.err
    assert evictlab("verify", trace).code == 0 and not parts.exists()


@pytest.mark.heavy
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


@pytest.mark.heavy
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
    assert done.code == 0 and "recorded 2 prompts (1 of them before)" in done.err


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


@pytest.mark.heavy
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
