"""evictlab advise from outside: what it promises, and its budgets as an engine would load them."""

import csv
import json
import re

import pytest


@pytest.fixture(scope="module")
def trace(tmp_path_factory, evictlab):
    path = tmp_path_factory.mktemp("trace") / "six.h5"
    done = evictlab("synth", "--out", path, "--prompts", 6, "--layers", 4, "--length", 200, "--future", 8, "--window", 32,
                    "--tier", "summary")
    assert done.code == 0, done.err
    return path


def advice(evictlab, trace, path, *arguments):
    done = evictlab("advise", trace, *arguments, "--out", path)
    assert done.code == 0, done.err
    return json.loads(path.read_text())


def test_what_it_names_meets_the_target_with_its_interval(tmp_path, evictlab, trace):
    bytes_needed = []
    for loss in (0.3, 0.1, 0.03):
        advised = advice(evictlab, trace, tmp_path / f"{loss}.json", "--loss", loss)
        assert advised["loss"]["low"] <= advised["loss"]["mean"] <= advised["loss"]["high"] <= loss
        bytes_needed.append(advised["bytes"])
    assert bytes_needed == sorted(bytes_needed)


def test_its_budgets_are_replayed_as_they_are(tmp_path, evictlab, trace):
    advised = advice(evictlab, trace, tmp_path / "b.json", "--loss", 0.2, "--policy", "ada-snapkv")
    assert len(advised["layers"]) == 4 and all(len(layer) == 2 for layer in advised["layers"])
    assert sum(map(sum, advised["layers"])) / 8 == pytest.approx(advised["slots"], abs=0.5)
    done = evictlab("replay", trace, "--budgets", tmp_path / "b.json", "--policy",
                    "compose(scorer=window,allocator=given),ada-snapkv", "--budget", advised["budget"], "--out",
                    tmp_path / "replay.csv")
    assert done.code == 0, done.err
    losses = {}
    with open(tmp_path / "replay.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["layer"] == "all":
                losses.setdefault(row["policy"], []).append(1 - float(row["retained_mass"]))
    assert sum(losses["ada-snapkv"]) / 6 == pytest.approx(advised["loss"]["mean"])
    assert sum(losses["compose"]) / 6 == pytest.approx(advised["loss_with_these_budgets"]["mean"])


def test_within_bytes_it_names_the_policy_that_loses_least(tmp_path, evictlab, trace):
    advised = advice(evictlab, trace, tmp_path / "b.json", "--bytes", "60KiB")
    assert advised["bytes"] <= 60 * 1024
    done = evictlab("replay", trace, "--policy", "streaming-llm,h2o,tova,snapkv,pyramidkv,ada-snapkv,cake", "--budget",
                    "60KiB", "--out", tmp_path / "replay.csv")
    assert done.code == 0, done.err
    sums = {}
    with open(tmp_path / "replay.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["layer"] == "all" and float(row["bytes"]) <= 60 * 1024:
                sums.setdefault(row["policy"], []).append(1 - float(row["retained_mass"]))
    assert advised["loss"]["mean"] <= min(sum(own) / 6 for own in sums.values() if len(own) == 6) + 1e-12


@pytest.mark.parametrize("arguments, what", [
    ((), "--loss or --bytes"),
    (("--loss", 0.1, "--bytes", "1MiB"), "--loss or --bytes"),
    (("--loss", 2), "0 to 1"),
    (("--bytes", 64), "such as 64MiB"),
    (("--bytes", "100B"), "raise --bytes"),
    (("--loss", 0.1, "--measure", "output"), "--tier full"),
    (("--loss", 0.1, "--policy", "oracle"), "no engine can"),
    (("--loss", 0.01, "--policy", "protect-only"), "raise --loss"),
])
def test_what_cannot_be_advised_is_said_in_one_line(tmp_path, evictlab, trace, arguments, what):
    done = evictlab("advise", trace, *arguments, "--out", tmp_path / "b.json")
    assert done.code == 2, done.out
    assert what in done.err.splitlines()[-1] and done.err.splitlines()[-1].startswith("evictlab: ")
    assert not (tmp_path / "b.json").exists()


def test_a_budget_of_one_slot_less_loses_too_much(tmp_path, evictlab, trace):
    for loss in (0.4, 0.2, 0.1):
        advised = advice(evictlab, trace, tmp_path / f"{loss}.json", "--loss", loss, "--policy", "snapkv(window=16)")
        slots = int(advised["budget"])
        assert advised["slots"] == slots and advised["bytes"] == 1024 * slots  # 4 layers, 2 heads, 2 * 16 floats
        less = advice(evictlab, trace, tmp_path / f"less-{loss}.json", "--bytes", f"{slots - 1}KiB", "--policy",
                      "snapkv(window=16)")
        assert less["slots"] == slots - 1 and less["loss"]["high"] > loss


@pytest.mark.parametrize("policy, budgets_differ, by_prompt",
                         [("snapkv", False, False), ("pyramidkv", True, False), ("ada-snapkv", True, True)])
def test_every_head_holds_what_the_advice_says(tmp_path, evictlab, trace, policy, budgets_differ, by_prompt):
    advised = advice(evictlab, trace, tmp_path / "b.json", "--loss", 0.2, "--policy", f"{policy}(window=16)")
    done = evictlab("replay", trace, "--budgets", tmp_path / "b.json", "--policy",
                    "compose(scorer=window,window=16,allocator=given)", "--budget", advised["budget"], "--out",
                    tmp_path / "replay.csv")
    assert done.code == 0, done.err
    with open(tmp_path / "budgets.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 4 * 2
    assert all(int(row["slots"]) == advised["layers"][int(row["layer"])][int(row["head"])] for row in rows)
    assert (len({slots for heads in advised["layers"] for slots in heads}) > 1) == budgets_differ
    # Budgets that are the same for every prompt lose nothing by being fixed.
    assert (advised["loss_with_these_budgets"] != advised["loss"]) == by_prompt


def test_every_policy_printed_holds_at_most_the_bytes_and_the_first_is_advised(tmp_path, evictlab, trace):
    for kib in (20, 64, 120):
        done = evictlab("advise", trace, "--bytes", f"{kib}KiB", "--out", tmp_path / f"{kib}.json")
        assert done.code == 0, done.err
        table = done.out.partition("\nAdvice\n")[0]
        rows = re.findall(r"([\d.]+) KiB +[\d.]+ % +([\d.]+) \[", table)
        assert rows and all(float(size) <= kib for size, _ in rows)
        losses = [float(loss) for _, loss in rows]
        advised = json.loads((tmp_path / f"{kib}.json").read_text())
        assert losses == sorted(losses) and advised["loss"]["mean"] == pytest.approx(losses[0], abs=5e-5)


def test_losses_of_the_outputs_meet_the_target_too(tmp_path, evictlab, small_trace):
    for loss in (0.5, 0.1):
        advised = advice(evictlab, small_trace, tmp_path / f"{loss}.json", "--loss", loss, "--measure", "output",
                      "--policy", "snapkv,h2o,tova")
        assert advised["measure"] == "output" and advised["loss"]["high"] <= loss


def test_within_bytes_counts_what_is_held_not_what_was_asked(tmp_path, evictlab):
    # The layers after dynamickv's last division of the budget hold more than is asked for.
    six_layers = tmp_path / "t.h5"
    made = evictlab("synth", "--out", six_layers, "--prompts", 2, "--layers", 6, "--length", 200, "--window", 32, "--tier", "summary")
    assert made.code == 0, made.err
    advised = advice(evictlab, six_layers, tmp_path / "b.json", "--bytes", "200KiB", "--policy", "dynamickv")
    assert 160 * 1024 < advised["bytes"] <= 200 * 1024
    assert advised["budget"] != "80KiB" and int(advised["budget"]) < advised["slots"]


@pytest.mark.parametrize("arguments", [("--loss", 2), ("--loss", -0.1), ("--loss", "nan"), ("--loss", "little"),
                                       ("--bytes", 64), ("--bytes", 0.5), ("--bytes", "32KiB,64KiB"),
                                       ("--bytes", "16:64:log3"), ("--loss", 0.1, "--policy", "snapkvv")])
def test_a_wrong_target_is_said_before_anything_else(evictlab, trace, arguments):
    done = evictlab("advise", trace, *arguments)
    assert done.code == 2 and done.err.count("\n") == 1 and not done.out, done.err


def test_policies_that_read_the_future_are_left_out(evictlab, trace):
    done = evictlab("advise", trace, "--loss", 0.1, "--policy", "oracle,snapkv")
    assert done.code == 0 and "left out: policy 'oracle'" in done.err and "oracle" not in done.out


def test_an_existing_file_is_kept_without_force(tmp_path, evictlab, trace):
    (tmp_path / "b.json").write_text("mine")
    done = evictlab("advise", trace, "--loss", 0.2, "--out", tmp_path / "b.json")
    assert done.code == 2 and done.err.count("\n") == 1 and "--force" in done.err
    assert (tmp_path / "b.json").read_text() == "mine"
