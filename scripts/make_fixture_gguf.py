#!/usr/bin/env python3
"""Makes GGUF files and what other packages compute from them.

    python3 -m venv .venv && .venv/bin/pip install -r tests/requirements-conformance.txt
    .venv/bin/python scripts/make_fixture_gguf.py tests/data           # rewrites the committed fixtures
    .venv/bin/python scripts/make_fixture_gguf.py --all DIRECTORY      # a model of every type, architecture and RoPE
    .venv/bin/python scripts/make_fixture_gguf.py --expect DIRECTORY   # expected.safetensors for its model.gguf, which
                                                                       # transformers reads itself

Written by gguf 0.19.0, torch 2.13.0 and transformers 5.24.0. Nothing is downloaded.

gguf/blocks.gguf           a tensor of random blocks of every type
gguf/blocks.safetensors    the same tensors, expanded by the gguf package
checkpoints/gguf-*/        model.gguf, quantised from a random checkpoint, and expected.safetensors, which
                           scripts/make_fixture_checkpoints.py describes, of the checkpoint with the weights that the
                           gguf package expands. Types that the package cannot quantise have random blocks.

The names, the metadata and the order of query and key rows are those of llama.cpp's converter.
"""

import argparse
import pathlib
import tempfile

import gguf
import numpy
import torch
from gguf import GGMLQuantizationType as Type
from make_fixture_checkpoints import COMMON, draw_weights, expected_tensors
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

QUANTISED = [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K,
             Type.IQ4_NL, Type.IQ4_XS, Type.MXFP4]
TYPES = [Type.F32, Type.F16, Type.BF16, *QUANTISED]
# Where a block has its halves: the scale, and the minimum. MXFP4 has an exponent in byte 0 instead.
HALVES = {Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.Q2_K: [80, 82],
          Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.IQ4_NL: [0], Type.IQ4_XS: [0]}


def set_halves(blocks, type, values):
    for place in HALVES.get(type, []):
        blocks[..., place : place + 2] = values.astype(numpy.float16).reshape(*blocks.shape[:-1], 1).view(numpy.uint8)


