"""Options that decide what is recorded: mixed with others they are refused, and so are those that would do nothing."""

import csv
import json
import random

import h5py
import pytest

from conftest import PROGRAM
from trace_digest import seal

WORDS = "the tide waits for a small boat near the harbour and the keeper counts every lamp".split()


@pytest.fixture
def haystack(tmp_path):
    def write(name, seed=1):
        draw = random.Random(seed)
        text = " ".join(" ".join(draw.choices(WORDS, k=9)).capitalize() + "." for _ in range(200))
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def lines(tmp_path):
    def write(*objects):
        path = tmp_path / "lines.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in objects))
        return path

    return write


def tokens(count, seed=1):
    draw = random.Random(seed)
    return [draw.randrange(3, 90) for _ in range(count)]


@pytest.fixture
def refused(evictlab, tmp_path):
    def run(*arguments, saying):
        done = evictlab(*arguments)
        assert done.code == 2 and done.err.count("\n") == 1, done.err
        for piece in [saying] if isinstance(saying, str) else saying:
            assert piece in done.err, done.err

    return run


# ---- what was recorded otherwise ---------------------------------------------------------------------------------


@pytest.fixture
def recorded(evictlab, model, lines, tmp_path):
    """A recording of two prompts, and how to make it."""
    prompts = lines({"id": "a", "tokens": tokens(80)}, {"id": "b", "tokens": tokens(80, 2)})
    command = ("record", "--model", model, "--prompts", prompts, "--tier", "full", "--window", 16, "--future", 4, "--out", tmp_path / "t.h5")
    assert evictlab(*command, "--limit", 1).code == 0
    return command


@pytest.mark.parametrize("option, difference", [
    (("--dtype", "float32"), "dtype float16 there, float32 here"),
    (("--future", 5), "future 4 there, 5 here"),
    (("--temperature", 0.5), "temperature 0 there, 0.5 here"),
    (("--window", 8), "window 16 there, 8 here"),
    (("--gradients", 2), "gradients 0 there, 2 here"),
    (("--layers", "0"), "layers all there, 0 here"),
    (("--evict-at", "context"), "evict-at prompt there, context here"),
])
def test_appending_with_other_settings_is_refused(evictlab, refused, recorded, lines, tmp_path, option, difference):
    trace = tmp_path / "t.h5"
    before = trace.read_bytes()
    changed = [*recorded]
    if option[0] in changed:
        changed[changed.index(option[0]) + 1] = option[1]
    else:
        changed += option
    if option[0] == "--evict-at":
        lines({"id": "c", "tokens": tokens(80), "spans": [{"name": "context", "start": 0, "end": 70}]})
    refused(*changed, "--append", saying=[f"{trace}: holds prompts recorded with other settings ({difference})", "--force"])
    assert trace.read_bytes() == before and not (tmp_path / "t.h5.parts").exists()


def test_the_settings_stay_and_the_same_ones_append(evictlab, recorded, tmp_path):
    done = evictlab(*recorded, "--append")
    assert done.code == 0 and "recorded 2 prompts (1 of them before)" in done.err, done.err
    settings = json.loads(evictlab("info", "--json", tmp_path / "t.h5").out)["settings"]
    assert settings["dtype"] == "float16" and settings["future"] == "4" and settings["window"] == "16"
    with h5py.File(tmp_path / "t.h5") as file:
        assert json.loads(file.attrs["settings"]) == settings
        assert file.attrs["settings"] == json.dumps(settings, sort_keys=True, separators=(",", ":"))


def test_gradients_are_eight_draws_where_no_number_is_given_and_the_same_for_any_number_of_threads(evictlab, recorded, tmp_path):
    def gradients(*options):
        trace = tmp_path / "g.h5"
        assert evictlab(*recorded[:-1], trace, "--force", *options).code == 0
        assert evictlab("verify", trace).code == 0
        with h5py.File(trace) as file:
            layers = file["prompts/b/layers"]
            arrays = [layers[layer]["output_gradients"] for layer in sorted(layers)]
            return file["prompts/b"].attrs["gradient_draws"], [(one[()].tobytes(), one.attrs["scale"], one.shape) for one in arrays]

    draws, eight = gradients("--gradients", "--threads", 1)
    assert draws == 8 and eight[0][2][:2] == (8, 4)
    assert gradients("--gradients", 8, "--threads", 3) == (8, eight)
    assert gradients("--gradients", 2)[0] == 2
    with h5py.File(tmp_path / "t.h5") as file:
        assert "gradient_draws" not in file["prompts/a"].attrs and "output_gradients" not in file["prompts/a/layers/0"]


