"""The Python package without PyTorch: traces as arrays, replay and the rest as tables, methods of one's own."""

import io
import os
import signal
import subprocess
import sys
import threading

import numpy
import pytest

from conftest import built_package

evictlab = built_package()
pandas = pytest.importorskip("pandas")

POLICIES = "random,snapkv,ada-snapkv,oracle"


@pytest.fixture(scope="module")
def trace(small_trace):
    return evictlab.Trace(small_trace)


def table_of(path):
    return pandas.read_csv(path)


def same(ours, theirs):
    """As numbers and texts, whatever a column's type: the program writes the shortest text that reads back the same."""
    assert list(ours.columns) == list(theirs.columns)
    read_back = pandas.read_csv(io.StringIO(ours.to_csv(index=False)))
    pandas.testing.assert_frame_equal(read_back, theirs, check_dtype=False, check_exact=True)


def test_saved_tables_hold_no_formula_and_are_read_by_the_program(evictlab_program, small_trace, tmp_path):
    tables = evictlab.replay(small_trace, POLICIES, 64)
    odd = ["=1+1", "'@x", "a\nb\x01"]
    tables["replay"]["task"] = [odd[row % 3] for row in range(len(tables["replay"]))]
    tables.save(tmp_path)
    assert not (pandas.read_csv(tmp_path / "replay.csv")["task"].str[0] == "=").any()
    done = evictlab_program("plot", tmp_path, "--out", tmp_path / "figures")
    assert done.code == 0, done.err
    from evictlab import _runs

    assert list(_runs._read_csv(tmp_path / "replay.csv")["task"]) == list(tables["replay"]["task"])


def test_a_trace_tells_its_prompts_and_arrays(trace):
    assert len(trace) == 2 and trace.model["layers"] == 2
    prompt = trace.prompts[0]
    assert (prompt.prompt_length, prompt.future_length, prompt.window, prompt.tier) == (200, 8, 32, "full")
    assert trace.array(0, 1, "window_attention").shape == (4, 32, 200)
    assert trace.array(prompt.id, 1, "keys").shape == (2, 208, 16)
    assert trace.array(0, 0, "attention_mass").shape == (4, 200)
    assert trace.tokens(0).shape == (208,)
    assert trace.output_weight(0).shape[0] == 4 * 16


def test_every_array_has_as_many_named_axes_as_its_shape(trace):
    for name in trace.prompts[0].arrays:
        assert len(set(trace.AXES[name])) == trace.array(0, 0, name).ndim, name
    assert trace.AXES["window_attention"] == ("query_head", "window_query", "position")
    assert trace.AXES["query_covariance"] == ("query_head", "dimension", "dimension_2")


def test_attention_is_given_as_probabilities_and_as_stored(trace):
    rows = trace.array(0, 0, "window_attention")
    assert rows.dtype == numpy.float32
    numpy.testing.assert_allclose(rows.sum(-1), 1, atol=2e-3)
    stored = trace.array(0, 0, "window_attention", stored=True)
    assert stored.dtype == numpy.float16
    numpy.testing.assert_array_equal(stored.astype(numpy.float32) / 2**15, rows)


def test_arrays_are_the_file_itself_and_outlive_the_trace(small_trace):
    keys = evictlab.Trace(small_trace).array(0, 0, "keys")
    assert not keys.flags.writeable and not keys.flags.owndata
    assert numpy.isfinite(keys).all()


def test_replay_gives_the_tables_of_the_program(evictlab_program, small_trace, tmp_path):
    done = evictlab_program("replay", small_trace, "--policy", POLICIES, "--budget", "48,0.5", "--out", tmp_path / "replay.csv")
    assert done.code == 0, done.err
    result = evictlab.replay(small_trace, POLICIES, [48, 0.5])
    for name in ("replay", "budgets", "positions", "spans", "trajectory", "curves", "kept_overlap"):
        same(result[name], table_of(tmp_path / f"{name}.csv"))
    assert result.left_out == [] and set(result.summary["policy"]) == set(POLICIES.split(","))


def test_measures_of_the_full_tier_can_be_left_out(small_trace):
    whole = evictlab.replay(small_trace, "snapkv", 48).replay
    for without in (evictlab.replay(small_trace, "snapkv", 48, measures="summary").replay,
                    evictlab.sweep(small_trace, "snapkv", 48, layers=True, measures="summary").replay):
        assert without["exact_loss"].isna().all() and without["squared_error"].isna().all()
        assert (without["keptmax_bound"].to_numpy() == whole["keptmax_bound"].to_numpy()).all()
    assert whole["exact_loss"].notna().all()
    with pytest.raises(evictlab.Error, match="'all' or 'summary'"):
        evictlab.replay(small_trace, "snapkv", 48, measures="some")


