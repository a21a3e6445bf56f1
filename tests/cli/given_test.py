"""Methods written elsewhere: scores, budgets and kept positions from files, and policies under constraints."""

import csv
import json

import h5py
import numpy
import pytest

LAYERS, QUERY_HEADS, KV_HEADS, LENGTH = 2, 4, 2, 200  # conftest's small_trace
PROMPTS = ("synth-000", "synth-001")


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def replayed(evictlab, small_trace, tmp_path):
    """Replays and returns the rows of replay.csv, or of another table."""

    def run(*arguments, table="replay.csv", trace=small_trace):
        done = evictlab("replay", trace, "--out", tmp_path / "replay.csv", "--force", *arguments)
        assert done.code == 0, done.err
        return rows_of(tmp_path / table)

    return run


@pytest.fixture
def refused(evictlab, small_trace, tmp_path):
    def check(*arguments, saying):
        done = evictlab("replay", small_trace, "--out", tmp_path / "no" / "replay.csv", *arguments)
        assert done.code == 2 and done.err.count("\n") == 1 and saying in done.err, done.err
        assert not (tmp_path / "no").exists()

    return check


def scores_file(path, scores, dtype=numpy.float32):
    with h5py.File(path, "w") as file:
        for prompt in PROMPTS:
            for layer in range(LAYERS):
                file[f"prompts/{prompt}/layers/{layer}/scores"] = scores(prompt, layer).astype(dtype)
    return path


def window_mean(trace, prompt, layer, window):
    data = trace[f"prompts/{prompt}/layers/{layer}/window_attention"]
    rows = data[:, -window:, :].astype(numpy.float64) / data.attrs["scale"]
    return rows.mean(axis=1).reshape(KV_HEADS, -1, LENGTH).mean(axis=1)


def measures(rows):
    return [(row["prompt"], row["layer"], row["slots_held"], row["retained_mass"], row["exact_loss"]) for row in rows]


@pytest.mark.parametrize("dtype", [numpy.float32, numpy.float64])
def test_given_scores_are_judged_as_the_policy_that_has_them(replayed, small_trace, tmp_path, dtype):
    with h5py.File(small_trace) as trace:
        path = scores_file(tmp_path / "s.h5", lambda p, l: window_mean(trace, p, l, 16), dtype)
    own = replayed("--policy", "snapkv(window=16,kernel=1)", "--budget", "40")
    given = replayed("--policy", "compose(scorer=given,window=16)", "--budget", "40", "--scores", path)
    assert measures(own) == measures(given)
    adaptive = replayed("--policy", "ada-snapkv(window=16,kernel=1)", "--budget", "40")
    given = replayed("--policy", "compose(scorer=given,allocator=adaptive,window=16)", "--budget", "40", "--scores", path)
    assert measures(adaptive) == measures(given)


def test_scores_per_query_head_and_per_layer_have_sets_of_their_own(replayed, tmp_path):
    random = numpy.random.default_rng(1)
    for heads, granularity in ((QUERY_HEADS, "query"), (1, "layer")):
        path = scores_file(tmp_path / "s.h5", lambda p, l: random.random((heads, LENGTH)))
        rows = replayed("--policy", "compose(scorer=given)", "--budget", "64", "--scores", path)
        assert {row["granularity"] for row in rows} == {granularity}
        assert {row["slots_held"] for row in rows} == {"64"}