def random_blocks(rng, type, rows, columns, gain):
    """Rows of random blocks whose numbers have the standard deviation `gain`."""
    size, bytes_per_block = gguf.GGML_QUANT_SIZES[type]
    blocks = rng.integers(0, 256, (rows, columns // size, bytes_per_block), dtype=numpy.uint8)
    set_halves(blocks, type, numpy.ones(blocks.shape[:-1]))
    spread = gguf.quants.dequantize(blocks.reshape(rows, -1), type).std()
    set_halves(blocks, type, numpy.full(blocks.shape[:-1], gain / spread))
    return blocks.reshape(rows, -1)


def write_blocks(directory):
    rng = numpy.random.default_rng(5)
    directory.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(directory / "blocks.gguf", "blocks")
    expected = {}
    for type in TYPES:
        rows = 2
        if type not in QUANTISED:
            numbers = rng.standard_normal((rows, 40)).astype(numpy.float32)
            stored = gguf.quants.quantize(numbers, type)
        else:
            size, bytes_per_block = gguf.GGML_QUANT_SIZES[type]
            blocks = rng.integers(0, 256, (rows, max(256 // size, 2), bytes_per_block), dtype=numpy.uint8)
            # Scales of all magnitudes, subnormal ones too; no infinities, which are not the blocks' business.
            for place in HALVES.get(type, []):
                halves = (numpy.exp2(rng.uniform(-24, 15, blocks.shape[:-1])) * rng.choice([-1, 1], blocks.shape[:-1]))
                halves = halves.astype(numpy.float16).reshape(*blocks.shape[:-1], 1)
                blocks[..., place : place + 2] = halves.view(numpy.uint8)
            if type == Type.MXFP4:
                blocks[..., 0] = rng.choice([0, 1, 2, 64, 127, 128, 200, 252], blocks.shape[:-1])
            stored = blocks.reshape(rows, -1)
        expected[type.name] = gguf.quants.dequantize(stored, type).astype(numpy.float32)
        writer.add_tensor(type.name, stored, raw_dtype=type)
    finish(writer)
    save_file(expected, directory / "blocks.safetensors")


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


MODULES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    name = name.replace("model.layers.", "blk.")
    for module, other in MODULES.items():
        name = name.replace(module + ".", other + ".")
    return name


def permuted(rows, heads):
    """Rows that turn together half a head apart, side by side."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def unpermuted(rows, heads):
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def heads_of(name, config, architecture):
    """How many heads' rows to permute; 0 = none."""
    if architecture == "llama" and ".q_proj." in name:
        return config.num_attention_heads
    if architecture == "llama" and ".k_proj." in name:
        return config.num_key_value_heads
    return 0


def frequency_divisors(config):
    """What llama.cpp's converter writes for the RoPE type llama3."""
    rope = config.rope_parameters
    dimension = config.head_dim
    frequencies = 1.0 / rope["rope_theta"] ** (torch.arange(0, dimension, 2, dtype=torch.float32) / dimension)
    original = rope["original_max_position_embeddings"]
    low, high = original / rope["low_freq_factor"], original / rope["high_freq_factor"]
    divisors = []
    for frequency in frequencies:
        wavelength = 2 * torch.pi / frequency
        if wavelength < high:
            divisors.append(1.0)
        elif wavelength > low:
            divisors.append(rope["factor"])
        else:
            smooth = (original / wavelength - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return numpy.array(divisors, dtype=numpy.float32)


def write_metadata(writer, config):
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_eos_token_id(config.eos_token_id)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", frequency_divisors(config))


def stored_weight(rng, weight, type):
    if weight.ndim == 1:
        return weight, Type.F32
    try:
        return gguf.quants.quantize(weight, type), type
    except NotImplementedError:
        return random_blocks(rng, type, *weight.shape, gain=weight.std()), type


@torch.no_grad()
def make_model(directory, architecture, config, type, embedding_type, length, seed):
    """model.gguf and expected.safetensors of a random model."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = numpy.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).float()
    draw_weights(model, generator)
    writer = gguf.GGUFWriter(directory / "model.gguf", architecture)
    write_metadata(writer, config)
    for name, parameter in model.named_parameters():
        heads = heads_of(name, config, architecture)
        weight = parameter.numpy()
        weight = permuted(weight, heads) if heads else weight
        stored, stored_type = stored_weight(rng, weight, embedding_type if "embed_tokens" in name else type)
        writer.add_tensor(gguf_name(name), stored, raw_dtype=stored_type)
        expanded = gguf.quants.dequantize(stored, stored_type).reshape(weight.shape)
        parameter.copy_(torch.from_numpy(unpermuted(expanded, heads) if heads else expanded))
    finish(writer)
    with tempfile.TemporaryDirectory() as checkpoint:
        model.save_pretrained(checkpoint)
        expected = expected_tensors(checkpoint, length, generator)
    save_file({name: tensor.numpy() for name, tensor in expected.items()}, directory / "expected.safetensors")


CONFIGS = {"llama": LlamaConfig, "mistral": MistralConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}
SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
# K blocks have 256 elements, and a row is whole blocks.
WIDE = {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}
ROPES = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 40},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 40},
}


def config_of(architecture, rope, sizes, **more):
    positions = 40 if rope == "linear" else 160
    parameters = {"rope_theta": 500.0, **ROPES[rope]}
    keys = {**COMMON, **sizes, "max_position_embeddings": positions, **more}
    if architecture == "mistral":
        keys["sliding_window"] = None
    return CONFIGS[architecture](**keys, rope_parameters=parameters)


def make_named(root, architecture, rope, type, seed, embedding_type=None, **more):
    wide = gguf.GGML_QUANT_SIZES[type][0] == 256
    config = config_of(architecture, rope, WIDE if wide else SMALL, **more)
    directory = root / f"gguf-{architecture}-{rope}-{type.name.lower()}"
    # Files of Mistral's models say llama.
    name = "llama" if architecture == "mistral" else architecture
    make_model(directory, name, config, type, embedding_type or type, 84, seed)


def write_committed(root):
    make_named(root, "llama", "llama3", Type.Q4_1, 1, embedding_type=Type.Q8_0, tie_word_embeddings=True)
    make_named(root, "qwen2", "yarn", Type.Q8_0, 2)
    make_named(root, "qwen3", "default", Type.MXFP4, 3)
    make_named(root, "mistral", "linear", Type.Q5_0, 4)


def write_all(root):
    seed = 100
    for type in TYPES:
        seed += 1
        make_named(root, "llama", "default", type, seed, attention_bias=type == Type.Q4_0, mlp_bias=type == Type.Q4_0)
    for architecture in CONFIGS:
        for rope in ROPES:
            seed += 1
            make_named(root, architecture, rope, Type.Q5_1, seed)


def expect(directory):
    generator = torch.Generator().manual_seed(1)
    expected = expected_tensors(directory, 120, generator, gguf_file="model.gguf")
    save_file({name: tensor.numpy() for name, tensor in expected.items()}, directory / "expected.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--all", action="store_true", help="a model of every type, architecture and RoPE")
    parser.add_argument("--expect", action="store_true", help="what transformers computes for DIRECTORY/model.gguf")
    arguments = parser.parse_args()
    if arguments.expect:
        expect(arguments.out)
    elif arguments.all:
        write_all(arguments.out)
    else:
        write_blocks(arguments.out / "gguf")
        write_committed(arguments.out / "checkpoints")


if __name__ == "__main__":
    main()