def test_sweep_tells_the_headroom(small_trace):
    result = evictlab.sweep(small_trace, "snapkv", "40:120:lin3")
    assert list(result.headroom["budget_requested"].unique()) == [40, 80, 120]
    assert (result.headroom["both"] >= result.headroom["scoring"]).all() and (result.headroom["scoring"] > 0).all()


def test_sweep_tunes_and_leaves_the_programs_tables_in_a_folder(evictlab_program, small_trace, tmp_path):
    arguments = ("--policy", "snapkv,random", "--budget", "48,96", "--tune", "kernel=3|7")
    assert evictlab_program("sweep", small_trace, *arguments, "--out", tmp_path / "program").code == 0
    result = evictlab.sweep(small_trace, "snapkv,random", [48, 96], tune="kernel=3|7", out=tmp_path / "package")
    for name in ("replay", "summary", "tune"):
        same(result[name], table_of(tmp_path / "program" / f"{name}.csv"))
        assert (tmp_path / "package" / f"{name}.csv").read_text() == (tmp_path / "program" / f"{name}.csv").read_text()
    in_memory = evictlab.sweep(small_trace, "snapkv,random", [48, 96], tune="kernel=3|7")
    pandas.testing.assert_frame_equal(in_memory.replay, result.replay)
    with pytest.raises(evictlab.Error, match="exists"):
        evictlab.sweep(small_trace, "snapkv,random", [48, 96], out=tmp_path / "package")


def test_analyze_gives_the_tables_of_the_program(evictlab_program, small_trace, tmp_path):
    assert evictlab_program("analyze", small_trace, "--out", tmp_path).code == 0
    for name, table in evictlab.analyze(small_trace).items():
        same(table, table_of(tmp_path / f"{name}.csv"))


def test_analyze_gives_the_sensitivities_of_the_program(evictlab_program, small_trace, tmp_path):
    assert evictlab_program("analyze", small_trace, "--sensitivity", "snapkv@48", "--out", tmp_path).code == 0
    tables = evictlab.analyze(small_trace, sensitivity="snapkv@48")
    for name in ("sensitivity", "sensitivity_summary", "sensitivity_agreement"):
        same(tables[name], table_of(tmp_path / f"{name}.csv"))


def test_advise_tells_policy_budget_and_budgets(small_trace):
    advice = evictlab.advise(small_trace, loss=0.5, policies="snapkv,streaming-llm")
    assert advice.policy.startswith(("snapkv", "streaming-llm")) and advice.loss["high"] <= 0.5
    assert set(advice.budgets.columns) == {"layer", "head", "positions"} and len(advice.budgets) == 2 * 2
    assert "Advice" in advice.text


def test_figures_are_svg_and_one_of_them_can_be_asked_for(small_trace, tmp_path):
    result = evictlab.replay(small_trace, POLICIES, [48, 96])
    figures = evictlab.plot.all(result)
    assert {"loss", "regret", "kept_overlap"} <= {figure.name for figure in figures}
    loss = evictlab.plot.loss(result)
    assert loss._repr_svg_().lstrip().startswith("<?xml") and "</svg>" in loss.svg
    with pytest.raises(evictlab.Error, match="no figure 'nonsense'"):
        evictlab.plot.nonsense(result)


def test_a_report_is_written_from_tables(small_trace, tmp_path):
    page = evictlab.report(evictlab.replay(small_trace, POLICIES, [48, 96]), tmp_path / "report.html")
    assert "At 48 slots," in page.read_text()
    with pytest.raises(evictlab.Error, match="exists"):
        evictlab.report(small_trace, page)


def test_kept_positions_are_of_every_layer_and_set(small_trace, trace):
    kept = evictlab.kept(small_trace, "snapkv", 48)
    assert set(kept) == {prompt.id for prompt in trace}
    layers = kept[trace.prompts[0].id]
    assert len(layers) == 2 and all(len(sets) == 2 and all(len(set(one)) == 48 for one in sets) for sets in layers)


def test_policies_are_listed():
    listed = evictlab.policies()
    assert {"snapkv", "oracle"} <= set(listed["policy"])


# --- methods of one's own -------------------------------------------------------------------------------------------


@evictlab.scorer(needs="window_attention", window=32)
def my_snapkv(window_attention, layer):
    return window_attention.sum(1)


def test_a_scorer_in_python_is_the_method_it_computes(small_trace):
    result = evictlab.replay(small_trace, [my_snapkv, "snapkv(kernel=1,window=32)", "oracle,random"], [48, 96])
    rows = result.replay
    ours = rows[rows["policy"] == "my_snapkv"].reset_index(drop=True)
    theirs = rows[rows["policy"] == "snapkv"].reset_index(drop=True)
    for column in ("slots_held", "retained_mass", "exact_loss", "regret"):
        numpy.testing.assert_array_equal(ours[column], theirs[column])
    assert (ours["regret"] >= 0).all()