def test_a_recording_with_gradients_resumes_as_if_nothing_had_been(evictlab, recorded, tmp_path):
    whole, resumed = tmp_path / "whole.h5", tmp_path / "resumed.h5"
    assert evictlab(*recorded[:-1], whole, "--gradients", 3).code == 0
    assert evictlab(*recorded[:-1], resumed, "--gradients", 3, "--limit", 1).code == 0
    assert evictlab(*recorded[:-1], resumed, "--gradients", 3, "--append").code == 0
    with h5py.File(whole) as one, h5py.File(resumed) as other:
        for layer in one["prompts/b/layers"]:
            name = f"prompts/b/layers/{layer}/output_gradients"
            assert (one[name][()] == other[name][()]).all()


def test_a_trace_without_settings_is_appended_to(evictlab, recorded, tmp_path):
    """One that was recorded before settings were stored."""
    with h5py.File(tmp_path / "t.h5", "r+") as file:
        del file.attrs["settings"]
        seal(file)
    done = evictlab(*recorded, "--append", "--dtype", "float32")
    assert done.code == 0 and "recorded 2 prompts" in done.err, done.err


def test_parts_of_other_settings_are_refused_and_dropped_with_force(evictlab, refused, recorded, tmp_path):
    (tmp_path / "t.h5").unlink()
    assert evictlab(*recorded, "--limit", 1, "--keep-parts").code == 0
    other = (*recorded, "--dtype", "float32")
    refused(*other, saying="holds prompts recorded with other settings (dtype float16 there, float32 here)")
    resumed = evictlab(*recorded, "--force")
    assert resumed.code == 0 and "recorded 2 prompts (1 of them before)" in resumed.err, resumed.err
    (tmp_path / "t.h5").unlink()
    assert evictlab(*recorded, "--limit", 1, "--keep-parts").code == 0
    done = evictlab(*other, "--force")
    assert done.code == 0 and "recorded 2 prompts in" in done.err, done.err
    with h5py.File(tmp_path / "t.h5") as file:
        assert {file[f"prompts/{id}/layers/0/keys"].dtype.name for id in "ab"} == {"float32"}


# ---- cuts --------------------------------------------------------------------------------------------------------


def test_no_cut_takes_a_needle(evictlab, refused, model, lines, tmp_path):
    line = {"id": "a", "tokens": tokens(2400), "spans": [{"name": "context", "start": 0, "end": 2400}]}
    needle = {"name": "needle", "start": 1150, "end": 1160}
    command = ("record", "--model", model, "--window", 8, "--future", 4, "--layers", 0, "--out", tmp_path / "t.h5", "--prompts")
    with_needle = lines({**line, "spans": [*line["spans"], needle]})
    refused(*command, with_needle, saying=["exceed the model's 2304", "cutting the middle would cut its span 'needle'", "--needle-lengths"])
    refused(*command, with_needle, "--max-positions", 1000, saying="cuts its span 'needle' (1150..1160)")
    refused(*command, lines(line), saying="--max-positions 2300 cuts the middle")
    assert evictlab(*command, lines(line), "--max-positions", 300).code == 0


# ---- options that would do nothing -------------------------------------------------------------------------------


