"""The whole way on the shipped model: record, verify, replay, analyze, plot, and what must hold on every row."""

import csv
import json
import subprocess

import pytest

from conftest import PROGRAM

POLICIES = "full,random,protect-only,streaming-llm,snapkv,oracle"


@pytest.fixture(scope="module")
def results(tmp_path_factory, evictlab, model):
    """A full-tier recording of four needle and four kv prompts, replayed."""
    out = tmp_path_factory.mktemp("results")
    for arguments in (
        ("record", "--model", model, "--prompts", model / "prompts/needle-512.jsonl", "--prompts",
         model / "prompts/kv-512.jsonl", "--limit", 4, "--tier", "full", "--dtype", "float32", "--out", out / "trace.h5"),
        ("verify", out / "trace.h5"),
        ("replay", out / "trace.h5", "--policy", POLICIES, "--budget", "48,96,0.5", "--out", out / "replay.csv",
         "--kept", out / "kept.h5"),
        ("analyze", out / "trace.h5", "--out", out),
        ("plot", out, "--out", out),
    ):
        done = evictlab(*arguments)
        assert done.code == 0, done.err
    return out


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_exactly_the_columns_of_its_contract(results):
    with open(results / "replay.csv") as file:
        assert file.readline().strip() == (
            "prompt,task,document,T,policy,parameters,variant,role,protection,granularity,budget_requested,slots_held,bytes,"
            "bytes_padded,bytes_paged,layer,retained_mass,prompt_retained_mass,ada_bound,head_bound,keptmax_bound,value_bound,exact_loss,relative_loss,"
            "regret,squared_error,relative_squared_error,output_relative_squared_error,tail_loss,worst_span_mass,"
            "fisher_loss,fisher_kl,predicted_kl,predicted_kl_low,predicted_kl_high,calibration,fisher_kl_error,status")
    with open(results / "budgets.csv") as file:
        assert file.readline().strip() == "prompt,policy,parameters,role,budget_requested,layer,head,slots"


def test_there_is_a_row_for_every_prompt_policy_budget_and_layer(results):
    rows = rows_of(results / "replay.csv")
    assert len(rows) == 8 * 6 * 3 * (8 + 1)
    assert len({(r["prompt"], r["policy"], r["budget_requested"], r["layer"]) for r in rows}) == len(rows)


def test_the_bounds_are_in_order_on_every_row(results):
    for row in rows_of(results / "replay.csv"):
        chain = [float(row[c]) for c in ("exact_loss", "value_bound", "keptmax_bound", "head_bound", "ada_bound")]
        for smaller, larger in zip(chain, chain[1:]):
            assert smaller <= larger * (1 + 1e-4) + 1e-5, row


def test_full_retains_everything_and_loses_nothing(results):
    for row in rows_of(results / "replay.csv"):
        if row["policy"] == "full":
            assert float(row["retained_mass"]) == 1 and float(row["exact_loss"]) == 0 and float(row["ada_bound"]) == 0, row


def test_no_policy_retains_more_than_the_oracle_with_its_counts(results):
    for row in rows_of(results / "replay.csv"):
        assert float(row["regret"]) >= 0, row
        if row["policy"] == "oracle":
            assert float(row["regret"]) == pytest.approx(0, abs=1e-9), row


def test_what_is_held_does_not_exceed_what_was_asked(results):
    for row in rows_of(results / "replay.csv"):
        if row["policy"] not in ("full", "protect-only") and row["layer"] == "all" and row["budget_requested"] != "0.5":
            assert float(row["slots_held"]) == float(row["budget_requested"]), row
            assert int(row["bytes"]) == 8 * 4 * float(row["slots_held"]) * 2 * 32 * 2, row


def test_snapkv_beats_random_and_streaming_on_retrieval(results):
    rows = [r for r in rows_of(results / "replay.csv") if r["layer"] == "all"]

    def mean(policy, budget):
        values = [float(r["retained_mass"]) for r in rows if r["policy"] == policy and r["budget_requested"] == budget]
        return sum(values) / len(values)

    for budget in ("48", "96"):
        assert mean("oracle", budget) > mean("snapkv", budget) > max(mean("random", budget), mean("streaming-llm", budget))


def test_figures_and_manifests_are_made(results):
    for suffix in ("png", "svg"):
        assert len(list(results.glob(f"*.{suffix}"))) >= 3
    manifest = json.loads((results / "replay.manifest.json").read_text())
    assert manifest["command"].startswith("evictlab replay") and manifest["evictlab"] and len(manifest["policies"]) == 6


def test_kept_positions_agree_with_the_budgets_table(results):
    h5py = pytest.importorskip("h5py")
    counts = {(r["prompt"], r["policy"], r["budget_requested"], r["layer"], r["head"]): int(r["slots"])
              for r in rows_of(results / "budgets.csv")}
    seen = 0
    with h5py.File(results / "kept.h5") as file:
        for run in file.values():
            policy = run.attrs["policy"].split("(")[0]
            for layer, group in run.items():
                offsets = group["offsets"][()]
                for head in range(len(offsets) - 1):
                    kept = group["positions"][offsets[head] : offsets[head + 1]]
                    assert len(set(kept)) == len(kept)
                    assert counts[run.attrs["prompt"], policy, run.attrs["budget"], layer, str(head)] == len(kept)
                    seen += 1
    assert seen == len(counts)