def test_a_scorer_goes_with_any_allocator_selector_and_protection(small_trace):
    @evictlab.scorer(needs=("keys",), allocator="adaptive(floor_alpha=0.1)", protect=(4, 16))
    def small_keys(keys, layer):
        return -numpy.linalg.norm(keys, axis=-1)

    @evictlab.scorer(needs="attention_mass", granularity="query")
    def by_head(attention_mass, layer):
        return attention_mass

    result = evictlab.replay(small_trace, [small_keys, by_head], 64)
    rows = result.replay.set_index("policy")
    assert (rows.loc["small_keys", "protection"] == "sinks=4,recent=16").all()
    assert (rows.loc["by_head", "granularity"] == "query").all()
    kept = evictlab.kept(small_trace, small_keys, 64)
    sets = next(iter(kept.values()))[0]
    assert len(sets[0]) != len(sets[1]) and 126 <= len(sets[0]) + len(sets[1]) <= 128
    assert all({0, 1, 2, 3, *range(184, 200)} <= set(one) for one in sets)


def test_a_sweep_tunes_what_has_the_parameters_and_protects_what_it_composes(small_trace):
    result = evictlab.sweep(small_trace, ["snapkv", my_snapkv], 48, tune="kernel=3|7")
    assert set(result.tune["policy"]) == {"snapkv"} and set(result.summary["policy"]) == {"snapkv", "my_snapkv"}
    matrix = evictlab.sweep(small_trace, "random", 48, matrix=True, protect="sinks=2,window=8").replay
    assert set(matrix[matrix["policy"] == "compose"]["protection"]) == {"sinks=2,recent=8"}


def test_an_allocator_in_python_divides_the_budget(small_trace):
    @evictlab.allocator()
    def twice_then_nothing(importance, layer, capacity):
        assert importance.shape == (2, 200) and capacity == 64
        return 1.5 * capacity if layer.index == 0 else 0.5 * capacity

    budgets = evictlab.replay(small_trace, twice_then_nothing, 64).budgets
    assert set(budgets[budgets["layer"] == 0]["slots"]) == {96} and set(budgets[budgets["layer"] == 1]["slots"]) == {32}


@pytest.mark.parametrize("returned, said", [
    (lambda rows: rows[:, :, :5].sum(1), r"returned \[4, 5\], must be \[2, 200\] or \[4, 200\]"),
    (lambda rows: rows.sum(1) * numpy.nan, "numbers that are not finite"),
    (lambda rows: "text", "could not convert string to float"),
    (lambda rows: rows.sum(1) * 1j, "must be real numbers, got complex"),
    (lambda rows: evictlab.replay("t.h5", "h2o", 64), "cannot call replay and its like"),
    (lambda rows: None, r"returned \[\], must be|float\(\) argument"),
    (lambda rows: 1 / 0, "ZeroDivisionError"),
])
def test_what_a_scorer_does_wrong_is_one_sentence(small_trace, returned, said):
    @evictlab.scorer()
    def wrong(window_attention, layer):
        return returned(window_attention)

    with pytest.raises(evictlab.Error, match=said) as error:
        evictlab.replay(small_trace, wrong, 64)
    assert str(error.value).startswith("scorer 'wrong', prompt '") and "\n" not in str(error.value)


def test_an_error_names_the_first_prompt_and_layer(small_trace):
    @evictlab.scorer()
    def wrong(window_attention, layer):
        raise RuntimeError("as always")

    for _ in range(10):
        with pytest.raises(evictlab.Error, match="prompt 'synth-000', layer 0: RuntimeError: as always"):
            evictlab.replay(small_trace, [wrong, "snapkv"], [64, 96])


def test_an_allocator_returns_real_numbers(small_trace):
    @evictlab.allocator()
    def imaginary(importance, layer, capacity):
        return capacity * 1j

    with pytest.raises(evictlab.Error, match="allocator 'imaginary', prompt 'synth-000', layer 0: must be real numbers, got complex"):
        evictlab.replay(small_trace, imaginary, 64)


def test_an_output_that_is_a_file_of_the_model_is_refused(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "link").symlink_to(tmp_path / "model" / "model.safetensors")
    for output in ("model/model.safetensors", "link", "none/../model/model.safetensors"):
        with pytest.raises(evictlab.Error, match="that is read here"):
            evictlab._core.refuse_output(tmp_path / output, [str(tmp_path / "model")])
    evictlab._core.refuse_output(tmp_path / "model" / "t.h5", [str(tmp_path / "model"), "someone/a-model", ""])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "model"]


