"""evictlab sweep from outside: its tables are replay's, whatever the threads, ranks and interruptions."""

import csv
import json
import math
import os
import shutil
import signal
import subprocess

import h5py
import pytest

from conftest import PATIENCE, PROGRAM, wait_until
from trace_digest import seal

POLICIES = "random,streaming-llm,snapkv,ada-snapkv,cake,dynamickv(window=8),oracle,oracle(over=layers)"
BUDGETS = "40:200:log7,0.4"
TABLES = ("replay.csv", "summary.csv", "headroom.csv", "budgets.csv", "trajectory.csv")


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def sweep_arguments(trace, out, *more):
    return ("sweep", trace, "--policy", POLICIES, "--budget", BUDGETS, "--layers", "--out", out, *more)


@pytest.fixture(scope="module")
def trace(tmp_path_factory, evictlab):
    path = tmp_path_factory.mktemp("trace") / "six.h5"
    done = evictlab("synth", "--out", path, "--prompts", 6, "--layers", 4, "--length", 200, "--future", 8, "--window", 32)
    assert done.code == 0, done.err
    return path


@pytest.fixture(scope="module")
def swept(tmp_path_factory, evictlab, trace):
    out = tmp_path_factory.mktemp("swept") / "out"
    done = evictlab(*sweep_arguments(trace, out, "--threads", 1))
    assert done.code == 0, done.err
    assert "\r" not in done.err
    return out


def assert_same_tables(a, b):
    for table in TABLES:
        assert (a / table).read_bytes() == (b / table).read_bytes(), table


def test_its_tables_are_those_of_replay(swept, tmp_path, evictlab, trace):
    done = evictlab("replay", trace, "--policy", POLICIES, "--budget", BUDGETS, "--out", tmp_path / "replay.csv")
    assert done.code == 0, done.err
    for table in ("replay.csv", "budgets.csv", "trajectory.csv"):
        assert (swept / table).read_text() == (tmp_path / table).read_text()
    assert not (swept / "parts").exists()


def test_without_layers_only_the_rows_over_all_layers_are_written(swept, tmp_path, evictlab, trace):
    done = evictlab("sweep", trace, "--policy", POLICIES, "--budget", BUDGETS, "--out", tmp_path)
    assert done.code == 0, done.err
    assert rows_of(tmp_path / "replay.csv") == [r for r in rows_of(swept / "replay.csv") if r["layer"] == "all"]
    assert not (tmp_path / "budgets.csv").exists()


def test_headroom_is_ordered_and_the_oracle_over_layers_has_none(swept):
    seen = set()
    for row in rows_of(swept / "headroom.csv"):
        scoring, allocation, bound, both = (float(row[c]) for c in ("scoring", "allocation", "allocation_bound", "both"))
        assert 0 <= allocation <= bound <= both + 1e-6
        assert 0 <= scoring <= both + 1e-6
        assert float(row["retained_mass"]) + both <= 1 + 1e-6
        if "over=layers" in row["parameters"]:
            assert max(scoring, bound, both) < 1e-6
            seen.add(row["prompt"])
    assert len(seen) == 6


def test_threads_change_no_byte(swept, tmp_path, evictlab, trace):
    assert evictlab(*sweep_arguments(trace, tmp_path / "out", "--threads", 3)).code == 0
    assert_same_tables(swept, tmp_path / "out")


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_change_no_byte(swept, tmp_path, mpirun, trace, ranks):
    done = mpirun(ranks, PROGRAM, *sweep_arguments(trace, tmp_path / "out", "--threads", 1))
    assert done.code == 0, done.err
    assert_same_tables(swept, tmp_path / "out")


def test_bad_input_is_said_once_by_all_ranks(tmp_path, mpirun, trace):
    done = mpirun(2, PROGRAM, "sweep", trace, "--policy", "snapk", "--budget", 64, "--out", tmp_path / "out")
    assert done.code == 2
    assert done.err.count("unknown policy 'snapk'") == 1


@pytest.fixture(scope="module")
def long_trace(tmp_path_factory, evictlab):
    """Takes long enough to sweep with MANY to be stopped on the way."""
    path = tmp_path_factory.mktemp("long") / "long.h5"
    done = evictlab("synth", "--out", path, "--prompts", 12, "--layers", 4, "--length", 700, "--future", 16, "--window", 32,
                    "--head-dim", 32)
    assert done.code == 0, done.err
    return path