def test_scores_that_do_not_fit_are_refused(refused, tmp_path):
    arguments = ("--policy", "compose(scorer=given)", "--budget", "64", "--scores", tmp_path / "s.h5")
    refused(*arguments, saying="no such file")
    scores_file(tmp_path / "s.h5", lambda p, l: numpy.ones((3, LENGTH)))
    refused(*arguments, saying="3 heads")
    scores_file(tmp_path / "s.h5", lambda p, l: numpy.ones((2, LENGTH - 1)))
    refused(*arguments, saying=f"must be [heads, {LENGTH}]")
    scores_file(tmp_path / "s.h5", lambda p, l: numpy.ones((1 + l, LENGTH)))
    refused(*arguments, saying="others are per")
    scores_file(tmp_path / "s.h5", lambda p, l: numpy.full((2, LENGTH), numpy.nan))
    refused(*arguments, saying="not finite")
    (tmp_path / "s.h5").write_bytes(b"no HDF5")
    refused(*arguments, saying="s.h5")
    refused("--policy", "compose(scorer=given)", "--budget", "64", saying="--scores")


def test_given_budgets_are_what_is_held(replayed, tmp_path):
    path = tmp_path / "b.json"
    path.write_text(json.dumps({"format": "evictlab-budgets", "layers": [[50, 70], 40]}))
    rows = replayed("--policy", "compose(allocator=given)", "--budget", "100", "--budgets", path)
    assert {(row["layer"], row["slots_held"]) for row in rows} == {("0", "60"), ("1", "40"), ("all", "50")}
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["budgets"] = numpy.array([[50, 70], [40, 40]])
    assert measures(rows) == measures(
        replayed("--policy", "compose(allocator=given)", "--budget", "100", "--budgets", tmp_path / "b.h5"))


def test_budgets_that_do_not_fit_are_refused(refused, tmp_path):
    path = tmp_path / "b.json"
    for text, saying in (("{", "JSON"), ("[]", "expected an object, got an array"), ("{}", "evictlab-budgets"),
                         ('{"format": "evictlab-budgets"}', "neither"),
                         ('{"format": "evictlab-budgets", "layers": [1]}', "layers"),
                         ('{"format": "evictlab-budgets", "layers": [[50, 50, 50], 40]}', "3"),
                         ('{"format": "evictlab-budgets", "layers": [-5, 40]}', "-5"),
                         ('{"format": "evictlab-budgets", "layers": [1.5, 40]}', "number"),
                         ('{"format": "evictlab-budgets", "layers": [5, 40]}', "5"),
                         ('{"format": "evictlab-budgets", "prompts": {"x": {}}}', "layers")):
        path.write_text(text)
        refused("--policy", "compose(allocator=given)", "--budget", "64", "--budgets", path, saying=saying)
    refused("--policy", "compose(allocator=given)", "--budget", "64", saying="--budgets")


POLICIES = "snapkv(window=16),ada-snapkv(window=16),tova,h2o(axis=query,window=16),cake(window=16),windowkv,dynamickv"


def test_what_replay_kept_is_read_back_and_judged_alike(replayed, tmp_path):
    rows = replayed("--policy", POLICIES, "--budget", "48,64", "--kept", tmp_path / "kept.h5")
    again = replayed("--kept", tmp_path / "kept.h5")
    kept = {(row["prompt"], row["parameters"], row["budget_requested"], row["layer"]): row for row in again}
    assert len(kept) == len(again) == len(rows)
    for row in rows:
        name = f"{row['policy']}({row['parameters']})"
        other = kept[row["prompt"], name, row["budget_requested"], row["layer"]]
        if row["policy"] != "dynamickv":  # it can store a position twice, which is kept once
            assert other["slots_held"] == row["slots_held"], name
        for measure in ("retained_mass", "exact_loss", "ada_bound"):
            assert other[measure] == row[measure], (name, measure)


def test_kept_sets_that_do_not_fit_are_refused(replayed, refused, small_trace, evictlab, tmp_path):
    replayed("--policy", "snapkv(window=16)", "--budget", "48", "--kept", tmp_path / "kept.h5")
    with h5py.File(tmp_path / "kept.h5", "r+") as file:
        file["0/0/positions"][0] = LENGTH
    refused("--kept", tmp_path / "kept.h5", saying=f"position {LENGTH}")
    (tmp_path / "kept.h5").write_bytes(b"x")
    refused("--kept", tmp_path / "kept.h5", saying="kept.h5")


