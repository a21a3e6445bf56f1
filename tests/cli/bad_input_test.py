"""Bad input gets one clear line on stderr, exit code 2, and leaves nothing behind."""

import json
import pathlib
import shutil
import struct
import subprocess

import pytest

from conftest import PROGRAM, ROOT


@pytest.fixture
def refused(evictlab, tmp_path):
    """Runs a command that must be refused with a line holding every given piece of text."""

    def check(*arguments, saying):
        before = sorted(p for p in tmp_path.rglob("*"))
        done = evictlab(*arguments)
        assert done.code == 2, (done.code, done.out, done.err)
        assert done.err.startswith("evictlab: ") and done.err.count("\n") == 1, done.err
        for piece in [saying] if isinstance(saying, str) else saying:
            assert piece in done.err, done.err
        assert sorted(p for p in tmp_path.rglob("*")) == before, "something was left behind"

    return check


@pytest.fixture
def broken_model(model, tmp_path):
    """A copy of the shipped model to break."""
    copy = tmp_path / "model"
    copy.mkdir()
    for name in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"):
        shutil.copy(model / name, copy / name)
    return copy


@pytest.fixture
def prompts(tmp_path):
    def write(*lines):
        path = tmp_path / "prompts.jsonl"
        path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
        return path

    return write


LONG = "<bos>" + " The code of numeric is2461." * 20


def record(model, prompts, out, *more):
    return ("record", "--model", model, "--prompts", prompts, "--out", out, *more)


# --- commands and options --------------------------------------------------------------------------


def test_unknown_command_names_the_nearest(refused):
    refused("recrod", saying=["unknown command 'recrod'", "record"])


def test_unknown_option_names_the_nearest(refused):
    refused("synth", "--lenght", 10, saying=["--lenght", "--length"])


def test_option_values_are_checked(refused, tmp_path):
    refused("synth", "--out", tmp_path / "t.h5", "--length", "many", saying=["--length", "many"])
    refused("synth", "--out", tmp_path / "t.h5", "--length", "-5", saying="--length")
    refused("synth", saying="--out is missing")


def test_no_command_shows_the_usage(evictlab):
    done = evictlab()
    assert done.code == 2 and "usage: evictlab" in done.err


# --- models ----------------------------------------------------------------------------------------


def test_missing_model(refused, prompts, tmp_path):
    for line in ({"prompt": LONG}, {"messages": [{"role": "user", "content": LONG}]}):
        refused(*record(tmp_path / "none", prompts(line), tmp_path / "t.h5"), saying="none: no such model")
        refused("validate", "--model", tmp_path / "none", "--prompts", prompts(line), "--policy", "h2o", "--budget", 64,
                "--out", tmp_path / "v", saying="none: no such model")


def test_unsupported_architecture_is_named(refused, broken_model, prompts, tmp_path):
    config = json.loads((broken_model / "config.json").read_text())
    config["architectures"] = ["FancyForCausalLM"]
    (broken_model / "config.json").write_text(json.dumps(config))
    refused(*record(broken_model, prompts({"prompt": LONG}), tmp_path / "t.h5"),
            saying=["FancyForCausalLM", "LlamaForCausalLM"])


@pytest.mark.parametrize("key, value", [("hidden_size", 100), ("num_attention_heads", 3), ("vocab_size", 100),
                                        ("num_hidden_layers", 7), ("intermediate_size", 351), ("hidden_size", "wide")])
def test_config_that_contradicts_the_weights(refused, broken_model, prompts, tmp_path, key, value):
    config = json.loads((broken_model / "config.json").read_text())
    config[key] = value
    (broken_model / "config.json").write_text(json.dumps(config))
    refused(*record(broken_model, prompts({"prompt": LONG}), tmp_path / "t.h5"), saying=[])


