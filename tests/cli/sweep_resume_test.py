"""What a stopped sweep leaves behind and who may go on with it; ranks without work or with bad input."""

import os
import pathlib
import shutil
import signal
import subprocess

import pytest

from conftest import PATIENCE, PROGRAM, wait_until

PROMPTS = 10
TABLES = ("replay.csv", "summary.csv", "headroom.csv")
WHAT = ("--policy", "snapkv,cake,h2o,tova,ada-snapkv,pyramidkv,oracle", "--threads", 1)
BUDGETS = ("--budget", "40:700:lin300")  # so many that a prompt takes a tenth of a second


@pytest.fixture(scope="module")
def trace(tmp_path_factory, evictlab):
    path = tmp_path_factory.mktemp("trace") / "trace.h5"
    done = evictlab("synth", "--out", path, "--prompts", PROMPTS, "--layers", 4, "--query-heads", 8, "--length", 800,
                    "--future", 8, "--window", 32, "--tier", "summary")
    assert done.code == 0, done.err
    return path


def tables_of(directory):
    return {name: (directory / name).read_bytes() for name in TABLES}


def finished_in(directory):
    return sorted(path for path in (directory / "parts").glob("*.json") if path.name != "sweep.json")


def wait_for_parts(directory, job, count=1):
    wait_until(lambda: len(finished_in(directory)) >= count, job)


@pytest.fixture(scope="module")
def expected(trace, tmp_path_factory, evictlab):
    """The tables of a sweep that nobody stopped."""
    out = tmp_path_factory.mktemp("whole") / "out"
    done = evictlab("sweep", trace, *WHAT, *BUDGETS, "--out", out)
    assert done.code == 0 and "going on" not in done.err, done.err
    assert not (out / "parts").exists()
    return tables_of(out)


