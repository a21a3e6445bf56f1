"""A calibration that validate learns, and what other commands foretell with it."""

import csv
import json

import pytest

from conftest import MODEL

POLICIES = "snapkv,h2o,knorm,streaming-llm,random,oracle"


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def lines_of(name, count):
    return (MODEL / "prompts" / f"{name}.jsonl").read_text().splitlines()[:count]


@pytest.fixture(scope="module")
def live(evictlab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    (folder / "p.jsonl").write_text("\n".join(lines_of("needle-512", 6) + lines_of("kv-512", 6)) + "\n")
    done = evictlab("validate", "--model", MODEL, "--prompts", folder / "p.jsonl", "--policy", POLICIES, "--budget", "64,128",
                    "--teacher-forced", "--out", folder / "out")
    assert done.code == 0, done.err
    assert "foretold means over documents that the map did not see miss the live ones" in done.out
    return folder / "out"


@pytest.fixture(scope="module")
def trace(evictlab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace")
    (folder / "p.jsonl").write_text("\n".join(lines_of("needle-512", 2) + lines_of("kv-512", 2)) + "\n")
    done = evictlab("record", "--model", MODEL, "--prompts", folder / "p.jsonl", "--tier", "full", "--out", folder / "t.h5")
    assert done.code == 0, done.err
    return folder / "t.h5"


def test_the_calibration_says_what_it_was_learned_from(live):
    learned = json.loads((live / "calibration.json").read_text())
    # Two of the prompts hide needles in the same words, which makes them one document.
    assert learned["covers"]["prompts"] == 12 and learned["covers"]["documents"] == 11 and learned["covers"]["budgets"] == ["64", "128"]
    assert set(learned["covers"]["policies"]) == set(POLICIES.split(","))
    assert learned["map"]["exponent"] > 0 and learned["held_out"]["median_factor"] >= 1
    kinds = {(row["level"], row["runs"]) for row in rows(live / "prediction_errors.csv")}
    assert ("mean", "policies left out") in kinds and ("prompt", "ceilings") in kinds


def test_runs_are_foretold_in_order_of_the_measure_and_the_full_cache_at_nothing(evictlab, live, trace, tmp_path):
    done = evictlab("replay", trace, "--policy", "full,snapkv,h2o,knorm,random", "--budget", "64,128,160", "--calibration",
                    live / "calibration.json", "--out", tmp_path / "replay.csv")
    assert done.code == 0, done.err
    assert "KL divergence foretold" in done.out
    measure = json.loads((live / "calibration.json").read_text())["measure"]
    table = rows(tmp_path / "replay.csv")
    assert all(row["predicted_kl"] == "" for row in table if row["layer"] != "all")
    runs = [row for row in table if row["layer"] == "all"]
    for row in runs:
        low, kl, high = (float(row[name]) for name in ("predicted_kl_low", "predicted_kl", "predicted_kl_high"))
        assert low <= kl <= high
        if row["policy"] == "full":
            assert low == kl == high == 0
        else:
            assert kl > 0 and row["calibration"] == ("extrapolated" if row["budget_requested"] == "160" else "learned")
    lost = [(1 - float(row[measure]) if measure.endswith("mass") else float(row[measure]), float(row["predicted_kl"])) for row in runs]
    assert [kl for _, kl in sorted(lost)] == sorted(kl for _, kl in lost)


def test_a_divergence_can_be_the_target(evictlab, live, trace, tmp_path):
    done = evictlab("advise", trace, "--kl", 1.0, "--calibration", live / "calibration.json", "--policy", "snapkv,h2o", "--out",
                    tmp_path / "b.json")
    assert done.code == 0, done.err
    advised = json.loads((tmp_path / "b.json").read_text())
    assert advised["measure"] == "kl" and advised["loss"]["high"] <= 1.0
    without = evictlab("advise", trace, "--kl", 1.0)
    assert without.code == 2 and "calibration.json" in without.err and without.err.count("\n") == 1


def test_another_model_and_damaged_files_are_refused_in_one_line(evictlab, live, trace, tmp_path):
    good = json.loads((live / "calibration.json").read_text())
    other = good | {"measure": "exact_loss", "model_fingerprint": "xxh3-128:0"}
    for name, text in {"other": json.dumps(other), "empty": "", "cut": json.dumps(good)[:200], "list": "[]"}.items():
        path = tmp_path / f"{name}.json"
        path.write_text(text)
        for command in (("replay", "--policy", "snapkv", "--budget", 64, "--out", tmp_path / "r.csv"), ("sweep", "--policy", "snapkv",
                        "--budget", 64, "--out", tmp_path / "s"), ("report", "--out", tmp_path / "r.html")):
            done = evictlab(command[0], trace, *command[1:], "--calibration", path)
            assert done.code == 2 and done.err.count("\n") == 1 and path.name in done.err, done.err
    unit_free = good | {"measure": "relative_squared_error", "model_fingerprint": "xxh3-128:0"}
    (tmp_path / "free.json").write_text(json.dumps(unit_free))
    done = evictlab("replay", trace, "--policy", "snapkv", "--budget", 64, "--calibration", tmp_path / "free.json", "--out",
                    tmp_path / "free.csv")
    assert done.code == 0, done.err
    for row in rows(tmp_path / "free.csv"):
        if row["layer"] == "all":
            assert row["calibration"] == "default" and row["predicted_kl_low"] == ""


@pytest.mark.parametrize("place, value", [(("map", "log_scale"), 800), (("map", "exponent"), 200), (("map", "saturation"), 1e308),
                                          (("prompt_factor",), 1e308)])
def test_numbers_beyond_what_is_learned_are_refused(evictlab, live, trace, tmp_path, place, value):
    calibration = json.loads((live / "calibration.json").read_text())
    target = calibration
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    (tmp_path / "c.json").write_text(json.dumps(calibration))
    done = evictlab("replay", trace, "--policy", "snapkv", "--budget", 64, "--calibration", tmp_path / "c.json", "--out", tmp_path / "r.csv")
    assert done.code == 2 and place[-1] in done.err and done.err.count("\n") == 1, done.err


def test_what_a_calibration_has_not_learned_is_not_called_learned(evictlab, live, trace, tmp_path):
    done = evictlab("replay", trace, "--policy", "h2o(decode=yes),snapkv(evict_layer=3),h2o", "--budget", 64, "--calibration",
                    live / "calibration.json", "--out", tmp_path / "r.csv")
    assert done.code == 0, done.err
    kinds = {(row["policy"], "decode=yes" in row["parameters"]): row["calibration"] for row in rows(tmp_path / "r.csv") if row["layer"] == "all"}
    assert kinds == {("h2o", True): "extrapolated", ("snapkv", False): "extrapolated", ("h2o", False): "learned"}


def test_of_some_layers_nothing_is_foretold_and_nothing_learned(evictlab, live, tmp_path):
    (tmp_path / "p.jsonl").write_text("\n".join(lines_of("needle-512", 2) + lines_of("kv-512", 4)) + "\n")
    assert evictlab("record", "--model", MODEL, "--prompts", tmp_path / "p.jsonl", "--tier", "full", "--layers", "1,3", "--out",
                    tmp_path / "t.h5").code == 0
    done = evictlab("replay", tmp_path / "t.h5", "--policy", "snapkv,h2o,knorm", "--budget", 64, "--calibration", live / "calibration.json",
                    "--out", tmp_path / "r.csv")
    assert done.code == 0 and "no KL is foretold" in done.err and "every layer" in done.err
    assert {row["predicted_kl"] for row in rows(tmp_path / "r.csv")} == {""}
    done = evictlab("validate", "--model", MODEL, "--prompts", tmp_path / "p.jsonl", "--policy", "snapkv,h2o,knorm", "--budget", 64,
                    "--teacher-forced", "--replay", tmp_path / "r.csv", "--out", tmp_path / "v")
    assert done.code == 0 and "no calibration is learned" in done.err, done.err
    assert not (tmp_path / "v" / "calibration.json").exists()


def test_a_run_that_was_refused_leaves_nothing_that_refuses_the_next(evictlab, trace, tmp_path):
    wrong = ("sweep", trace, "--policy", "snapkv(evict_layer=99)", "--budget", 64, "--out", tmp_path / "s")
    assert evictlab(*wrong).code == 2
    assert not (tmp_path / "s").exists()
    assert evictlab("sweep", trace, "--policy", "snapkv", "--budget", 64, "--out", tmp_path / "s").code == 0


def test_the_report_leads_with_what_is_foretold_by_task(evictlab, live, trace, tmp_path):
    done = evictlab("report", trace, "--policy", "snapkv,h2o,knorm,random", "--budget", "64,128", "--calibration",
                    live / "calibration.json", "--out", tmp_path / "r.html")
    assert done.code == 0, done.err
    page = (tmp_path / "r.html").read_text()
    assert "of KL divergence (90 % interval" in page and "On its worst task" in page


def test_the_report_of_tables_foretells_by_the_calibration_beside_them(evictlab, live, trace, tmp_path):
    tables = tmp_path / "tables"
    assert evictlab("replay", trace, "--policy", "snapkv,h2o,knorm", "--budget", "64,128", "--out", tables / "replay.csv").code == 0
    page = tmp_path / "r.html"
    assert evictlab("report", tables, "--out", page).code == 0
    assert "of KL divergence" not in page.read_text()
    (tables / "calibration.json").write_text((live / "calibration.json").read_text())
    assert evictlab("report", tables, "--out", page, "--force").code == 0
    beside = page.read_text()
    assert "of KL divergence (90 % interval" in beside
    (tables / "calibration.json").unlink()
    assert evictlab("report", tables, "--calibration", live / "calibration.json", "--out", page, "--force").code == 0
    answer = beside[beside.index("<h2"):beside.index("Model and recording")]
    assert answer in page.read_text()
    # The same as what a replay with the calibration says.
    assert evictlab("replay", trace, "--policy", "snapkv,h2o,knorm", "--budget", "64,128", "--calibration", live / "calibration.json",
                    "--out", tables / "replay.csv", "--force").code == 0
    assert evictlab("report", tables, "--calibration", live / "calibration.json", "--out", page, "--force").code == 0
    assert answer in page.read_text()
    # Without the trace the prompts' lengths are not known.
    (tables / "replay.manifest.json").unlink()
    done = evictlab("report", tables, "--calibration", live / "calibration.json", "--out", page, "--force")
    assert done.code == 2 and "--calibration needs the trace" in done.err.splitlines()[-1], done.err


def test_documents_travel_from_the_prompts_to_the_tables(evictlab, tmp_path):
    lines = [json.dumps(json.loads(line) | {"document": f"book-{place // 2}"}) for place, line in enumerate(lines_of("needle-512", 4))]
    (tmp_path / "p.jsonl").write_text("\n".join(lines) + "\n")
    assert evictlab("record", "--model", MODEL, "--prompts", tmp_path / "p.jsonl", "--out", tmp_path / "t.h5").code == 0
    assert evictlab("replay", tmp_path / "t.h5", "--policy", "snapkv", "--budget", 64, "--out", tmp_path / "r.csv").code == 0
    assert {row["document"] for row in rows(tmp_path / "r.csv")} == {"book-0", "book-1"}


# --- racing what replay cannot separate -------------------------------------------------------------


def race(evictlab, live, out, *more):
    return evictlab("validate", "--undecided", "--calibration", live / "calibration.json", "--model", MODEL, "--prompts", live.parent / "p.jsonl",
                    "--policy", POLICIES, "--budget", "64,128", "--teacher-forced", "--out", out, *more)


@pytest.fixture(scope="module")
def raced(evictlab, live, tmp_path_factory):
    out = tmp_path_factory.mktemp("raced") / "out"
    done = race(evictlab, live, out, "--threads", 1)
    assert done.code == 0, done.err
    return out, done


def test_a_race_runs_methods_alone_and_says_how_many_runs_it_saved(raced, live):
    out, done = raced
    assert {path.name for path in out.iterdir()} == {"validate.csv", "race.csv", "replay.csv", "spans.csv", "validate.manifest.json"}
    ran = rows(out / "validate.csv")
    manifest = json.loads((out / "validate.manifest.json").read_text())
    assert len(ran) == manifest["live_runs"] and f"{len(ran)} live runs done" in done.out
    assert {row["policy"] for row in ran} <= {"snapkv", "h2o", "knorm", "streaming-llm"}
    assert f"of the {manifest['live_runs_of_all']} that all these methods" in done.out
    # What did run is what validate finds without a race.
    whole = {(row["prompt"], row["policy"], row["budget_requested"]): row["kl"] for row in rows(live / "validate.csv")}
    assert all(whole[row["prompt"], row["policy"], row["budget_requested"]] == row["kl"] for row in ran)


def test_every_pair_of_a_race_is_decided_by_replay_or_live_or_open(raced):
    pairs = rows(raced[0] / "race.csv")
    assert {row["decided_by"] for row in pairs} <= {"replay", "live", "open"}
    for row in pairs:
        low, lead, high = (float(row[name]) for name in ("lead_low", "lead", "lead_high"))
        assert low <= high and lead >= 0 and (low > 0) == (row["decided_by"] != "open")
    for budget in ("64", "128"):
        beaten = {row["other_policy"] for row in pairs if row["budget_requested"] == budget and row["decided_by"] != "open"}
        assert len(beaten) < 4  # somebody is left


def test_a_race_does_not_depend_on_the_number_of_threads(evictlab, live, raced, tmp_path):
    done = race(evictlab, live, tmp_path / "out", "--threads", 3)
    assert done.code == 0, done.err
    for name in ("validate.csv", "race.csv", "replay.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (raced[0] / name).read_bytes(), name


@pytest.mark.parametrize("more, saying", [
    (("--policy", "random,oracle"), "there are no methods to race"),
    (("--policy", "snapkv,random"), "there is only one method to race"),
    (("--budget", "2"), "every policy protects more than every budget holds"),
])
def test_a_race_without_methods_is_refused_in_a_line(evictlab, live, tmp_path, more, saying):
    arguments = dict(zip(("--policy", "--budget"), ("snapkv,h2o", "64"))) | dict([more])
    done = evictlab("validate", "--undecided", "--calibration", live / "calibration.json", "--model", MODEL, "--prompts", live.parent / "p.jsonl",
                    "--limit", 1, "--teacher-forced", "--out", tmp_path / "out", *[each for pair in arguments.items() for each in pair])
    assert done.code == 2 and saying in done.err and done.err.count("\n") == 1, done.err
    assert not (tmp_path / "out").exists()


def test_gradients_put_their_measures_into_the_calibration_and_are_those_of_a_recording(evictlab, tmp_path):
    (tmp_path / "p.jsonl").write_text("\n".join(lines_of("needle-512", 3)) + "\n")
    model = ("--model", MODEL, "--prompts", tmp_path / "p.jsonl", "--gradients", 2)
    runs = ("--policy", "full,snapkv,h2o,knorm", "--budget", "64")
    done = evictlab("validate", *model, *runs, "--teacher-forced", "--out", tmp_path / "live")
    assert done.code == 0, done.err
    measures = {row["measure"] for row in rows(tmp_path / "live" / "calibration.csv")}
    assert {"fisher_loss", "fisher_kl", "squared_error"} <= measures

    assert evictlab("record", *model, "--tier", "full", "--dtype", "float32", "--out", tmp_path / "t.h5").code == 0
    assert evictlab("replay", tmp_path / "t.h5", *runs, "--out", tmp_path / "recorded" / "replay.csv").code == 0
    ours, theirs = ([row for row in rows(tmp_path / name / "replay.csv") if row["layer"] == "all"] for name in ("live", "recorded"))
    assert len(ours) == len(theirs) == 12
    for one, other in zip(ours, theirs):
        assert (one["prompt"], one["policy"]) == (other["prompt"], other["policy"])
        for measure in ("fisher_loss", "fisher_kl", "fisher_kl_error"):
            assert float(one[measure]) == pytest.approx(float(other[measure]), rel=1e-3)
            assert (float(one[measure]) == 0) == (one["policy"] == "full")
