"""Attention arrays that a framework returned become a trace that replays like a recorded one."""

import csv
import json

import h5py
import numpy
import pytest

LAYERS, HEADS, LENGTH, FUTURE = 3, 4, 40, 8
POSITIONS = LENGTH + FUTURE


@pytest.fixture
def attention():
    """[L, H, n+T, n+T] causal softmax rows."""
    random = numpy.random.default_rng(3)
    logits = 3 * random.standard_normal((LAYERS, HEADS, POSITIONS, POSITIONS))
    logits[:, :, numpy.triu_indices(POSITIONS, 1)[0], numpy.triu_indices(POSITIONS, 1)[1]] = -numpy.inf
    weights = numpy.exp(logits - logits.max(axis=-1, keepdims=True))
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(numpy.float32)


@pytest.fixture
def save(tmp_path):
    def saved(array, name="prompt.npy"):
        numpy.save(tmp_path / name, array)
        return tmp_path / name

    return saved


def write_safetensors(path, **tensors):
    """The format is simple enough to write by hand: a length, JSON, bytes."""
    names = {"float32": "F32", "float16": "F16", "float64": "F64", "int32": "I32", "int64": "I64", "uint16": "BF16"}
    header, blob = {}, b""
    for name, array in tensors.items():
        array = numpy.ascontiguousarray(array)
        header[name.replace("__", ".")] = {"dtype": names[str(array.dtype)], "shape": list(array.shape),
                                           "data_offsets": [len(blob), len(blob) + array.nbytes]}
        blob += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + blob)
    return path


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_an_imported_trace_holds_what_its_rows_say(evictlab, attention, save, tmp_path):
    out = tmp_path / "t.h5"
    done = evictlab("import", save(attention), "--out", out, "--prompt-length", LENGTH, "--window", 16, "--kv-heads", 2)
    assert done.code == 0, done.err
    assert evictlab("verify", out).code == 0
    with h5py.File(out) as trace:
        prompt = trace["prompts/prompt"]
        assert prompt.attrs["missing"] == b"output_norms" or prompt.attrs["missing"] == "output_norms"
        for layer in range(LAYERS):
            group = prompt[f"layers/{layer}"]
            assert set(group) == {"window_attention", "attention_mass", "future_mass"}
            window = group["window_attention"][:].astype(numpy.float64) / group["window_attention"].attrs["scale"]
            numpy.testing.assert_allclose(window, attention[layer, :, LENGTH - 16:LENGTH, :LENGTH], rtol=2e-3, atol=1e-8)
            numpy.testing.assert_allclose(group["attention_mass"], attention[layer, :, :LENGTH, :LENGTH].sum(axis=1),
                                          rtol=1e-5)
            numpy.testing.assert_allclose(group["future_mass"], attention[layer, :, LENGTH:].sum(axis=1), rtol=1e-5)


def test_what_an_import_lacks_is_an_empty_cell_and_a_reason(evictlab, attention, save, tmp_path):
    out = tmp_path / "t.h5"
    assert evictlab("import", save(attention), "--out", out, "--future", FUTURE, "--kv-heads", 2).code == 0
    done = evictlab("replay", out, "--policy", "snapkv(window=4),h2o(window=4),oracle,criticalkv(window=4)", "--budget",
                    "12", "--out", tmp_path / "r.csv")
    assert done.code == 0 and "criticalkv" in done.err and "recorded without" in done.err, done.err
    rows = rows_of(tmp_path / "r.csv")
    assert {row["policy"] for row in rows} == {"snapkv", "h2o", "oracle"}
    for row in rows:
        assert row["ada_bound"] == row["head_bound"] == row["keptmax_bound"] == row["exact_loss"] == ""
        assert 0 < float(row["retained_mass"]) < 1 and float(row["regret"]) >= 0


def test_a_safetensors_file_by_layers_with_norms_and_tokens_gives_bounds(evictlab, attention, tmp_path):
    norms = numpy.random.default_rng(1).random((LAYERS, HEADS, POSITIONS)).astype(numpy.float32)
    file = write_safetensors(tmp_path / "p.safetensors", output_norms=norms, tokens=numpy.arange(POSITIONS),
                             **{f"attention__{layer}": attention[layer][None] for layer in range(LAYERS)})
    out = tmp_path / "t.h5"
    done = evictlab("import", file, "--out", out, "--prompt-length", LENGTH)
    assert done.code == 0, done.err
    with h5py.File(out) as trace:
        assert list(trace["prompts/p/tokens"]) == list(range(POSITIONS))
        numpy.testing.assert_array_equal(trace["prompts/p/layers/2/output_norms"], norms[2])
    done = evictlab("replay", out, "--policy", "criticalkv(window=4)", "--budget", "12", "--out", tmp_path / "r.csv")
    assert done.code == 0, done.err
    for row in rows_of(tmp_path / "r.csv"):
        assert float(row["keptmax_bound"]) <= float(row["head_bound"]) <= float(row["ada_bound"])


