"""evictlab validate: what it measures, what it leaves behind when stopped, and what it refuses."""

import csv
import json
import signal
import subprocess

import pytest

from conftest import PATIENCE, PROGRAM, ROOT, wait_until

MODEL = ROOT / "tests" / "data" / "checkpoints" / "gqa-f32"
POLICIES = "snapkv,ada-snapkv,pyramidkv,h2o,streaming-llm,random,oracle"
TABLES = {"validate.csv", "outcomes.csv", "calibration.csv", "calibration.json", "prediction_errors.csv", "predictions.csv", "disagreements.csv", "replay.csv", "curves.csv",
          "spans.csv", "needles.csv", "validate.manifest.json"}
TIMED = {"decode_ms", "tokens_per_second"}


def tokens(count, seed):
    """Token ids of a vocabulary of 96 that repeat now and then."""
    ids, state = [], seed
    for _ in range(count):
        state = (state * 1103515245 + 12345) % 2**31
        ids.append(ids[-7] if len(ids) > 8 and state % 10 < 3 else 3 + (state >> 8) % 90)
    return ids


def write_prompts(path, count, length=120, **more):
    lines = []
    for number in range(count):
        lines.append({"id": f"p{number}", "task": "odd" if number % 2 else "even", "tokens": tokens(length, number + 1),
                      "answer_tokens": tokens(5, 1000 + number), "depth": number / max(1, count - 1),
                      "spans": [{"name": "context", "start": 1, "end": length - 20},
                                {"name": "needle", "start": 10 + number, "end": 15 + number}], **more})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    return write_prompts(tmp_path_factory.mktemp("prompts") / "prompts.jsonl", 6)


def validate(evictlab, prompts, out, *more, policies=POLICIES, budget="48,80"):
    return evictlab("validate", "--model", MODEL, "--prompts", prompts, "--policy", policies, "--budget", budget,
                    "--window", 32, "--out", out, "--threads", 1, *more)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def validated(evictlab, prompts, tmp_path_factory):
    out = tmp_path_factory.mktemp("validated") / "out"
    done = validate(evictlab, prompts, out)
    assert done.code == 0, done.err
    return out, done


def test_it_leaves_its_tables_and_a_manifest(validated):
    out, done = validated
    assert {path.name for path in out.iterdir()} == TABLES
    manifest = json.loads((out / "validate.manifest.json").read_text())
    assert manifest["prompts"] == 6 and manifest["budgets"] == ["48", "80"]
    assert "budget 48" in done.out and "tau-b" in done.out


def test_there_is_a_row_per_prompt_policy_and_budget(validated):
    table = rows(validated[0] / "validate.csv")
    keys = {(row["prompt"], row["policy"], row["budget_requested"]) for row in table}
    assert len(table) == len(keys) == 6 * 8 * 2  # seven policies and the full cache


def test_the_full_cache_is_the_plain_model_exactly(validated):
    for row in rows(validated[0] / "validate.csv"):
        if row["policy"] == "full":
            assert float(row["kl"]) == 0 and float(row["top1_agreement"]) == 1 and row["status"] == "ok"
            assert row["bytes"] == row["peak_bytes"] == str(120 * 2 * 2 * 2 * 8 * 4)  # n, L, G, K and V, d, float


def test_live_positions_are_the_replayed_ones(validated):
    for row in rows(validated[0] / "validate.csv"):
        assert (float(row["overlap"]), row["mismatches"], row["mismatch_margin"]) == (1, "0", "")


def test_slots_and_bytes_are_those_of_replay(validated):
    """The runtime holds float32, as this model is stored."""
    replayed = {(row["prompt"], row["policy"], row["budget_requested"]): row
                for row in rows(validated[0] / "replay.csv") if row["layer"] == "all"}
    for row in rows(validated[0] / "validate.csv"):
        other = replayed[row["prompt"], row["policy"], row["budget_requested"]]
        assert float(row["slots_held"]) == pytest.approx(float(other["slots_held"]))
        assert float(row["bytes"]) == float(other["bytes"])


