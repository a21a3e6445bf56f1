"""Processes that share a job (lab/ranks.hpp): under mpirun they meet, and when one fails none is left waiting."""

import os
import signal
import subprocess

import pytest

from conftest import PATIENCE, ROOT, mpi_environment

PROGRAM = os.environ.get("EVICTLAB_RANKS_PROGRAM", str(ROOT / "build" / "release" / "evictlab_ranks_program"))


def without_launcher(what, **environment):
    done = subprocess.run([PROGRAM, what], capture_output=True, text=True, timeout=PATIENCE,
                          env={**mpi_environment(), **environment})
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("count", [1, 2, 4])
def test_ranks_are_counted(mpirun, count):
    done = mpirun(count, PROGRAM, "meet")
    assert done.code == 0, done.err
    assert sorted(done.out.splitlines()) == [f"rank {rank} of {count}" for rank in range(count)]


def test_without_a_launcher_a_process_is_on_its_own():
    assert without_launcher("meet") == (0, "rank 0 of 1\n", "")


@pytest.mark.parametrize("what, code, message", [
    ("throw", 2, "ranks: the last rank found bad input"),
    ("throw-while-others-leave", 2, "ranks: the last rank found bad input"),
    ("be-killed", 128 + signal.SIGKILL, "Killed"),
    ("be-interrupted-while-waiting", 130, "ranks: interrupted"),
])
def test_a_rank_that_fails_ends_the_job_with_its_code_and_message(mpirun, what, code, message):
    done = mpirun(3, PROGRAM, what)
    assert done.code == code, done.err
    assert message in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_mpirun_stops_the_ranks_at_a_safe_point(start_mpirun, number):
    with start_mpirun(2, PROGRAM, "stay") as job:
        assert [job.stdout.readline() for _ in range(2)] == ["here\n"] * 2
        job.send_signal(number)
        _, err = job.communicate(timeout=PATIENCE)
    assert job.returncode != 0  # mpirun's own 1, whatever the ranks say
    assert "ranks: interrupted" in err


def test_processes_that_cannot_be_joined_do_not_each_do_the_work():
    # What MPICH's launcher tells its processes: Open MPI is not their MPI.
    code, out, err = without_launcher("meet", PMI_SIZE="4", PMI_RANK="1")
    assert code == 2 and not out
    assert "started as one of 4 processes" in err and err.count("\n") == 1


def test_srun_without_mpi_is_found_out():
    code, out, err = without_launcher("meet", SLURM_STEP_NUM_TASKS="3")
    assert code == 2 and not out
    assert "started as one of 3 processes" in err and err.count("\n") == 1
