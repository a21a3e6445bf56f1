"""evictlab fit: a policy compiled from a recording, and what can be done with it."""

import csv
import json

import pytest

from conftest import MODEL


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trace(evictlab, tmp_path_factory):
    path = tmp_path_factory.mktemp("fit") / "trace.h5"
    done = evictlab("synth", "--length", 200, "--layers", 4, "--prompts", 4, "--future", 8, "--out", path)
    assert done.code == 0, done.err
    return path


@pytest.fixture(scope="module")
def fitted(evictlab, trace):
    out = trace.parent / "fitted"
    done = evictlab("fit", trace, "--policy", "h2o,snapkv", "--budget", "24,48", "--out", out)
    assert done.code == 0, done.err
    assert "4 documents and 1 task, 200" in done.out and "24 slots" in done.out, done.out
    return out


def replay(evictlab, trace, out, policy, budget="24,48"):
    return evictlab("replay", trace, "--policy", policy, "--budget", budget, "--out", out)


def test_a_fitted_policy_holds_what_is_asked_for_and_loses_less_than_its_scorers(evictlab, trace, fitted, tmp_path):
    done = replay(evictlab, trace, tmp_path / "r.csv", f"fitted(file={fitted}/policy.json),h2o,snapkv", "24,48,150")
    assert done.code == 0, done.err
    loss = {}
    for row in rows(tmp_path / "r.csv"):
        if row["layer"] != "all":
            continue
        if row["policy"] == "fitted":
            assert float(row["slots_held"]) == float(row["budget_requested"])
            assert "digest=" in row["parameters"]
        key = row["policy"], row["budget_requested"]
        if row["status"] == "ok":
            loss[key] = loss.get(key, 0) + float(row["output_relative_squared_error"])
    # Of published policies some protect more than 24 slots.
    assert loss["fitted", "48"] < min(loss["h2o", "48"], loss["snapkv", "48"])
    assert ("fitted", "24") in loss


def test_the_tables_say_what_was_compared_and_what_every_head_gets(fitted):
    trials = rows(fitted / "fit.csv")
    assert {row["level"] for row in trials} == {"model", "layer", "head"}
    assert {row["budget_requested"] for row in trials} == {"24", "48"}
    chosen = [row for row in trials if row["chosen"] == "yes" and row["task"] == "all"]
    assert len(chosen) == 2
    kept = json.loads((fitted / "policy.json").read_text())["fit"]["held_out_loss"]
    assert [float(row["loss"]) for row in chosen] == pytest.approx(kept)
    budgets = rows(fitted / "fit_budgets.csv")
    assert sum(int(row["positions"]) for row in budgets if row["budget_requested"] == "24") == 24 * 4 * 2


def test_the_policy_file_is_the_same_for_any_number_of_threads(evictlab, trace, fitted, tmp_path):
    done = evictlab("fit", trace, "--policy", "h2o,snapkv", "--budget", "24,48", "--threads", 1, "--out", tmp_path / "one")
    assert done.code == 0, done.err
    assert (tmp_path / "one" / "policy.json").read_bytes() == (fitted / "policy.json").read_bytes()


def test_paged_budgets_are_whole_blocks_and_padded_ones_alike_in_a_layer(evictlab, trace, tmp_path):
    for how in ("paged", "padded"):
        done = evictlab("fit", trace, "--policy", "h2o", "--budget", "48", "--bytes-as", how, "--out", tmp_path / how)
        assert done.code == 0, done.err
        done = replay(evictlab, trace, tmp_path / f"{how}.csv", f"fitted(file={tmp_path}/{how}/policy.json)", "48")
        assert done.code == 0, done.err
        counts = {}
        for row in rows(tmp_path / "budgets.csv"):
            counts.setdefault((row["prompt"], row["layer"]), []).append(float(row["slots"]))
        (tmp_path / f"{how}.csv").unlink()
        for path in tmp_path.glob("*.csv"):
            path.unlink()
        for path in tmp_path.glob("*.manifest.json"):
            path.unlink()
        for held in counts.values():
            if how == "paged":
                assert all(count % 16 == 0 or count == 200 for count in held)
            else:
                assert len(set(held)) == 1