MANY = ("--policy", "snapkv,ada-snapkv,cake,h2o,oracle", "--budget", "64:512:log12", "--threads", "1")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, evictlab, long_trace):
    out = tmp_path_factory.mktemp("uninterrupted") / "out"
    assert evictlab("sweep", long_trace, *MANY, "--out", out).code == 0
    return out


def wait_for_part(out, process):
    """Until a prompt is finished, and others are not."""
    wait_until(lambda: len(list((out / "parts").glob("*.json"))) >= 2, process)  # the settings and a prompt


@pytest.mark.parametrize("how, code", [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_sweep_that_was_stopped_goes_on(uninterrupted, tmp_path, evictlab, long_trace, how, code):
    out = tmp_path / "out"
    command = [PROGRAM, "sweep", str(long_trace), *MANY, "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for_part(out, process)
        process.send_signal(how)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code
    if how == signal.SIGINT:
        assert "the same command goes on" in err
    assert not (out / "replay.csv").exists()

    other = evictlab("sweep", long_trace, "--policy", "snapkv", "--budget", 64, "--out", out)
    assert other.code == 2 and "other settings (policies)" in other.err and other.err.count("\n") == 1

    done = evictlab(*command[1:])
    assert done.code == 0, done.err
    assert "going on" in done.err
    for table in ("replay.csv", "summary.csv", "headroom.csv"):
        assert (out / table).read_bytes() == (uninterrupted / table).read_bytes()


def test_a_rank_that_dies_ends_the_job_and_other_ranks_go_on(uninterrupted, tmp_path, start_mpirun, mpirun, long_trace):
    out = tmp_path / "out"
    arguments = (PROGRAM, "sweep", long_trace, *MANY, "--out", out)
    with start_mpirun(2, *arguments) as job:
        wait_for_part(out, job)
        children = subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True).stdout.split()
        os.kill(int(children[-1]), signal.SIGKILL)
        _, err = job.communicate(timeout=PATIENCE)
    assert job.returncode != 0
    assert "signal 9" in err or "Killed" in err
    assert not (out / "replay.csv").exists()
    done = mpirun(3, *arguments)
    assert done.code == 0, done.err
    for table in ("replay.csv", "summary.csv", "headroom.csv"):
        assert (out / table).read_bytes() == (uninterrupted / table).read_bytes()


def test_a_damaged_part_is_one_line(uninterrupted, tmp_path, evictlab, long_trace):
    out = tmp_path / "out"
    command = [PROGRAM, "sweep", str(long_trace), *MANY, "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for_part(out, process)
        process.kill()
    part = next(p for p in (out / "parts").glob("*.json") if p.name != "sweep.json")
    part.write_bytes(part.read_bytes()[:1000])
    done = evictlab(*command[1:])
    assert done.code == 2 and part.name in done.err.splitlines()[-1] and "damaged" in done.err
    part.unlink()
    assert evictlab(*command[1:]).code == 0
    assert (out / "replay.csv").read_bytes() == (uninterrupted / "replay.csv").read_bytes()


def test_finished_tables_are_not_replaced_without_force(swept, evictlab, trace):
    before = (swept / "replay.csv").read_bytes()
    done = evictlab(*sweep_arguments(trace, swept))
    assert done.code == 2 and "--force" in done.err
    assert evictlab(*sweep_arguments(trace, swept, "--force")).code == 0
    assert (swept / "replay.csv").read_bytes() == before


def test_several_traces_must_be_of_one_model_with_different_prompts(tmp_path, evictlab, trace, long_trace):
    for second, what in ((trace, "prompt 'synth-000' is also in"), (long_trace, "another model")):
        done = evictlab("sweep", trace, second, "--policy", "snapkv", "--budget", 64, "--out", tmp_path / "out")
        assert done.code == 2 and what in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_several_traces_are_swept_as_one(tmp_path, evictlab, model):
    for name in ("needle", "kv"):
        done = evictlab("record", "--model", model, "--prompts", model / f"prompts/{name}-512.jsonl", "--limit", 2, "--out",
                        tmp_path / f"{name}.h5")
        assert done.code == 0, done.err
    done = evictlab("sweep", tmp_path / "needle.h5", tmp_path / "kv.h5", "--policy", "snapkv,oracle", "--budget", 64,
                    "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert [r["task"] for r in rows_of(tmp_path / "out/replay.csv")] == ["needle"] * 4 + ["kv"] * 4


def test_policies_are_compared_at_equal_held_slots(tmp_path, evictlab):
    # The layers after dynamickv's last division of the budget hold more than is asked for; snapkv holds just that.
    six_layers = tmp_path / "t.h5"
    assert evictlab("synth", "--out", six_layers, "--prompts", 6, "--layers", 6, "--length", 200, "--window", 32,
                    "--tier", "summary").code == 0
    done = evictlab("sweep", six_layers, "--policy", "snapkv(window=8),dynamickv,protect-only", "--budget", "40,64,128,160",
                    "--headroom", "no", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    rows = {(row["policy"], row["budget_requested"]): row for row in rows_of(tmp_path / "out/summary.csv")}
    runs = {}
    for row in rows_of(tmp_path / "out/replay.csv"):
        runs.setdefault((row["policy"], row["prompt"]), []).append((float(row["slots_held"]), float(row["retained_mass"])))

    def at(policy, prompt, slots):
        near = [mass for held, mass in runs[policy, prompt] if abs(held - slots) <= max(1, 0.01 * max(held, slots))]
        if near:
            return near[0]
        (low, under), (high, over) = (max(run for run in runs[policy, prompt] if run[0] < slots),
                                      min(run for run in runs[policy, prompt] if run[0] > slots))
        return under + (over - under) * math.log(slots / low) / math.log(high / low)

    more = rows["dynamickv", "128"]
    assert float(more["slots_held"]) > 190 and more["slots_compared"] == "128"
    assert float(more["retained_mass"]) > float(rows["snapkv", "128"]["retained_mass"])  # as asked for, it looks better
    assert (more["rank"], rows["snapkv", "128"]["rank"]) == ("2", "1")
    prompts = sorted({prompt for _, prompt in runs})
    equal = sum(at("dynamickv", prompt, 128) for prompt in prompts) / 6
    assert float(more["compared"]) == pytest.approx(equal, abs=1e-12) and equal < float(more["retained_mass"])
    gap = equal - float(rows["snapkv", "128"]["retained_mass"])
    assert float(more["to_best"]) == pytest.approx(gap, abs=1e-12)
    # What it holds at its smallest budget is more than the others' 40, and protect-only never holds more than 36.
    assert rows["dynamickv", "40"]["rank"] == "" and rows["protect-only", "128"]["rank"] == ""
    assert rows["snapkv", "40"]["rank"] == "1"
    assert "not compared" in done.out and "between their budgets" in done.out


def test_one_prompt_has_no_interval(tmp_path, evictlab):
    one = tmp_path / "one.h5"
    assert evictlab("synth", "--out", one, "--prompts", 1, "--layers", 2, "--length", 120, "--future", 4).code == 0
    swept = evictlab("sweep", one, "--policy", "snapkv,random,cake", "--budget", "48,80", "--out", tmp_path / "out")
    assert swept.code == 0, swept.err
    rows = rows_of(tmp_path / "out" / "summary.csv")
    ends = [value for row in rows for key, value in row.items() if key.endswith(("_low", "_high"))]
    assert ends and not any(ends)
    replayed = evictlab("replay", one, "--policy", "snapkv,random", "--budget", 48, "--out", tmp_path / "replay.csv")
    assert replayed.code == 0, replayed.err
    assert "[" not in swept.out + replayed.out and "interval" not in replayed.out
    advised = evictlab("advise", one, "--loss", 0.3, "--out", tmp_path / "advice.json")
    assert advised.code == 0, advised.err
    loss = json.loads((tmp_path / "advice.json").read_text())["loss"]
    assert loss["mean"] <= 0.3 and loss["low"] is None and loss["high"] is None
    assert "[" not in advised.out


def test_the_matrix_has_every_combination_that_can_be(tmp_path, evictlab, trace):
    done = evictlab("sweep", trace, "--matrix", "--budget", 64, "--headroom", "no", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "left out: compose(scorer=none,allocator=adaptive,selector=top): " in done.err
    rows = rows_of(tmp_path / "out/replay.csv")
    policies = {row["parameters"] for row in rows}
    assert len(policies) > 200
    chosen = sorted(policies)[:: len(policies) // 3]
    texts = ",".join(f"compose({p})" for p in chosen)
    again = evictlab("replay", trace, "--policy", texts, "--budget", 64, "--out", tmp_path / "again.csv")
    assert again.code == 0, again.err
    expected = {(r["prompt"], r["parameters"]): r["retained_mass"] for r in rows}
    for row in rows_of(tmp_path / "again.csv"):
        if row["layer"] == "all":
            assert row["retained_mass"] == expected[row["prompt"], row["parameters"]]
    # What reads the future is a ceiling: it neither fills the table that is printed nor ranks as best.
    assert sum("scorer=future" in line or "hindsight" in line for line in done.out.splitlines()) <= 2
    best = [row for row in rows_of(tmp_path / "out/summary.csv") if row["to_best"] == "" and row["role"] == "method" and row["rank"]]
    assert len(best) == 1


def test_tuning_chooses_the_best_on_one_half_and_reports_on_the_other(tmp_path, evictlab, trace):
    done = evictlab("sweep", trace, "--policy", "cake,snapkv", "--tune", "tau1=0.5|1|2,tau2=0.5:2:log3", "--budget", "48,80",
                    "--out", tmp_path / "out")
    assert done.code == 0, done.err
    rows = rows_of(tmp_path / "out/replay.csv")
    prompts = [f"synth-{i:03}" for i in range(6)]
    for tuned in rows_of(tmp_path / "out/tune.csv"):
        assert tuned["policy"] == "cake" and tuned["prompts"] == "3"
        mass = {}
        for row in rows:
            if row["policy"] == "cake" and row["budget_requested"] == tuned["budget_requested"]:
                mass.setdefault(row["parameters"], {})[row["prompt"]] = float(row["retained_mass"])
        assert len(mass) == 10  # 3 x 3, and the policy as given, which leaves both to the model
        on_half = {parameters: sum(own[p] for p in prompts[::2]) / 3 for parameters, own in mass.items()}
        assert on_half[tuned["parameters"]] == max(on_half.values())
        assert float(tuned["retained_mass_chosen_on"]) == pytest.approx(max(on_half.values()))
        told = sum(mass[tuned["parameters"]][p] for p in prompts[1::2]) / 3
        assert float(tuned["retained_mass"]) == pytest.approx(told)
    assert len(rows_of(tmp_path / "out/tune.csv")) == 2


@pytest.mark.parametrize("grid", ["tau1", "tau1=", "tau1=1:2", "tau1=2:1:log3", "tau1=0:1:log3", "tau1=x|y", "nope=1|2",
                                  "tau1=1|2,tau1=3", "tau1=0.1:9:lin4096,tau2=1|2|3|4", ",", "tau1=1:2:log1",
                                  "", "=1", "tau1=1|", "tau1=1=2", "tau1=-1", "tau1=1:2:cub3", "tau1=1:1:lin3",
                                  "tau1=1:inf:lin3", "tau1=nan:1:lin3", "tau1=1:2:lin3:4"])
def test_a_grid_that_makes_no_sense_is_one_line(tmp_path, evictlab, trace, grid):
    done = evictlab("sweep", trace, "--policy", "cake", "--tune", grid, "--budget", 48, "--out", tmp_path / "out")
    assert done.code == 2 and done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_budgets_below_what_is_protected_are_counted_and_refused_when_there_are_no_others(tmp_path, evictlab, trace):
    arguments = ("sweep", trace, "--policy", "snapkv,streaming-llm", "--out", tmp_path / "out", "--budget")
    done = evictlab(*arguments, "8,16,64")
    assert done.code == 0, done.err
    assert "left out: 2 of 6 combinations" in done.err  # snapkv protects 32
    assert {r["status"] for r in rows_of(tmp_path / "out/replay.csv") if r["policy"] == "snapkv"} == {"infeasible", "ok"}
    done = evictlab("sweep", trace, "--policy", "snapkv", "--budget", "8,16", "--out", tmp_path / "none")
    assert done.code == 2 and "raise --budget" in done.err.splitlines()[-1]
    assert not list((tmp_path / "none").glob("*"))


def test_the_manifest_tells_what_was_swept(swept):
    manifest = json.loads((swept / "replay.manifest.json").read_text())
    assert len(manifest["policies"]) == 8 and manifest["budgets"][-1] == "0.4" and manifest["prompts"] == 6


def test_without_headroom_the_other_tables_are_the_same(swept, tmp_path, evictlab, trace):
    assert evictlab(*sweep_arguments(trace, tmp_path / "out", "--headroom", "no")).code == 0
    assert not (tmp_path / "out" / "headroom.csv").exists()
    for table in set(TABLES) - {"headroom.csv"}:
        assert (tmp_path / "out" / table).read_bytes() == (swept / table).read_bytes(), table


def test_a_trace_in_two_files_is_swept_as_the_whole(swept, tmp_path, evictlab, trace):
    files = []
    for name, wanted in (("first.h5", range(2)), ("second.h5", range(2, 6))):
        files.append(shutil.copy(trace, tmp_path / name))
        with h5py.File(files[-1], "a") as file:
            for number in set(range(6)) - set(wanted):
                del file[f"prompts/synth-{number:03}"]
            seal(file)
    _, _, *options = sweep_arguments(trace, tmp_path / "out")
    done = evictlab("sweep", *files, *options)
    assert done.code == 0, done.err
    assert_same_tables(swept, tmp_path / "out")


def test_every_second_prompt_is_of_its_task(tmp_path, evictlab, trace):
    # Tasks a b b a a b: parameters are chosen on prompts 0 and 4 of a and 2 of b, and judged on 3 of a, 1 and 5 of b.
    two_tasks = shutil.copy(trace, tmp_path / "tasks.h5")
    with h5py.File(two_tasks, "a") as file:
        for number, task in enumerate("abbaab"):
            file[f"prompts/synth-{number:03}"].attrs["task"] = task
        seal(file)
    done = evictlab("sweep", two_tasks, "--policy", "snapkv", "--tune", "window=8|16", "--budget", "40,64", "--out",
                    tmp_path / "out")
    assert done.code == 0, done.err
    rows = rows_of(tmp_path / "out/replay.csv")
    tuned = rows_of(tmp_path / "out/tune.csv")
    assert [row["budget_requested"] for row in tuned] == ["40", "64"]
    for row in tuned:
        mass = {}
        for other in rows:
            if other["budget_requested"] == row["budget_requested"]:
                mass.setdefault(other["parameters"], []).append(float(other["retained_mass"]))
        chosen_on = {parameters: (own[0] + own[4] + own[2]) / 3 for parameters, own in mass.items()}
        assert len(mass) == 3 and chosen_on[row["parameters"]] == pytest.approx(max(chosen_on.values()), abs=1e-12)
        assert float(row["retained_mass_chosen_on"]) == pytest.approx(max(chosen_on.values()), abs=1e-12)
        given, = (own for parameters, own in mass.items() if "window=32" in parameters)
        own = mass[row["parameters"]]
        assert float(row["retained_mass"]) == pytest.approx((own[3] + own[1] + own[5]) / 3, abs=1e-12)
        assert float(row["gain"]) == pytest.approx(sum(own[i] - given[i] for i in (1, 3, 5)) / 3, abs=1e-12)
        assert float(row["gain_low"]) - 1e-12 <= float(row["gain"]) <= float(row["gain_high"]) + 1e-12
        assert (row["prompts_chosen_on"], row["prompts"], row["slots_held"]) == ("3", "3", row["budget_requested"])
    # The ranking is of the policies as given: what was tried is not in it.
    assert all("window=32" in row["parameters"] for row in rows_of(tmp_path / "out/summary.csv"))


@pytest.mark.parametrize("arguments, saying", [
    (("--policy", "snapkvv", "--budget", "40"), "did you mean 'snapkv'"),
    (("--policy", "snapkv", "--budget", "4q"), "budget '4q'"),
    (("--policy", "snapkv", "--budget", "16:8:log4"), "16:8:log4"),
    (("--policy", "snapkv"), "--budget is missing"),
    (("--budget", "40"), "--policy is missing"),
    (("--policy", "snapkv", "--budget", "40", "--headroom", "maybe"), "--headroom takes one of yes, no"),
    (("--policy", "snapkv(window=64)", "--budget", "80"), "recorded 32"),
    (("--policy", "snapkv", "--budget", "40", "--tune", "tau1=1|2"), "no policy has all parameters"),
    (("--policy", "cake", "--budget", "40", "--tune", "tau1=1|2,axis=kv"), "no policy has all parameters"),
])
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, evictlab, trace, arguments, saying):
    done = evictlab("sweep", trace, "--out", tmp_path / "out", *arguments)
    assert done.code == 2 and done.err.count("\n") == 1 and saying in done.err, done.err
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_left_alone(tmp_path, evictlab, trace):
    (tmp_path / "file").write_text("mine")
    done = evictlab("sweep", trace, "--policy", "snapkv", "--budget", "40", "--out", tmp_path / "file")
    assert done.code == 2 and done.err.count("\n") == 1 and "a file has that name" in done.err
    assert (tmp_path / "file").read_text() == "mine"