@pytest.mark.parametrize("option, saying", [
    (("--top-k", 5), "--top-k needs a --temperature above 0"),
    (("--top-p", 0.5), "--top-p needs a --temperature above 0"),
    (("--seed", 5), "--seed needs a --temperature above 0, or --needle FILE"),
    (("--temperature", 0.5), "--temperature is of generated futures, but every prompt's future is its answer"),
    (("--dtype", "float32"), "--dtype is of queries, keys and values, which only --tier full records"),
])
def test_sampling_that_does_nothing_is_refused(refused, model, lines, tmp_path, option, saying):
    prompts = lines({"tokens": tokens(80), "answer_tokens": [5, 6, 7]})
    refused("record", "--model", model, "--prompts", prompts, "--out", tmp_path / "t.h5", *option, saying=f"record: {saying}")
    assert not list(tmp_path.glob("t.h5*"))


VALIDATE = ("--policy", "snapkv", "--budget", 64)


@pytest.mark.parametrize("command", ["record", "validate"])
def test_prompt_options_that_do_nothing_are_refused(refused, model, lines, haystack, tmp_path, command):
    prompts, text, form = lines({"tokens": tokens(80)}), haystack("text.txt"), tmp_path / "form.txt"
    form.write_text("{context} {question}")
    common = (command, "--model", model, "--out", tmp_path / "out", *(VALIDATE if command == "validate" else ()))
    refused(*common, "--prompts", prompts, "--needle-lengths", 300, saying="--needle-lengths needs --needle FILE")
    refused(*common, "--prompts", prompts, "--needle-depths", 0, saying="--needle-depths needs --needle FILE")
    refused(*common, "--needle", text, "--limit", 3, saying="--limit needs --prompts FILE.jsonl")
    refused(*common, "--prompts", prompts, "--template", form, saying=f"{form}: --template is for LongBench's lines and for --needle")
    form.write_text("{context}\n")
    refused(*common, "--needle", text, "--template", form, saying=f"{form}: a prompt template needs {{input}} or {{question}}")
    assert not list(tmp_path.glob("out*"))


def ending_model(model, tmp_path, token):
    """The shipped model, for which `token` ends a text."""
    copy = tmp_path / "model"
    copy.mkdir()
    for file in model.iterdir():
        if file.is_file() and file.name not in ("config.json", "generation_config.json"):
            (copy / file.name).symlink_to(file)
    for name in ("config.json", "generation_config.json"):
        (copy / name).write_text(json.dumps({**json.loads((model / name).read_text()), "eos_token_id": token}))
    return copy


def test_futures_that_end_early_are_reported(evictlab, model, lines, tmp_path):
    prompts = lines({"id": "a", "tokens": tokens(80)})
    common = ("--prompts", prompts, "--window", 16, "--future", 12)
    done = evictlab("record", "--model", model, *common, "--out", tmp_path / "whole.h5")
    with h5py.File(tmp_path / "whole.h5") as file:
        future = file["prompts/a/tokens"][80:].tolist()
    assert "note" not in done.err and len(future) == 12
    third = next(token for place, token in enumerate(future) if place >= 2 and token not in future[:place])
    there = future.index(third)
    ending = ending_model(model, tmp_path, third)
    done = evictlab("record", "--model", ending, *common, "--out", tmp_path / "t.h5")
    assert f"note: 1 of 1 generated futures end before the tokens asked for, where the model ends the text; the shortest has {there}" in done.err
    done = evictlab("validate", "--model", ending, *common, "--policy", "knorm", "--budget", 40, "--out", tmp_path / "live")
    assert done.code == 0 and "note: future: the model ends the text before the tokens asked for (1 run)" in done.err, done.err


# ---- needles, and commands that know less --------------------------------------------------------------------------


def test_needles_in_two_texts_have_ids_of_their_own(evictlab, refused, model, haystack, tmp_path):
    needles = ("--needle-lengths", 200, "--needle-depths", 0.5)
    common = ("record", "--model", model, "--layers", 0, *needles, "--out", tmp_path / "t.h5")
    assert evictlab(*common, "--needle", haystack("tide.txt"), "--needle", haystack("lamp.txt", 2)).code == 0
    with h5py.File(tmp_path / "t.h5") as file:
        assert sorted(file["prompts"]) == ["needle-lamp-200-0.5", "needle-tide-200-0.5"]
    refused(*common, "--force", "--needle", haystack("a/tide.txt"), "--needle", haystack("b/tide.txt"),
            saying="the prompt id 'needle-tide-200-0.5' occurs twice, in tide.txt and in tide.txt")