def test_a_fitted_policy_runs_live_and_is_refused_on_another_model(evictlab, trace, fitted, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    sentence = "The tide waits for the ferry and the lighthouse for the rain. "
    prompts.write_text("".join(
        json.dumps({"id": f"p{i}", "prompt": sentence * (6 + i), "answer": " The tide waits."}) + "\n" for i in range(2)))
    done = evictlab("record", "--model", MODEL, "--prompts", prompts, "--tier", "full", "--out", tmp_path / "real.h5")
    assert done.code == 0, done.err
    done = evictlab("fit", tmp_path / "real.h5", "--policy", "h2o", "--budget", "24", "--out", tmp_path / "f")
    assert done.code == 0, done.err
    done = evictlab("validate", "--model", MODEL, "--prompts", prompts, "--policy", f"fitted(file={tmp_path}/f/policy.json)",
                    "--budget", "24", "--teacher-forced", "--out", tmp_path / "v")
    assert done.code == 0, done.err
    live = [row for row in rows(tmp_path / "v" / "validate.csv") if row["policy"] == "fitted"]
    assert len(live) == 2 and all(float(row["slots_held"]) == 24 and float(row["kl"]) > 0 for row in live)
    done = replay(evictlab, tmp_path / "real.h5", tmp_path / "r.csv", f"fitted(file={fitted}/policy.json)", "24")
    assert done.code == 2 and done.err.count("\n") == 1 and "was fitted to" in done.err, done.err


def test_one_command_records_fits_and_judges_what_it_did_not_fit_to(evictlab, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    words = ["tide", "ferry", "lighthouse", "invoice", "orchard", "promise"]
    prompts.write_text("".join(json.dumps(
        {"id": f"p{i}", "document": f"d{i}", "prompt": " ".join(f"The {words[(i + j * (i + 2)) % 6]} waits for the rain."
                                                               for j in range(9)), "answer": " The tide waits."}) + "\n"
                               for i in range(4)))
    out = tmp_path / "out"
    done = evictlab("fit", "--model", MODEL, "--prompts", prompts, "--policy", "h2o,tova", "--budget", "40", "--out", out)
    assert done.code == 0, done.err
    assert "2 prompts recorded and fitted to, 2 others run live" in done.out and "fitted" in done.out, done.out
    live = {row["prompt"] for row in rows(out / "validate" / "validate.csv") if row["policy"] == "fitted"}
    fitted_to = set(json.loads((out / "policy.json").read_text())["fit"]["documents"])
    assert len(live) == 2 and not {f"d{prompt[1:]}" for prompt in live} & fitted_to
    done = evictlab("fit", "--model", tmp_path / "none", "--prompts", prompts, "--out", tmp_path / "x")
    assert done.code == 2 and done.err.count("\n") == 1, done.err


def test_a_place_that_no_list_of_policies_can_name_is_refused_before_any_work(evictlab, trace, tmp_path):
    for name in ("a,b", "a(b", " a"):
        done = evictlab("fit", trace, "--policy", "h2o", "--budget", "24", "--out", tmp_path / "x" / name)
        assert (done.code == 2 and "cannot name a file there" in done.err and not (tmp_path / "x").exists()) or name == " a", done.err


def test_the_prompts_are_never_replaced_and_nothing_is_recorded_for_a_fit_that_cannot_be(evictlab, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    prompts = out / "policy.json"
    lines = "".join(json.dumps({"id": f"p{i}", "prompt": "The rain. " * 9, "answer": " Rain."}) + "\n" for i in range(2))
    prompts.write_text(lines)
    done = evictlab("fit", "--model", MODEL, "--prompts", prompts, "--policy", "h2o", "--out", out, "--force")
    assert done.code == 2 and "that is read here" in done.err and prompts.read_text() == lines, done.err
    for wrong in (("--policy", "nonsense"), ("--policy", "oracle"), ("--budget", "0.5")):
        done = evictlab("fit", "--model", MODEL, "--prompts", prompts, *wrong, "--out", tmp_path / "other")
        assert done.code == 2 and not (tmp_path / "other").exists(), done.err


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: text.replace("sinks", "sunk"),
                                    lambda text: "[]", lambda text: text.replace('"losses":[', '"losses":["a",', 1)])
def test_a_damaged_policy_file_is_refused_in_one_line(evictlab, trace, fitted, tmp_path, damage):
    (tmp_path / "policy.json").write_text(damage((fitted / "policy.json").read_text()))
    done = replay(evictlab, trace, tmp_path / "r.csv", f"fitted(file={tmp_path}/policy.json)")
    assert done.code == 2 and done.err.count("\n") == 1 and "policy.json" in done.err, done.err
    assert not (tmp_path / "r.csv").exists()
