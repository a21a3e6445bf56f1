"""Models in GGUF files, from the command line."""

import json
import os
import struct

import h5py
import numpy
import pytest

from conftest import ROOT

QUANTISED = ROOT / "tests/data/checkpoints/gguf-llama-llama3-q4_1/model.gguf"
UINT32, FLOAT32, STRING, ARRAY = 4, 6, 8, 9
F16 = 1


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key, type, value):
    return text(key) + struct.pack("<I", type) + value


def read_safetensors(path):
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "F16"
        yield name, numpy.frombuffer(content[8 + length + begin : 8 + length + end], numpy.float16).reshape(entry["shape"])


MODULES = {"model.layers.": "blk.", "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
           "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
           "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
           "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def convert(model, out):
    """A directory's Llama model as llama.cpp's converter writes it, without its tokenizer."""
    config = json.loads((model / "config.json").read_text())
    heads = {".q_proj.": config["num_attention_heads"], ".k_proj.": config["num_key_value_heads"]}
    sizes = {"block_count": "num_hidden_layers", "embedding_length": "hidden_size", "feed_forward_length": "intermediate_size",
             "context_length": "max_position_embeddings", "attention.head_count": "num_attention_heads",
             "attention.head_count_kv": "num_key_value_heads", "attention.key_length": "head_dim"}
    pairs = [pair("general.architecture", STRING, text("llama"))]
    pairs += [pair(f"llama.{key}", UINT32, struct.pack("<I", config[name])) for key, name in sizes.items()]
    for key, name in {"rope.freq_base": "rope_theta", "attention.layer_norm_rms_epsilon": "rms_norm_eps"}.items():
        pairs.append(pair(f"llama.{key}", FLOAT32, struct.pack("<f", config[name])))
    pairs.append(pair("tokenizer.ggml.eos_token_id", UINT32, struct.pack("<I", config["eos_token_id"])))
    entries, data = [], b""
    for name, tensor in read_safetensors(model / "model.safetensors"):
        for module, count in heads.items():
            if module in name:  # rows that turn together lie side by side
                tensor = tensor.reshape(count, 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)
        for old, new in MODULES.items():
            name = name.replace(old, new)
        shape = tensor.shape[::-1]
        entries.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, F16, len(data)))
        data += tensor.tobytes()
        data += bytes(-len(data) % 32)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(entries), len(pairs)) + b"".join(pairs + entries)
    out.write_bytes(header + bytes(-len(header) % 32) + data)
    return out


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    tokens = [3 + (7 * i + i * i) % 90 for i in range(80)]
    path.write_text("".join(json.dumps({"id": f"p{n}", "tokens": tokens[n:]}) + "\n" for n in range(2)))
    return path


def record(model, prompts, out):
    return ("record", "--model", model, "--prompts", prompts, "--tier", "full", "--window", 16, "--future", 6, "--out", out)


def datasets(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def test_a_gguf_file_and_the_directory_it_came_from_record_the_same(evictlab, model, prompts, tmp_path):
    gguf = convert(model, tmp_path / "demo-f16.gguf")
    for source, trace in ((model, "directory.h5"), (gguf, "file.h5")):
        done = evictlab(*record(source, prompts, tmp_path / trace))
        assert done.code == 0, done.err
    ours, other = datasets(tmp_path / "file.h5"), datasets(tmp_path / "directory.h5")
    assert ours.keys() == other.keys() and len(ours) > 20
    for name, values in ours.items():
        assert numpy.array_equal(values, other[name]), name
    with h5py.File(tmp_path / "file.h5") as file:
        assert file.attrs["model"] == "demo-f16"


def test_a_quantised_model_is_recorded_replayed_and_validated(evictlab, prompts, tmp_path):
    done = evictlab(*record(QUANTISED, prompts, tmp_path / "t.h5"))
    assert done.code == 0, done.err
    assert evictlab("verify", tmp_path / "t.h5").code == 0
    done = evictlab("validate", "--model", QUANTISED, "--prompts", prompts, "--window", 16, "--future", 6, "--policy",
                    "snapkv(window=8)", "--budget", 32, "--out", tmp_path / "live")
    assert done.code == 0, done.err
    assert (tmp_path / "live/validate.csv").exists()


def test_a_file_without_a_tokenizer_says_so(evictlab, tmp_path):
    (tmp_path / "t.txt").write_text("some text " * 50)
    done = evictlab("record", "--model", QUANTISED, "--text", tmp_path / "t.txt", "--out", tmp_path / "t.h5")
    assert done.code == 2 and done.err.count("\n") == 1, done.err
    assert str(QUANTISED) in done.err and "the metadata has no 'tokenizer.ggml.model'" in done.err


@pytest.mark.parametrize("name", ["model.gguf", "big-00002-of-00003.gguf"])
def test_no_output_is_a_part_of_the_model(evictlab, prompts, tmp_path, name):
    for part in ("model.gguf", *(f"big-0000{i}-of-00003.gguf" for i in (1, 2, 3))):
        os.link(QUANTISED, tmp_path / part) if part == "model.gguf" else (tmp_path / part).write_bytes(part.encode())
    model = tmp_path / ("model.gguf" if name == "model.gguf" else "big-00001-of-00003.gguf")
    before = (tmp_path / name).read_bytes()
    done = evictlab(*record(model, prompts, tmp_path / name), "--force")
    assert done.code == 2 and "that is read here" in done.err, done.err
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("change, saying", [
    (lambda sound: b"", "not a GGUF file"),
    (lambda sound: sound[:1000], "truncated"),
    (lambda sound: sound[:-100], "leaves the file"),
    (lambda sound: sound[:8] + b"\xff" * 8 + sound[16:], "truncated: the list of tensors"),
    (lambda sound: sound[:16] + b"\xff" * 8 + sound[24:], "truncated"),
    (lambda sound: sound.replace(b"llama.block_count", b"llama.block_xount"), "has no 'llama.block_count'"),
    (lambda sound: sound.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0llamb"), "'llamb' is not supported"),
])  # fmt: skip
def test_a_damaged_file_ends_in_one_line(evictlab, prompts, tmp_path, change, saying):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(change(QUANTISED.read_bytes()))
    done = evictlab(*record(broken, prompts, tmp_path / "t.h5"))
    assert done.code == 2 and done.err.count("\n") == 1, (done.code, done.err)
    assert str(broken) in done.err and saying in done.err, done.err
    assert not (tmp_path / "t.h5").exists()