def test_validate_hides_needles(evictlab, model, haystack, tmp_path):
    done = evictlab("validate", "--model", model, "--needle", haystack("tide.txt"), "--needle-lengths", 200, "--needle-depths", 0.5,
                    "--policy", "knorm", "--budget", 64, "--out", tmp_path / "live")
    assert done.code == 0 and (tmp_path / "live/needles.csv").exists(), done.err


def test_errors_name_options_that_the_command_has(evictlab, refused, small_trace, model, tmp_path):
    done = evictlab("synth", "--out", small_trace)
    assert done.code == 2 and "exists already; replace it (--force)" in done.err and "--append" not in done.err
    (tmp_path / "trace.h5").write_text("mine")
    done = evictlab("demo", "--model", model, "--out", tmp_path)
    assert done.code == 2 and "exists already; replace it (--force)" in done.err and "--append" not in done.err
    refused("demo", "--model", tmp_path, "--out", tmp_path / "out", saying=f"{tmp_path}/config.json")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [("record", "--out", "t.h5"), ("replay", "t.h5"), ("analyze", "t.h5")])
def test_commands_of_one_process_are_refused_under_mpirun(mpirun, command):
    done = mpirun(3, PROGRAM, *command)
    assert done.code == 2, done.err
    ours = [line for line in done.err.splitlines() if line.startswith("evictlab: ")]
    assert ours == [f"evictlab: {command[0]}: runs as one process, but 3 were started; start it without mpirun or srun "
                    "(sweep and validate share their work)"]


# ---- prompts of other lengths ------------------------------------------------------------------------------------


def test_a_prompt_shorter_than_the_window_is_recorded_and_policies_say_that_it_is_too_short(evictlab, model, lines, tmp_path):
    prompts = lines({"id": "long", "tokens": tokens(90)}, {"id": "short", "tokens": tokens(12)})
    done = evictlab("record", "--model", model, "--prompts", prompts, "--future", 3, "--out", tmp_path / "t.h5")
    assert done.code == 0 and "1 of 2 prompts are shorter than the window of 64" in done.err, done.err
    with h5py.File(tmp_path / "t.h5") as trace:
        assert [int(trace[f"prompts/{name}"].attrs["window"]) for name in ("long", "short")] == [64, 12]
    arguments = ("--policy", "snapkv(window=16),random", "--budget", "24")
    done = evictlab("replay", tmp_path / "t.h5", *arguments, "--out", tmp_path / "replay.csv")
    assert done.code == 0 and "is not run on 1 of 2 prompts: they have fewer queries than it reads" in done.err, done.err
    assert evictlab("sweep", tmp_path / "t.h5", *arguments, "--out", tmp_path / "sweep").code == 0
    done = evictlab("validate", "--model", model, "--prompts", prompts, "--future", 3, *arguments, "--out", tmp_path / "live")
    assert done.code == 0, done.err
    for table in ("replay.csv", "sweep/replay.csv", "live/validate.csv"):
        with open(tmp_path / table) as file:
            rows = [row for row in csv.DictReader(file) if row["policy"] == "snapkv" and row.get("layer", "all") == "all"]
        assert {row["prompt"]: row["status"] for row in rows} == {"long": "ok", "short": "too-short"}, table
    done = evictlab("replay", tmp_path / "t.h5", "--policy", "snapkv(window=65)", "--budget", 80, "--out", tmp_path / "x" / "x.csv")
    assert done.code == 2 and "record with --window 65" in done.err
    only_short = lines({"id": "short", "tokens": tokens(12)})
    assert evictlab("record", "--model", model, "--prompts", only_short, "--future", 3, "--out", tmp_path / "s.h5").code == 0
    done = evictlab("replay", tmp_path / "s.h5", "--policy", "snapkv(window=16)", "--budget", 24, "--out", tmp_path / "x" / "x.csv")
    assert done.code == 2 and "reads more queries than prompt 'short' has" in done.err and done.err.count("\n") == 1
