"""evictlab advise from outside: what it promises, and its budgets as an engine would load them."""

import csv
import json

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
        told = advice(evictlab, trace, tmp_path / f"{loss}.json", "--loss", loss)
        assert told["loss"]["low"] <= told["loss"]["mean"] <= told["loss"]["high"] <= loss
        bytes_needed.append(told["bytes"])
    assert bytes_needed == sorted(bytes_needed)


def test_its_budgets_are_replayed_as_they_are(tmp_path, evictlab, trace):
    told = advice(evictlab, trace, tmp_path / "b.json", "--loss", 0.2, "--policy", "ada-snapkv")
    assert len(told["layers"]) == 4 and all(len(layer) == 2 for layer in told["layers"])
    assert sum(map(sum, told["layers"])) / 8 == pytest.approx(told["slots"], abs=0.5)
    done = evictlab("replay", trace, "--budgets", tmp_path / "b.json", "--policy",
                    "compose(scorer=window,allocator=given),ada-snapkv", "--budget", told["budget"], "--out",
                    tmp_path / "replay.csv")
    assert done.code == 0, done.err
    losses = {}
    with open(tmp_path / "replay.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["layer"] == "all":
                losses.setdefault(row["policy"], []).append(1 - float(row["retained_mass"]))
    assert sum(losses["ada-snapkv"]) / 6 == pytest.approx(told["loss"]["mean"])
    assert sum(losses["compose"]) / 6 == pytest.approx(told["loss_with_these_budgets"]["mean"])


def test_within_bytes_it_names_the_policy_that_loses_least(tmp_path, evictlab, trace):
    told = advice(evictlab, trace, tmp_path / "b.json", "--bytes", "60KiB")
    assert told["bytes"] <= 60 * 1024
    done = evictlab("replay", trace, "--policy", "streaming-llm,h2o,tova,snapkv,pyramidkv,ada-snapkv,cake", "--budget",
                    "60KiB", "--out", tmp_path / "replay.csv")
    assert done.code == 0, done.err
    sums = {}
    with open(tmp_path / "replay.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["layer"] == "all" and float(row["bytes"]) <= 60 * 1024:
                sums.setdefault(row["policy"], []).append(1 - float(row["retained_mass"]))
    assert told["loss"]["mean"] <= min(sum(own) / 6 for own in sums.values() if len(own) == 6) + 1e-12


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