def test_curves_have_the_live_divergence_whose_mean_is_the_answers(validated):
    sums = {}
    for row in rows(validated[0] / "curves.csv"):
        own = sums.setdefault((row["prompt"], row["policy"], row["budget_requested"]), [0.0, 0])
        own[0] += int(row["steps"]) * float(row["kl"])
        own[1] += int(row["steps"])
    live = [row for row in rows(validated[0] / "validate.csv") if row["turn"] == "1"]
    assert len(sums) == len(live)
    for row in live:
        total, steps = sums[row["prompt"], row["policy"], row["budget_requested"]]
        assert total / steps == pytest.approx(float(row["kl"]), rel=1e-9, abs=1e-12)


def test_needles_have_accuracy_beside_what_is_kept(validated):
    table = rows(validated[0] / "needles.csv")
    assert len(table) == 6 * 8 * 2
    for row in table:
        assert row["accuracy"] in ("0", "1") and 0 <= float(row["retained"]) <= 1
        if row["policy"] == "full":
            assert row["retained"] == "1" and 0.08 < float(row["depth"]) < 0.14  # 10 ... 15 of 120


def test_its_tables_are_drawn(evictlab, validated, tmp_path):
    done = evictlab("plot", validated[0], "--out", tmp_path / "figures")
    assert done.code == 0, done.err
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert {"outcomes", "calibration", "predictions", "needle_accuracy"} <= drawn


def test_evicting_more_costs_more(validated):
    mean = {(row["policy"], row["budget_requested"]): float(row["mean"]) for row in rows(validated[0] / "outcomes.csv")
            if (row["quantity"], row["task"], row["turn"]) == ("kl", "all", "1")}
    assert 0 < mean["oracle", "80"] < mean["oracle", "48"] < mean["random", "48"]


def test_calibration_has_a_row_per_measure_and_budget(validated):
    everything = rows(validated[0] / "calibration.csv")
    assert {row["budget_requested"] for row in everything if row["task"] != "all"} == {"all"}
    table = [row for row in everything if row["task"] == "all"]
    assert {row["budget_requested"] for row in table} == {"48", "80", "all"}
    assert len(table) == 3 * 16
    for row in table:
        assert row["eviction"] == "prompt" and row["policies"] == "5"
        if row["measure"].startswith("fisher"):  # without gradients
            assert row["status"] == "not measured on every prompt" and row["tau_b"] == ""
            continue
        assert row["status"] == "ok"
        assert -1 <= float(row["tau_b_low"]) <= float(row["tau_b_high"]) <= 1
    assert sum(row["chosen"] == "yes" for row in table if row["budget_requested"] == "all") == 1


def test_what_is_printed_says_that_controls_are_left_out_and_one_prompt_has_no_interval(evictlab, tmp_path):
    done = validate(evictlab, write_prompts(tmp_path / "p.jsonl", 1), tmp_path / "out", policies="snapkv,random", budget="48")
    assert done.code == 0, done.err
    assert "controls and ceilings are left out" in done.out and "[" not in done.out
    ends = [row[key] for row in rows(tmp_path / "out" / "outcomes.csv") for key in ("low", "high", "to_best_low", "to_full_high")]
    assert ends and not any(ends)


def test_calibration_says_what_too_few_cannot_give(evictlab, tmp_path):
    done = validate(evictlab, write_prompts(tmp_path / "p.jsonl", 1), tmp_path / "out", policies="snapkv", budget="48")
    assert done.code == 0, done.err
    table = rows(tmp_path / "out" / "calibration.csv")
    assert len(table) == 2 * 16
    assert all(row["tau_b"] == "" and row["status"] == "1 policies: an order needs 3" for row in table)


def test_the_same_replay_made_elsewhere_gives_the_same_calibration(evictlab, prompts, validated, tmp_path):
    out = tmp_path / "out"
    done = validate(evictlab, prompts, out, "--replay", validated[0] / "replay.csv")
    assert done.code == 0, done.err
    assert not (out / "replay.csv").exists()
    assert (out / "calibration.csv").read_bytes() == (validated[0] / "calibration.csv").read_bytes()