def test_results_do_not_depend_on_threads_or_on_the_order_of_prompts(evictlab, model, results, tmp_path):
    for name, files, threads in (("a", ("kv", "map"), 1), ("b", ("map", "kv"), 2)):
        prompts = [argument for task in files for argument in ("--prompts", model / f"prompts/{task}-512.jsonl")]
        assert evictlab("record", "--model", model, *prompts, "--limit", 2, "--out", tmp_path / f"{name}.h5",
                        "--threads", threads).code == 0
        assert evictlab("replay", tmp_path / f"{name}.h5", "--policy", "random,snapkv", "--budget", "64", "--out",
                        tmp_path / name / "replay.csv", "--threads", threads).code == 0
    key = lambda r: (r["prompt"], r["policy"], r["layer"])
    assert sorted(rows_of(tmp_path / "a/replay.csv"), key=key) == sorted(rows_of(tmp_path / "b/replay.csv"), key=key)


def test_the_summary_tier_leaves_the_losses_that_need_more_empty(evictlab, model, tmp_path):
    assert evictlab("record", "--model", model, "--prompts", model / "prompts/rule-512.jsonl", "--limit", 1, "--out",
                    tmp_path / "t.h5").code == 0
    assert evictlab("replay", tmp_path / "t.h5", "--policy", "snapkv", "--budget", 64, "--out",
                    tmp_path / "replay.csv").code == 0
    for row in rows_of(tmp_path / "replay.csv"):
        assert row["exact_loss"] == row["value_bound"] == row["relative_loss"] == ""
        assert row["keptmax_bound"] != "" and row["status"] == "ok"


def test_eviction_at_the_context_makes_the_question_future(evictlab, model, tmp_path):
    h5py = pytest.importorskip("h5py")
    prompt = json.loads((model / "prompts/needle-512.jsonl").read_text().splitlines()[0])
    (tmp_path / "p.jsonl").write_text(json.dumps(prompt))
    for where in ("prompt", "context"):
        assert evictlab("record", "--model", model, "--prompts", tmp_path / "p.jsonl", "--out", tmp_path / f"{where}.h5",
                        "--evict-at", where).code == 0
    with h5py.File(tmp_path / "prompt.h5") as whole, h5py.File(tmp_path / "context.h5") as context:
        a, b = whole["prompts/needle-512-000"], context["prompts/needle-512-000"]
        assert list(a["tokens"]) == list(b["tokens"])
        assert b.attrs["prompt_length"] < a.attrs["prompt_length"]
        assert b.attrs["future_length"] > a.attrs["future_length"] == len(prompt["answer"].strip())


def test_new_directories_are_made_for_what_is_written(evictlab, small_trace, model, tmp_path):
    done = evictlab("replay", small_trace, "--policy", "full", "--budget", 64, "--out", tmp_path / "a/b/replay.csv",
                    "--kept", tmp_path / "c/kept.h5")
    assert done.code == 0 and (tmp_path / "c/kept.h5").exists(), done.err
    assert evictlab("record", "--model", model, "--prompts", model / "prompts/kv-512.jsonl", "--limit", 1, "--out",
                    tmp_path / "d/e/t.h5").code == 0


def test_only_what_belongs_to_the_recorded_layers_is_stored(evictlab, model, tmp_path):
    h5py = pytest.importorskip("h5py")
    assert evictlab("record", "--model", model, "--prompts", model / "prompts/kv-512.jsonl", "--limit", 1, "--out",
                    tmp_path / "t.h5", "--tier", "full", "--layers", "1,3-4").code == 0
    with h5py.File(tmp_path / "t.h5") as trace:
        assert sorted(trace["model/output_weight"]) == ["1", "3", "4"]
        assert sorted(trace["prompts/kv-512-000/layers"]) == ["1", "3", "4"]
    assert evictlab("verify", tmp_path / "t.h5").code == 0


def test_the_whole_prompt_and_one_slot_are_different_budgets(evictlab, small_trace, tmp_path):
    assert evictlab("replay", small_trace, "--policy", "oracle", "--budget", "1,1.0", "--out",
                    tmp_path / "replay.csv").code == 0
    held = {r["budget_requested"]: float(r["slots_held"]) for r in rows_of(tmp_path / "replay.csv") if r["layer"] == "all"}
    assert held == {"1": 1.0, "1.0": 200.0}


def test_a_dry_run_tells_the_size_and_makes_nothing(evictlab, model, tmp_path):
    done = evictlab("record", "--model", model, "--prompts", model / "prompts/kv-512.jsonl", "--limit", 1, "--dry-run",
                    cwd=tmp_path)
    assert done.code == 0 and "prompts   1" in done.out and "MiB" in done.out
    assert not list(tmp_path.iterdir())


def test_appending_keeps_what_is_there_and_skips_it(evictlab, model, tmp_path):
    trace = tmp_path / "t.h5"
    first = ("record", "--model", model, "--prompts", model / "prompts/kv-512.jsonl", "--out", trace)
    assert evictlab(*first, "--limit", 1).code == 0
    done = evictlab(*first, "--limit", 3, "--append")
    assert done.code == 0 and "(1 of them before)" in done.err, done.err
    assert "3" in evictlab("info", trace).out and evictlab("verify", trace).code == 0


def test_a_closed_pipe_does_no_harm(small_trace):
    done = subprocess.run(f"'{PROGRAM}' policies | head -1", shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("full") and not done.stderr


def test_no_progress_is_drawn_into_a_pipe(evictlab, model, tmp_path):
    done = evictlab("record", "--model", model, "--prompts", model / "prompts/kv-512.jsonl", "--limit", 1, "--out",
                    tmp_path / "t.h5")
    assert "\r" not in done.err and done.err.count("\n") == 1 and done.out == ""


def test_version_and_help(evictlab):
    assert evictlab("--version").out.startswith("evictlab 0.")
    for command in ("record", "info", "verify", "synth", "replay", "policies", "analyze", "plot", "demo"):
        done = evictlab(command, "--help")
        assert done.code == 0 and done.out.startswith(f"usage: evictlab {command}"), done
