"""Checkpoints as converters and trainers write them."""

import json
import shutil
import struct

import h5py
import numpy
import pytest

from conftest import ROOT

TINY = ROOT / "tests" / "data" / "checkpoints" / "gqa-f32"


def read_tensors(path):
    """The header and the bytes of a safetensors file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_tensors(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def without(name, header, data):
    """The header and the bytes of all other tensors."""
    begin, end = header.pop(name)["data_offsets"]
    for tensor, entry in header.items():
        if tensor != "__metadata__" and entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [offset - (end - begin) for offset in entry["data_offsets"]]
    return header, data[:begin] + data[end:]


@pytest.fixture
def tiny(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(TINY, model)
    return model


@pytest.fixture
def record(evictlab, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"id": "p", "tokens": list(range(3, 43)), "answer_tokens": [5, 6]}) + "\n")

    def run(model, name="t.h5"):
        done = evictlab("record", "--model", model, "--prompts", prompts, "--window", 8, "--out", tmp_path / name)
        return done, tmp_path / name

    return run


def window(path):
    with h5py.File(path) as file:
        return file["prompts/p/layers/1/window_attention"][()]


def test_a_tensor_beside_the_layers_is_named_and_ignored(tiny, record):
    _, plain = record(tiny, "plain.h5")
    header, data = read_tensors(tiny / "model.safetensors")
    header["value_head.weight"] = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}
    write_tensors(tiny / "model.safetensors", header, data + bytes(4))
    done, trace = record(tiny)
    assert done.code == 0, done.err
    assert "1 tensor is not part of the model and ignored: value_head.weight" in done.err
    assert numpy.array_equal(window(trace), window(plain))


def test_names_without_the_models_prefix_are_the_same_model(tiny, record):
    _, plain = record(tiny, "plain.h5")
    header, data = read_tensors(tiny / "model.safetensors")
    write_tensors(tiny / "model.safetensors", {name.removeprefix("model."): entry for name, entry in header.items()}, data)
    done, trace = record(tiny)
    assert done.code == 0, done.err
    with h5py.File(trace) as renamed, h5py.File(plain) as first:
        assert renamed.attrs["fingerprint"] == first.attrs["fingerprint"]
    assert numpy.array_equal(window(trace), window(plain))


def test_an_index_may_list_an_output_head_that_is_the_embedding(tiny, record):
    header, data = without("lm_head.weight", *read_tensors(tiny / "model.safetensors"))
    (tiny / "model.safetensors").unlink()
    write_tensors(tiny / "model-00001-of-00001.safetensors", header, data)
    listed = [name for name in header if name != "__metadata__"] + ["lm_head.weight"]
    index = {"weight_map": dict.fromkeys(listed, "model-00001-of-00001.safetensors")}
    (tiny / "model.safetensors.index.json").write_text(json.dumps(index))
    config = json.loads((tiny / "config.json").read_text())
    for tied in (True, False):
        (tiny / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": tied}))
        done, _ = record(tiny, f"{tied}.h5")
        if tied:
            assert done.code == 0, done.err
        else:
            assert done.code == 2 and "'lm_head.weight' is missing, though model.safetensors.index.json lists it" in done.err


def test_a_pickle_is_refused_with_the_reason(tiny, record):
    (tiny / "model.safetensors").rename(tiny / "pytorch_model.bin")
    done, trace = record(tiny)
    assert done.code == 2 and "pytorch_model.bin: is a PyTorch pickle, which can run code" in done.err
    assert not trace.exists()