def damage_header(path, change):
    """Rewrites a safetensors file with its JSON header changed."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


FIRST = "model.layers.0.self_attn.q_proj.weight"
SECOND = "model.layers.0.self_attn.k_proj.weight"


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:5]),
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(struct.pack("<Q", 2**63) + path.read_bytes()[8:]),
        lambda path: path.write_bytes(struct.pack("<Q", 10**9) + path.read_bytes()[8:]),
        lambda path: path.write_bytes(path.read_bytes()[:8] + b"x" * 200 + path.read_bytes()[208:]),
        lambda path: damage_header(path, lambda h: h[FIRST].update(data_offsets=h[SECOND]["data_offsets"])),
        lambda path: damage_header(path, lambda h: h[FIRST].update(dtype="F32")),
        lambda path: damage_header(path, lambda h: h[FIRST].update(dtype="Q4")),
        lambda path: damage_header(path, lambda h: h[FIRST].update(shape=[64, 256])),
        lambda path: damage_header(path, lambda h: h.pop(FIRST)),
        lambda path: path.unlink(),
    ],
    ids=["5-bytes", "cut-header", "cut-data", "huge-header", "oversized-header", "noise-header", "overlap", "dtype",
         "unknown-dtype", "shape", "missing-tensor", "missing-file"],
)
def test_damaged_safetensors(refused, broken_model, prompts, tmp_path, damage):
    damage(broken_model / "model.safetensors")
    refused(*record(broken_model, prompts({"prompt": LONG}), tmp_path / "t.h5"), saying="safetensors")


def test_damaged_tokenizer(refused, broken_model, prompts, tmp_path):
    (broken_model / "tokenizer.json").write_text("{")
    refused(*record(broken_model, prompts({"prompt": LONG}), tmp_path / "t.h5"), saying="tokenizer.json")


# --- prompts ---------------------------------------------------------------------------------------


def test_a_sentencepiece_model_that_is_none(refused, broken_model, tmp_path):
    (broken_model / "tokenizer.json").unlink()
    (tmp_path / "t.txt").write_text("some words")
    arguments = ("record", "--model", broken_model, "--text", tmp_path / "t.txt", "--out", tmp_path / "t.h5")
    refused(*arguments, saying="no tokenizer.json and no tokenizer.model")
    for damaged in (b"", b"{}", bytes(range(256)) * 8):
        (broken_model / "tokenizer.model").write_bytes(damaged)
        refused(*arguments, saying="tokenizer.model: not a SentencePiece model")
    # The library reads anywhere where its table of normalisation tells it to.
    damaged = bytearray((ROOT / "tests/data/sentencepiece/unigram.model").read_bytes())
    damaged[6182:10182] = b"\xff" * 4000
    (broken_model / "tokenizer.model").write_bytes(damaged)
    refused(*arguments, saying="tokenizer.model: the SentencePiece library crashed on it; the file is damaged")


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        ({"rope_scaling": {"type": "su", "factor": 4.0}}, "rope type 'su' is not supported; known: default, linear, dynamic"),
        ({"rope_scaling": {"type": "yarn", "factor": 0}}, "rope_scaling.factor: expected a number above 0, got 0"),
        ({"architectures": ["Qwen3ForCausalLM"]}, "q_norm.weight' is missing"),
        ({"architectures": ["InternLM2ForCausalLM"]}, "tensor 'model.tok_embeddings.weight' is missing"),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": -1}, "sliding_window: expected a whole number from 1 to 2147483647, got -1"),
        ({"architectures": ["Qwen2ForCausalLM"], "layer_types": "x"}, "layer_types: expected an array, got a string"),
    ],
)
def test_a_configuration_that_no_model_has(refused, broken_model, prompts, tmp_path, change, saying):
    config = json.loads((broken_model / "config.json").read_text())
    config.pop("rope_parameters", None)
    (broken_model / "config.json").write_text(json.dumps({**config, **change}))
    refused(*record(broken_model, prompts({"prompt": LONG}), tmp_path / "t.h5"), saying=saying)


def test_missing_prompts(refused, model, tmp_path):
    refused(*record(model, tmp_path / "none.jsonl", tmp_path / "t.h5"), saying="none.jsonl")
    refused("record", "--model", model, "--out", tmp_path / "t.h5", saying="--prompts")


@pytest.mark.parametrize(
    "lines, saying",
    [
        (['{"id": "a", "prompt": "x"\n'], ":1:"),
        ([{"id": "a", "prompt": LONG}, "[1, 2]\n"], ":2:"),
        ([{"id": "a"}], "\"prompt\""),
        ([{"id": "a", "prompt": 7}], "prompt: expected a string, got a number"),
        ([{"id": "a", "prompt": LONG}, {"id": "a", "prompt": LONG}], "used before"),
        ([{"id": "a", "prompt": ""}], "empty"),
        ([{"id": "a", "prompt": LONG * 20}], "exceed the model's 2304"),
        ([{"id": "a", "tokens": [1] * 100 + [9999]}], "9999"),
        ([{"id": "a", "tokens": [1] * 100 + [-1]}], "-1"),
        ([{"id": "a", "prompt": LONG, "spans": [{"name": "context", "start": 5, "end": 10**6}]}], "outside"),
        ([{"id": "a", "prompt": LONG, "spans": "none"}], "spans"),
        (['{"id": "a", "prompt": "x", "depth": 1e999}\n'], "not valid JSON"),
        (['{"id": "a", "tokens": ' + "[" * 200000 + "]" * 200000 + "}\n"], "nested"),
        ([{"id": "a\nb", "prompt": ""}], "a\\x0ab"),
        ([], "no prompts"),
    ],
)
def test_bad_prompts(refused, model, prompts, tmp_path, lines, saying):
    refused(*record(model, prompts(*lines), tmp_path / "t.h5"), saying=saying)


def test_bytes_that_are_not_text(refused, model, tmp_path):
    (tmp_path / "noise.txt").write_bytes(b"abc\xff\xfe" * 100)
    refused("record", "--model", model, "--text", tmp_path / "noise.txt", "--out", tmp_path / "t.h5", saying="UTF-8")


def test_evict_at_context_needs_a_context(refused, model, prompts, tmp_path):
    refused(*record(model, prompts({"id": "a", "prompt": LONG}), tmp_path / "t.h5", "--evict-at", "context"),
            saying="context")


def test_future_answer_needs_an_answer(refused, model, prompts, tmp_path):
    refused(*record(model, prompts({"id": "a", "prompt": LONG}), tmp_path / "t.h5", "--future", "answer"),
            saying="answer")


def test_layers_out_of_range(refused, model, prompts, tmp_path):
    refused(*record(model, prompts({"id": "a", "prompt": LONG}), tmp_path / "t.h5", "--layers", "0,8"), saying="0..7")


def test_nothing_is_overwritten_without_force(refused, model, prompts, small_trace, tmp_path):
    copy = shutil.copy(small_trace, tmp_path / "t.h5")
    refused(*record(model, prompts({"id": "a", "prompt": LONG}), copy), saying="exists")
    (tmp_path / "replay.csv").write_text("mine")
    refused("replay", small_trace, "--policy", "full", "--budget", 64, "--out", tmp_path / "replay.csv", saying="exists")
    assert (tmp_path / "replay.csv").read_text() == "mine"


def test_weights_that_are_not_numbers(refused, broken_model, prompts, tmp_path):
    path = broken_model / "model.safetensors"
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    start = 8 + length + json.loads(data[8 : 8 + length])[FIRST]["data_offsets"][0]
    data[start : start + 2] = struct.pack("<H", 0x7E00)  # a half NaN
    path.write_bytes(data)
    refused(*record(broken_model, prompts({"id": "a", "prompt": LONG}), tmp_path / "t.h5"), saying="the model's hidden states are not finite")


def test_append_and_force_contradict_each_other(refused, model, prompts, tmp_path):
    refused(*record(model, prompts({"id": "a", "prompt": LONG}), tmp_path / "t.h5", "--append", "--force"),
            saying=["--append", "--force"])


def test_going_on_with_other_options_is_refused(evictlab, refused, model, prompts, tmp_path):
    command = record(model, prompts({"id": "a", "prompt": LONG}), tmp_path / "t.h5", "--keep-parts", "--future", 2)
    assert evictlab(*command).code == 0
    refused(*command, "--tier", "full", saying="recorded with other settings (tier summary there, full here)")
    refused(*command, "--window", 32, saying="recorded with other settings (window 64 there, 32 here)")
    other = record(model, prompts({"id": "a", "prompt": LONG + " More."}), tmp_path / "t.h5", "--keep-parts", "--future", 2)
    refused(*other, saying=["'a'", "recorded otherwise", "other tokens"])


def test_a_device_is_no_place_for_a_trace(refused, model, prompts):
    refused(*record(model, prompts({"id": "a", "prompt": LONG}), "/dev/null", "--force"), saying="not a regular file")


def test_results_cannot_replace_the_trace_or_one_another(refused, small_trace, tmp_path):
    copy = shutil.copy(small_trace, tmp_path / "t.h5")
    replay = ("replay", copy, "--policy", "full", "--budget", 64, "--force")
    refused(*replay, "--out", copy, saying="that is read here")
    refused(*replay, "--out", tmp_path / "r.csv", "--kept", copy, saying="that is read here")
    refused(*replay, "--out", tmp_path / "r.csv", "--kept", tmp_path / "r.csv", saying="written twice")
    refused(*replay, "--out", tmp_path / "budgets.csv", saying="written twice")


def test_output_that_cannot_be_written_is_no_success(small_trace):
    done = subprocess.run(f"'{PROGRAM}' info '{small_trace}' > /dev/full", shell=True, capture_output=True, text=True)
    assert done.returncode == 2 and "standard output" in done.stderr


# --- traces ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["info", "verify", "replay", "analyze"])
@pytest.mark.parametrize("damage", ["missing", "empty", "noise", "truncated", "version", "directory", "csv"])
def test_bad_traces(refused, small_trace, tmp_path, command, damage):
    path = tmp_path / "trace.h5"
    whole = pathlib.Path(small_trace).read_bytes()
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "noise":
        path.write_bytes(bytes((i * 7919) % 251 for i in range(5000)))
    elif damage == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "csv":
        path.write_text("a,b\n1,2\n")
    elif damage == "directory":
        path.mkdir()
    elif damage == "version":
        h5py = pytest.importorskip("h5py")
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            file.attrs["format_version"] = 999
    more = {
        "replay": ("--policy", "full", "--budget", 64, "--out", tmp_path / "replay.csv"),
        "analyze": ("--out", tmp_path / "out"),
    }.get(command, ())
    refused(command, path, *more, saying="999" if damage == "version" else "trace.h5")


@pytest.mark.parametrize("dataset", ["future_mass", "window_attention", "keys"])
def test_a_flipped_bit_is_reported_and_never_silently_read(refused, small_trace, tmp_path, dataset):
    h5py = pytest.importorskip("h5py")
    copy = pathlib.Path(shutil.copy(small_trace, tmp_path / "t.h5"))
    with h5py.File(copy) as file:
        offset = next(iter(file["prompts"].values()))[f"layers/1/{dataset}"].id.get_offset()
    data = bytearray(copy.read_bytes())
    data[offset + 101] ^= 4
    copy.write_bytes(data)
    refused("replay", copy, "--policy", "snapkv", "--budget", 64, "--out", tmp_path / "r.csv",
            saying=[dataset, "damaged"])


def test_what_the_trace_cannot_serve_is_left_out_of_a_list(evictlab, small_trace, tmp_path):
    done = evictlab("replay", small_trace, "--policy", "full,snapkv(window=33)", "--budget", 64, "--out",
                    tmp_path / "replay.csv")
    assert done.code == 0 and "left out" in done.err and "33" in done.err
    assert "snapkv" not in (tmp_path / "replay.csv").read_text()


# --- policies and budgets --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy, budget, saying",
    [
        ("snapvk", "64", ["snapvk", "snapkv"]),
        ("snapkv(windw=8)", "64", ["windw", "window"]),
        ("snapkv(kernel=4)", "64", ["kernel", "4"]),
        ("snapkv(window=0)", "64", "window"),
        ("snapkv(window=many)", "64", "window"),
        ("snapkv(pooling=median)", "64", ["pooling", "median"]),
        ("snapkv(window=8", "64", "snapkv"),
        ("snapkv(window=33)", "64", ["33", "32"]),
        ("snapkv", "0", "0"),
        ("snapkv", "-3", "-3"),
        ("snapkv", "1.5", "1.5"),
        ("snapkv", "lots", "lots"),
        ("snapkv", "16:4:log3", "16:4"),
        ("snapkv", "", "budget"),
    ],
)
def test_bad_policies_and_budgets(refused, small_trace, tmp_path, policy, budget, saying):
    refused("replay", small_trace, "--policy", policy, "--budget", budget, "--out", tmp_path / "replay.csv",
            saying=saying)


def test_a_budget_below_protection_is_refused_when_nothing_else_is_asked(refused, small_trace, tmp_path):
    refused("replay", small_trace, "--policy", "snapkv(window=32)", "--budget", "16", "--out", tmp_path / "replay.csv",
            saying=["16", "32"])


def test_a_budget_below_protection_is_a_row_among_others(evictlab, small_trace, tmp_path):
    done = evictlab("replay", small_trace, "--policy", "snapkv(window=32),oracle", "--budget", "16,64", "--out",
                    tmp_path / "replay.csv")
    assert done.code == 0, done.err
    rows = (tmp_path / "replay.csv").read_text().splitlines()
    assert any("infeasible" in row for row in rows) and any(row.endswith(",ok") for row in rows)


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "\x00\x01\x02", "prompt,policy\n"])
def test_plot_of_what_is_no_result_table(refused, tmp_path, content):
    (tmp_path / "replay.csv").write_text(content)
    refused("plot", tmp_path / "replay.csv", "--out", tmp_path / "figures", saying="replay.csv")