def test_bad_input_is_an_error_in_one_sentence(small_trace, tmp_path):
    for call, said in [
        (lambda: evictlab.Trace(tmp_path / "none.h5"), "no such file"),
        (lambda: evictlab.Trace(small_trace).array(0, 9, "keys"), "layer 9 .* was not recorded"),
        (lambda: evictlab.Trace(small_trace).array(0, 0, "kys"), "no array is called 'kys'"),
        (lambda: evictlab.Trace(small_trace).array("nobody", 0, "keys"), "no prompt is called 'nobody'"),
        (lambda: evictlab.replay(small_trace, "snapkw", 64), "did you mean 'snapkv'"),
        (lambda: evictlab.replay(small_trace, "snapkv", "many"), "many"),
        (lambda: evictlab.replay(small_trace, "snapkv", 64, variant="nobody"), "no policy has the variant"),
        (lambda: evictlab.replay(small_trace, [], 64), "no policies were given"),
        (lambda: evictlab.replay(small_trace, "", 64), "no policies were given"),
        (lambda: evictlab.replay(small_trace, [7], 64), "a policy is text or made with scorer or allocator, got int"),
        (lambda: evictlab.replay(small_trace, "snapkv", []), "budget"),
        (lambda: evictlab.sweep(small_trace, [], 64), "no policies were given"),
        (lambda: evictlab.kept(small_trace, "snapkv,h2o", 64), "one policy, not 2"),
        (lambda: evictlab.advise(small_trace, loss=0.1, policies=[]), "no policies were given"),
        (lambda: evictlab.advise(small_trace, loss=0.1, policies=[my_snapkv]), "policy 'my_snapkv' is no text"),
        (lambda: evictlab.advise(small_trace), "give --loss or --bytes"),
        (lambda: evictlab.scorer(needs="thoughts")(lambda thoughts, layer: thoughts), "cannot need 'thoughts'"),
    ]:
        with pytest.raises(evictlab.Error, match=said) as error:
            call()
        assert "\n" not in str(error.value)


def test_ctrl_c_interrupts_a_replay(small_trace):
    @evictlab.scorer()
    def slow(window_attention, layer):
        threading.Event().wait(0.05)
        return window_attention.sum(1)

    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        evictlab.replay([small_trace], [slow], "40:160:lin100")
        threading.Event().wait(5)
    timer.join()
    assert evictlab.replay(small_trace, "snapkv", 64).replay.shape[0] > 0, "and the next one runs"


# --- writing --------------------------------------------------------------------------------------------------------


def test_what_is_read_can_be_written_and_is_the_same(small_trace, trace, tmp_path):
    writer = evictlab._core.TraceWriter(tmp_path / "copy.h5", trace.model)
    for layer in (0, 1):
        writer.write_output_weight(layer, trace.output_weight(layer))
    for prompt in trace:
        info = {**vars(prompt), "layers": list(prompt.layers), "spans": list(prompt.spans), "missing": ["residual_norms"]}
        file = writer.begin_prompt(info, trace.tokens(prompt.id).tolist())
        for layer in prompt.layers:
            for name in prompt.arrays:
                file.write(layer, name, trace.array(prompt.id, layer, name))
            file.set_query_count(layer, 196)
        file.finish()
    writer.finish()
    assert evictlab.verify(tmp_path / "copy.h5") == []
    copy = evictlab.Trace(tmp_path / "copy.h5")
    for prompt in trace:
        for layer in prompt.layers:
            for name in prompt.arrays:
                numpy.testing.assert_array_equal(copy.array(prompt.id, layer, name), trace.array(prompt.id, layer, name))


def test_a_writer_refuses_prompts_of_other_settings(trace, tmp_path):
    writer = evictlab._core.TraceWriter(tmp_path / "t.h5", trace.model, settings={"dtype": "float16"})
    writer.finish()
    with pytest.raises(evictlab.Error, match=r"other settings \(dtype float16 there, float32 here\)"):
        evictlab._core.TraceWriter(tmp_path / "t.h5", trace.model, append=True, settings={"dtype": "float32"})


def test_numbers_that_are_not_finite_are_not_written(trace, tmp_path):
    writer = evictlab._core.TraceWriter(tmp_path / "t.h5", trace.model)
    prompt = trace.prompts[0]
    info = {**vars(prompt), "layers": list(prompt.layers), "spans": [], "missing": ["residual_norms"]}
    file = writer.begin_prompt(info, trace.tokens(0).tolist())
    with pytest.raises(evictlab.Error, match="attention_mass: head 0: nan at"):
        file.write(0, "attention_mass", numpy.full((4, 200), numpy.nan))
    file.discard()


def test_importing_it_does_not_import_pytorch():
    code = "import sys, evictlab; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