def test_one_protection_for_all_and_one_source_where_there_is_one(replayed):
    rows = replayed("--policy", "snapkv,knorm,lagkv,random,streaming-llm", "--budget", "100", "--protect",
                    "sinks=4,window=32")
    assert {row["protection"] for row in rows} == {"sinks=4,recent=32"}
    rows = replayed("--policy", "snapkv,knorm", "--budget", "100", "--variant", "kvcache-factory")
    assert {(row["policy"], row["variant"]) for row in rows} == {("snapkv", "kvcache-factory"), ("knorm", "")}


def test_what_constraints_cost_is_reported_per_policy(replayed):
    costs = replayed("--policy", "snapkv(window=16),tova,oracle", "--budget", "48,64,80", "--constrain",
                     "share=layer,blocks=16", table="constraints.csv")
    assert {row["policy"] for row in costs} == {"snapkv", "tova", "oracle"}
    rounded = 0
    for row in costs:
        if row["budget_requested"] != "64":
            continue
        difference = float(row["constrained_retained_mass"]) - float(row["retained_mass"])
        if abs(float(row["constrained_slots_held"]) - float(row["slots_held"])) <= 1:
            assert float(row["difference"]) == pytest.approx(difference, abs=1e-9)
        else:  # whole blocks hold less: compared at that, the constraint itself costs less
            rounded += 1
            assert float(row["slots_compared"]) == pytest.approx(float(row["constrained_slots_held"]))
            assert difference < float(row["difference"])
        assert float(row["difference_low"]) <= float(row["difference"]) <= float(row["difference_high"])
    assert rounded > 0
    assert float(next(row for row in costs if row["policy"] == "oracle")["difference"]) <= 0


def test_the_trajectory_ends_at_what_is_held_and_cascading_peaks_lower(replayed, tmp_path):
    rows = replayed("--policy", "snapkv(window=16),cake(window=16),cake(window=16,cascading=no)", "--budget", "64",
                    table="trajectory.csv")
    held = {(r["prompt"], r["policy"], r["parameters"]): int(r["bytes"]) for r in rows_of(tmp_path / "replay.csv")
            if r["layer"] == "all"}
    peaks = {}
    for row in rows:
        key = row["prompt"], row["policy"], row["parameters"]
        assert int(row["bytes_before"]) >= int(row["bytes_after"])
        peaks[key] = max(peaks.get(key, 0), int(row["bytes_before"]))
        if int(row["layer"]) == LAYERS - 1:
            assert int(row["bytes_after"]) == held[key]
    for (prompt, policy, parameters), peak in peaks.items():
        if "cascading=yes" in parameters:
            assert peak < peaks[prompt, policy, parameters.replace("cascading=yes", "cascading=no")]


def test_policies_as_json_names_every_parameter_and_variant(evictlab):
    listed = json.loads(evictlab("policies", "--json").out)
    by_name = {policy["name"]: policy for policy in listed["policies"]} if isinstance(listed, dict) else {
        policy["name"]: policy for policy in listed}
    assert {"h2o", "tova", "cake", "dynamickv", "windowkv", "criticalkv", "simlayerkv", "compose"} <= set(by_name)
    names = {parameter["name"]: parameter for parameter in by_name["cake"]["parameters"]}
    assert names["gamma"]["default"] in (200, 200.0, "200")
    assert {name: by_name[name]["scores_from"] for name in ("knorm", "caote", "r-kv", "h2o", "kvzip")} == {
        "knorm": "keys", "caote": "window", "r-kv": "window", "h2o": "all", "kvzip": "all"}
    assert "output_weight" in by_name["rest-kv"]["needs"]
    text = evictlab("policies", "cake").out
    for word in ("arXiv:2503.12491", "antgroup/cakekv@c4675ce", "gamma=200", "variant=paper"):
        assert word in text
    assert evictlab("policies", "cak").code == 2