def test_a_recording_in_half_precision_says_how_far_it_is_off(evictlab, prompts, tmp_path):
    done = validate(evictlab, prompts, tmp_path / "out", "--dtype", "float16", policies="knorm,keydiff,snapkv")
    assert done.code == 0, done.err
    for row in rows(tmp_path / "out" / "validate.csv"):
        assert float(row["overlap"]) > 0.9
        if row["mismatches"] != "0":
            assert 0 <= float(row["mismatch_margin"]) < 0.01


def test_a_budget_below_the_protection_is_a_row_that_says_so(evictlab, prompts, tmp_path):
    done = validate(evictlab, prompts, tmp_path / "out", policies="snapkv,streaming-llm", budget="16,48")
    assert done.code == 0 and "left out: snapkv at 16" in done.err, done.err
    for row in rows(tmp_path / "out" / "validate.csv"):
        infeasible = row["policy"] == "snapkv" and row["budget_requested"] == "16"
        assert (row["status"] == "infeasible") == infeasible and (row["kl"] == "") == infeasible


def test_evicting_while_decoding_holds_no_more_than_after_the_prompt(evictlab, prompts, tmp_path):
    done = validate(evictlab, prompts, tmp_path / "out", budget="48",
                    policies="h2o(decode=yes),tova(decode=yes),streaming-llm(decode=yes),cake(decode=yes)")
    assert done.code == 0, done.err
    assert all(row["status"] == "ok" and float(row["kl"]) >= 0 for row in rows(tmp_path / "out" / "validate.csv"))


def test_question_agnostic_eviction_answers_for_the_first_token_too(evictlab, prompts, tmp_path):
    done = validate(evictlab, prompts, tmp_path / "out", "--evict-at", "context", policies="snapkv,random")
    assert done.code == 0, done.err
    for row in rows(tmp_path / "out" / "validate.csv"):
        assert row["prompt_length"] == "100" and row["answer_length"] == "5"
        assert (float(row["kl"]) == 0) == (row["policy"] == "full")


def test_an_answer_of_one_token_has_nothing_after_the_first(evictlab, tmp_path):
    prompts = write_prompts(tmp_path / "p.jsonl", 2, answer_tokens=[5])
    done = validate(evictlab, prompts, tmp_path / "out", policies="snapkv", budget="48")
    assert done.code == 0, done.err
    for row in rows(tmp_path / "out" / "validate.csv"):
        assert row["accuracy_after_first"] == "" and row["nll"] == "" and row["kl"] != ""


def test_generated_futures_are_no_answers(evictlab, prompts, tmp_path):
    done = validate(evictlab, prompts, tmp_path / "out", "--future", 4, policies="snapkv", budget="48")
    assert done.code == 0, done.err
    assert all(row["accuracy"] == "" and row["kl"] != "" for row in rows(tmp_path / "out" / "validate.csv"))


# ---- with a tokenizer -----------------------------------------------------------------------------------------


def question(word):
    return f"<q> The code of {word} is"


@pytest.fixture(scope="module")
def second_question(tmp_path_factory):
    filler = "The cat sat on the mat and looked at the dog. " * 12
    line = {"id": "two", "task": "needle", "prompt": f"<bos> {filler}The code of red is 1234. {filler}{question('red')}",
            "answer": " 1234", "stop": "\n",
            "followups": [{"prompt": f"\n{question('blue')}", "answer": " 567", "stop": "\n"}]}
    path = tmp_path_factory.mktemp("two") / "p.jsonl"
    path.write_text(json.dumps(line) + "\n")
    return path