@pytest.fixture(scope="module")
def interrupted(trace, tmp_path_factory):
    """Where an interrupted sweep was to go, its exit status and what it said."""
    out = tmp_path_factory.mktemp("interrupted") / "out"
    with subprocess.Popen([PROGRAM, "sweep", trace, *map(str, WHAT), *BUDGETS, "--out", out], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as job:
        wait_for_parts(out, job)
        job.send_signal(signal.SIGINT)
        printed, said = job.communicate(timeout=PATIENCE)
    return out, job.returncode, printed, said


@pytest.fixture
def stopped(interrupted, tmp_path):
    """A copy of what an interrupted sweep left."""
    return pathlib.Path(shutil.copytree(interrupted[0], tmp_path / "out"))


def test_an_interrupted_sweep_leaves_finished_prompts_and_no_tables(interrupted):
    out, code, printed, said = interrupted
    assert code == 130 and not printed
    assert "the same command goes on" in said
    assert [path.name for path in out.iterdir()] == ["parts"]
    assert 1 <= len(finished_in(out)) < PROMPTS


def test_going_on_keeps_what_is_finished(evictlab, trace, stopped):
    # A mark that no sweep makes: a part done again would lack it.
    part = finished_in(stopped)[0]
    text = part.read_text()
    assert text.count('"notes": {') == 1
    part.write_text(text.replace('"notes": {', '"notes": {"kept as it was": {"runs": 7, "slots": 0.0},'))
    done = evictlab("sweep", trace, *WHAT, *BUDGETS, "--out", stopped)
    assert done.code == 0 and "note: kept as it was (7 runs)" in done.err, done.err


@pytest.mark.parametrize("damage", [lambda text: text[:len(text) // 2], lambda text: "", lambda text: "{}"],
                         ids=["half", "empty", "other"])
def test_a_damaged_part_is_named_and_made_again_once_it_is_removed(evictlab, trace, stopped, expected, damage):
    part = finished_in(stopped)[0]
    part.write_text(damage(part.read_text()))
    done = evictlab("sweep", trace, *WHAT, *BUDGETS, "--out", stopped)
    errors = [line for line in done.err.splitlines() if line.startswith("evictlab: ")]
    assert done.code == 2 and not done.out
    assert len(errors) == 1 and str(part) in errors[0] and "damaged; remove it" in errors[0], done.err
    assert [path.name for path in stopped.iterdir()] == ["parts"]
    part.unlink()
    done = evictlab("sweep", trace, *WHAT, *BUDGETS, "--out", stopped)
    assert done.code == 0, done.err
    assert tables_of(stopped) == expected


@pytest.mark.parametrize("other, saying", [
    ((*WHAT, "--budget", "40,64"), "budgets"),
    (("--policy", "snapkv", *BUDGETS), "policies"),
    ((*WHAT, *BUDGETS, "--layers"), "layers"),
    ((*WHAT, *BUDGETS, "--headroom", "no"), "headroom"),
])
def test_parts_of_other_settings_are_left_alone(evictlab, trace, stopped, other, saying):
    before = {path.name: path.read_bytes() for path in (stopped / "parts").iterdir()}
    done = evictlab("sweep", trace, *other, "--out", stopped)
    assert done.code == 2 and done.err.count("\n") == 1, done.err
    assert f"other settings ({saying})" in done.err and "--force" in done.err
    assert before == {path.name: path.read_bytes() for path in (stopped / "parts").iterdir()}


def test_parts_of_another_trace_are_left_alone(evictlab, stopped, small_trace):
    done = evictlab("sweep", small_trace, *WHAT, *BUDGETS, "--out", stopped)
    assert done.code == 2 and done.err.count("\n") == 1 and "other settings (model)" in done.err, done.err


def test_force_starts_over(evictlab, trace, stopped):
    for part in finished_in(stopped):
        part.write_text("damaged")
    done = evictlab("sweep", trace, "--policy", "snapkv", "--budget", "40", "--out", stopped, "--force")
    assert done.code == 0 and "going on" not in done.err, done.err
    assert not (stopped / "parts").exists() and len(tables_of(stopped)["replay.csv"].splitlines()) == 1 + PROMPTS


# ---- ranks ----------------------------------------------------------------------------------------------------


def test_more_ranks_than_prompts_are_no_harm(mpirun, evictlab, small_trace, tmp_path):
    arguments = ("sweep", small_trace, "--policy", "snapkv,cake", "--budget", "40,64")
    assert evictlab(*arguments, "--out", tmp_path / "one").code == 0
    assert mpirun(4, PROGRAM, *arguments, "--out", tmp_path / "four").code == 0
    assert tables_of(tmp_path / "four") == tables_of(tmp_path / "one")


def first_rank_of(job):
    """Of the processes that mpirun started."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (process / "environ").read_bytes().split(b"\0") if parent == job.pid else []
        except OSError:  # it has ended
            continue
        if b"OMPI_COMM_WORLD_RANK=0" in variables:
            return int(process.name)
    raise AssertionError("mpirun has started no rank 0")


def test_when_the_first_rank_is_killed_other_ranks_go_on(start_mpirun, mpirun, trace, tmp_path, expected):
    out = tmp_path / "out"
    with start_mpirun(2, PROGRAM, "sweep", trace, *WHAT, *BUDGETS, "--out", out) as job:
        try:
            wait_for_parts(out, job, 2)
            os.kill(first_rank_of(job), signal.SIGKILL)
            _, err = job.communicate(timeout=PATIENCE)
        finally:
            job.kill()
    assert job.returncode != 0 and "signal 9 (Killed)" in err, err
    assert [path.name for path in out.iterdir()] == ["parts"]
    done = mpirun(3, PROGRAM, "sweep", trace, *WHAT, *BUDGETS, "--out", out)
    assert done.code == 0 and done.err.count("going on") == 1, done.err
    assert tables_of(out) == expected
    assert not (out / "parts").exists()


@pytest.mark.parametrize("arguments, saying", [
    (("--policy", "snapkvv", "--budget", "40"), "unknown policy 'snapkvv'"),
    (("--policy", "snapkv", "--budget", "4q"), "budget '4q'"),
    (("--policy", "snapkv(window=64)", "--budget", "80"), "recorded 32"),
    (("--policy", "snapkv", "--budget", "40", "--bogus"), "unknown option '--bogus'"),
    (("--policy", "snapkv", "--budget", "40", "--threads", "x"), "--threads"),
])
def test_bad_input_is_said_once_by_all_ranks_together(mpirun, small_trace, tmp_path, arguments, saying):
    done = mpirun(2, PROGRAM, "sweep", small_trace, *arguments, "--out", tmp_path / "out")
    assert done.code == 2, done.err
    assert sum(saying in line for line in done.err.splitlines() if line.startswith("evictlab: ")) == 1
    assert not (tmp_path / "out").exists()


def test_without_an_output_the_ranks_say_so_once(mpirun, small_trace):
    done = mpirun(2, PROGRAM, "sweep", small_trace, "--policy", "snapkv", "--budget", "40")
    assert done.code == 2 and done.err.count("--out is missing") == 1, done.err