def test_the_last_rows_alone_give_the_same_but_for_the_mass(evictlab, attention, save, tmp_path):
    for name, array in (("all", attention), ("last", attention[:, :, -(FUTURE + 16):])):
        assert evictlab("import", save(array, f"{name}.npy"), "--out", tmp_path / f"{name}.h5", "--prompt-length",
                        LENGTH, "--window", 16).code == 0
    with h5py.File(tmp_path / "all.h5") as whole, h5py.File(tmp_path / "last.h5") as last:
        for field in ("window_attention", "future_mass"):
            path = f"layers/1/{field}"
            numpy.testing.assert_array_equal(whole[f"prompts/all/{path}"], last[f"prompts/last/{path}"])
        assert "attention_mass" not in last["prompts/last/layers/1"]


def test_half_precision_rows_and_a_batch_axis_are_taken(evictlab, attention, save, tmp_path):
    bfloat16 = (attention.view(numpy.uint32) >> 16).astype(numpy.uint16)
    write_safetensors(tmp_path / "b.safetensors", attention=bfloat16[:, None])
    files = [save(attention[:, None].astype(numpy.float16), "h.npy"), save(attention.astype(numpy.float64), "d.npy"),
             tmp_path / "b.safetensors"]
    done = evictlab("import", *files, "--out", tmp_path / "t.h5", "--prompt-length", LENGTH)
    assert done.code == 0 and "imported 3 prompts" in done.err, done.err
    assert evictlab("verify", tmp_path / "t.h5").code == 0
    with h5py.File(tmp_path / "t.h5") as trace:
        for prompt, tolerance in (("h", 2e-3), ("d", 1e-6), ("b", 2e-2)):
            numpy.testing.assert_allclose(trace[f"prompts/{prompt}/layers/0/future_mass"],
                                          attention[0, :, LENGTH:].sum(axis=1), rtol=tolerance, atol=1e-6)


def test_prompts_can_be_appended_and_imported_again_without_harm(evictlab, attention, save, tmp_path):
    out = tmp_path / "t.h5"
    common = ("--out", out, "--prompt-length", LENGTH)
    assert evictlab("import", save(attention, "a.npy"), *common).code == 0
    assert evictlab("import", save(attention[:, :, ::1], "b.npy"), *common, "--append").code == 0
    with h5py.File(out) as trace:
        assert set(trace["prompts"]) == {"a", "b"}


@pytest.mark.parametrize("change, saying", [
    (lambda a: a * 2, "sums to 2"),
    (lambda a: a - 1e-3, "no probability"),
    (lambda a: numpy.where(numpy.arange(POSITIONS) == 7, numpy.nan, a), "no probability"),
    (lambda a: a[:, :, ::-1], "but sees only 0 to 0"),
    (lambda a: a[0], "shape"),
    (lambda a: a[:, :, :0], "shape"),
    (lambda a: a[:, :, -FUTURE:], "all of the future"),
    (lambda a: numpy.asfortranarray(a), "Fortran"),
    (lambda a: a.astype(">f4"), "little-endian"),
    (lambda a: (a * 100).astype(numpy.int32), "type I32"),
])
def test_arrays_that_are_no_attention_are_refused(evictlab, attention, save, tmp_path, change, saying):
    done = evictlab("import", save(change(attention)), "--out", tmp_path / "t.h5", "--prompt-length", LENGTH)
    assert done.code == 2 and saying in done.err and done.err.count("\n") == 1, done.err
    assert [path.name for path in tmp_path.iterdir()] == ["prompt.npy"]


def test_damaged_npy_files_are_refused_in_one_line(evictlab, attention, save, tmp_path):
    whole = save(attention).read_bytes()
    for damage in (b"", b"\x93NUMPY", whole[:9], whole[:60], whole[:-1], whole + b"x", whole.replace(b"'shape'", b"'shade'"),
                   whole.replace(b"(3, 4", b"(3,-4"), whole.replace(b"(3, 4", b"(9, 4"), b"\x93NUMPY\x09" + whole[7:],
                   whole.replace(b"False", b"Fal(e")):
        broken = tmp_path / "broken.npy"
        broken.write_bytes(damage)
        done = evictlab("import", broken, "--out", tmp_path / "t.h5", "--prompt-length", LENGTH)
        assert done.code == 2 and done.err.count("\n") == 1, done.err
        assert str(broken) in done.err


def test_options_that_cannot_be_met_are_refused(evictlab, attention, save, tmp_path):
    file = save(attention)
    for more, saying in ((["--kv-heads", 3], "evenly"), (["--prompt-length", POSITIONS], "future of at least one"),
                         (["--future", 2], "--prompt-length or --future"), (["--append", "--force"], "one of them")):
        length = [] if "--prompt-length" in more else ["--prompt-length", LENGTH]
        done = evictlab("import", file, "--out", tmp_path / "t.h5", *length, *more)
        assert done.code == 2 and saying in done.err and done.err.count("\n") == 1, done.err
    save(attention[:2], "other.npy")
    done = evictlab("import", file, tmp_path / "other.npy", "--out", tmp_path / "t.h5", "--future", FUTURE)
    assert done.code == 2 and "one model" in done.err, done.err