def test_a_second_question_is_asked_of_the_same_compacted_cache(evictlab, model, second_question, tmp_path):
    out = tmp_path / "out"
    done = evictlab("validate", "--model", model, "--prompts", second_question, "--policy", "snapkv", "--budget", 64,
                    "--out", out)
    assert done.code == 0, done.err
    table = rows(out / "validate.csv")
    assert [(row["policy"], row["turn"]) for row in table] == [("full", "1"), ("full", "2"), ("snapkv", "1"),
                                                               ("snapkv", "2")]
    assert float(table[1]["kl"]) == 0 and float(table[3]["kl"]) > 0
    assert table[2]["slots_held"] == table[3]["slots_held"] == "64"


# ---- stopped and refused ----------------------------------------------------------------------------------------


def without_times(path):
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows(path)]


def test_an_interrupted_validation_goes_on_with_the_same_command(evictlab, validated, tmp_path):
    prompts = write_prompts(tmp_path / "many.jsonl", 30, length=250)
    command = [PROGRAM, "validate", "--model", MODEL, "--prompts", prompts, "--policy", POLICIES, "--budget",
               "48:150:lin4", "--window", "32", "--threads", "1"]
    whole = subprocess.run([*map(str, command), "--out", tmp_path / "whole"], capture_output=True, timeout=PATIENCE)
    assert whole.returncode == 0
    out = tmp_path / "out"
    job = subprocess.Popen([*map(str, command), "--out", str(out)], stderr=subprocess.PIPE, text=True)
    wait_until(lambda: list((out / "parts").glob("p*.json")), job)
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 130 and "the same command goes on" in err
    assert [path.name for path in out.iterdir()] == ["parts"]
    other = subprocess.run([*map(str, command), "--max-tokens", "2", "--out", str(out)], capture_output=True, text=True)
    assert other.returncode == 2 and "other settings (max-tokens)" in other.stderr
    done = subprocess.run([*map(str, command), "--out", str(out)], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and "going on:" in done.stderr, done.stderr
    assert without_times(out / "validate.csv") == without_times(tmp_path / "whole" / "validate.csv")
    assert (out / "calibration.csv").read_bytes() == (tmp_path / "whole" / "calibration.csv").read_bytes()
    assert not (out / "parts").exists()


def test_ranks_share_the_prompts(mpirun, prompts, validated, tmp_path):
    done = mpirun(2, PROGRAM, "validate", "--model", MODEL, "--prompts", prompts, "--policy", POLICIES, "--budget", "48,80",
                  "--window", 32, "--out", tmp_path / "out", "--threads", 1)
    assert done.code == 0, done.err
    assert without_times(tmp_path / "out" / "validate.csv") == without_times(validated[0] / "validate.csv")


def test_results_are_not_overwritten_without_force(evictlab, prompts, validated):
    done = validate(evictlab, prompts, validated[0])
    assert done.code == 2 and done.err.count("\n") == 1 and "--force" in done.err


@pytest.mark.parametrize("arguments, saying", [
    (("--policy", "snapkvv", "--budget", "48"), "unknown policy 'snapkvv'"),
    (("--policy", "snapkv", "--budget", "4q"), "budget '4q'"),
    (("--policy", "snapkv", "--budget", "8"), "every policy protects more"),
    (("--policy", "snapkv", "--budget", "48", "--max-tokens", "-1"), "--max-tokens"),
    (("--policy", "snapkv", "--budget", "48", "--dtype", "bfloat16"), "--dtype"),
    (("--policy", "snapkv", "--budget", "48", "--replay", "no-such.csv"), "no-such.csv"),
    (("--policy", "snapkv", "--budget", "48", "--future", "answers"), "--future"),
    (("--policy", "oracle(decode=yes)", "--budget", "48"), "by the future while it decodes"),
])
def test_bad_input_is_one_clear_line(evictlab, prompts, tmp_path, arguments, saying):
    done = evictlab("validate", "--model", MODEL, "--prompts", prompts, "--out", tmp_path / "out", *arguments)
    assert done.code == 2, done.err
    assert saying in done.err.splitlines()[-1], done.err


@pytest.mark.parametrize("table, saying", [
    ("prompt,policy\np0,snapkv\n", "there is no column 'parameters'"),
    (None, "has no row of prompt 'p1'"),
])
def test_a_replay_that_cannot_be_compared_with_is_said_before_the_work(evictlab, prompts, validated, tmp_path, table, saying):
    if table is None:
        lines = (validated[0] / "replay.csv").read_text().splitlines(keepends=True)
        table = "".join(line for line in lines if not line.startswith("p1,"))
    (tmp_path / "replay.csv").write_text(table)
    done = validate(evictlab, prompts, tmp_path / "out", "--replay", tmp_path / "replay.csv")
    assert done.code == 2 and done.err.count("\n") == 1 and saying in done.err, done.err
    assert not (tmp_path / "out").exists()


def test_what_is_given_is_checked_before_anything_is_made(evictlab, prompts, tmp_path):
    (tmp_path / "file").write_text("")
    for more, saying in ((("--model", tmp_path), "config.json"), (("--model", MODEL, "--prompts", tmp_path / "none"), "none"),
                         (("--model", MODEL, "--out", tmp_path / "file"), "a file has that name")):
        arguments = {"--prompts": prompts, "--out": tmp_path / "out"}
        arguments.update(zip(more[::2], more[1::2]))
        flat = [word for pair in arguments.items() for word in pair]
        done = evictlab("validate", "--policy", "snapkv", "--budget", "48", *flat)
        assert done.code == 2 and done.err.count("\n") == 1 and saying in done.err, done.err


@pytest.mark.parametrize("change, saying", [
    ({"metric": "bleu"}, "metric: expected exact, f1 or rouge-l, got 'bleu'"),
    ({"followups": "none"}, "followups: expected an array, got a string"),
    ({"followups": [{"prompt": "and then?"}]}, 'must have "prompt" and "answer"'),
    ({"depth": "deep"}, "depth: expected a number, got a string"),
    ({"stop": 3}, "stop: expected a string, got a number"),
])
def test_what_prompts_say_of_their_answers_is_checked(evictlab, tmp_path, change, saying):
    done = validate(evictlab, write_prompts(tmp_path / "p.jsonl", 1, **change), tmp_path / "out", policies="snapkv")
    assert done.code == 2 and done.err.count("\n") == 1 and saying in done.err, done.err


def test_methods_that_read_output_weights_keys_or_a_repetition_hold_live_what_they_keep_in_replay(evictlab, prompts, tmp_path):
    policies = ("defensivekv(window=16),layer-defensivekv(window=16),lava(window=16),rest-kv(window=16,axis=kv),dropkv(window=16),"
                "caote(window=16),obcache(window=16),r-kv,kvzip,kvzip(variant=kvpress)")
    done = validate(evictlab, prompts, tmp_path / "out", "--only", "p1", "--teacher-forced", policies=policies, budget="48")
    assert done.code == 0, done.err
    live = rows(tmp_path / "out" / "validate.csv")
    assert len(live) == 11  # with full
    for row in live:
        assert (row["status"], row["mismatches"]) == ("ok", "0"), row["policy"]
        assert float(row["kl"]) >= 0


def test_kvzip_is_replayed_where_a_repetition_was_recorded_and_says_so_elsewhere(evictlab, prompts, tmp_path):
    for name, more in (("with", ("--repeat-context", 32)), ("without", ())):
        done = evictlab("record", "--model", MODEL, "--prompts", prompts, "--only", "p0", "--window", 16, "--out", tmp_path / name, *more)
        assert done.code == 0, done.err
        (tmp_path / f"replay-{name}").mkdir()
    runs = {name: evictlab("replay", tmp_path / name, "--policy", "kvzip", "--budget", 40, "--out", tmp_path / f"replay-{name}" / "replay.csv")
            for name in ("with", "without")}
    assert runs["with"].code == 0, runs["with"].err
    assert runs["without"].code == 2
    assert "'kvzip' reads repeat_attention" in runs["without"].err and "--repeat-context" in runs["without"].err
