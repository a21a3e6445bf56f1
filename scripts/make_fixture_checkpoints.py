#!/usr/bin/env python3
"""Makes tests/data/checkpoints: tiny random models and what Hugging Face transformers computes with them.

    python3 -m venv .venv && .venv/bin/pip install -r tests/requirements-conformance.txt
    .venv/bin/python scripts/make_fixture_checkpoints.py tests/data/checkpoints
    .venv/bin/python scripts/make_fixture_checkpoints.py --matrix DIRECTORY   # every architecture with every RoPE type

Written by torch 2.13.0 and transformers 5.23.0. Every directory is a model in Hugging Face layout, and
expected.safetensors beside it holds, from a float32 forward pass with eager attention:

    input_ids         [n]            int32
    logits            [n, vocab]     after every position
    window_attention  [L, H, w, n]   softmax rows of the last w = 8 queries
    attention_mass    [L, H, n]      sum over all queries
    greedy_ids        [t]            int32, the greedy continuation, decoded token by token with a cache
    greedy_logits     [t, vocab]     after each of them

Prompts are longer than sliding windows and than the original positions of scaled RoPEs. InternLM2, which transformers
does not have, is a Llama checkpoint repacked into its names and its one matrix for queries, keys and values.
"""

import argparse
import json
import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

WINDOW = 8
CONTINUATION = 12

COMMON = {
    "vocab_size": 96,
    "num_hidden_layers": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}

MODELS = {
    "gqa-f32": {
        "dtype": torch.float32,
        "length": 130,
        "config": {"hidden_size": 48, "intermediate_size": 80, "num_attention_heads": 6, "num_key_value_heads": 2},
        "rope": {"rope_type": "default", "rope_theta": 10000.0},
        "old": True,
    },
    "llama3-rope-tied-f16-sharded": {
        "dtype": torch.float16,
        "length": 150,
        "config": {
            "hidden_size": 40,
            "head_dim": 16,
            "intermediate_size": 72,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
        # The wavelengths of 8 frequencies lie on both sides of 64/4 and 64/1 and between them.
        "rope": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "mha-biases-bf16": {
        "dtype": torch.bfloat16,
        "length": 110,
        "config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "attention_bias": True,
            "mlp_bias": True,
        },
        "rope": {"rope_type": "default", "rope_theta": 500.0},
    },
    "qwen2-gqa-tied-bf16": {
        "architecture": Qwen2Config,
        "dtype": torch.bfloat16,
        "length": 120,
        "config": {
            "hidden_size": 48,
            "intermediate_size": 72,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
        "rope": {"rope_type": "default", "rope_theta": 1000000.0},
    },
}


# A small model per architecture. Qwen2 has its window in layer 1 alone, as max_window_layers says, Qwen3 in layer 0, as
# layer_types says. "old" is the notation of transformers before version 5.
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
QWEN_WINDOW = {"use_sliding_window": True, "sliding_window": 20}
ARCHITECTURES = {
    "llama": {"architecture": LlamaConfig, "config": {**SMALL, "attention_bias": True}},
    "mistral": {"architecture": MistralConfig, "config": {**SMALL, "head_dim": 12, "sliding_window": 24}, "old": True},
    "qwen2": {"architecture": Qwen2Config, "config": {**SMALL, **QWEN_WINDOW, "max_window_layers": 1}, "old": True},
    "qwen3": {
        "architecture": Qwen3Config,
        "config": {
            **SMALL,
            **QWEN_WINDOW,
            "head_dim": 16,
            "layer_types": ["sliding_attention", "full_attention"],
            "tie_word_embeddings": True,
        },
    },
}
# The original positions are 40, half of what is read.
ROPES = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 3.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 40,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 8.0, "original_max_position_embeddings": 40},
}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
# Of the matrix, what is committed: each architecture, each RoPE type and each dtype at least once.
COMMITTED = [
    ("llama", "linear", "bf16"),
    ("llama", "dynamic", "f16"),
    ("mistral", "default", "f16"),
    ("qwen2", "yarn", "bf16"),
    ("qwen3", "dynamic", "f32"),
]


def small_model(architecture, rope, dtype):
    """A row of MODELS for one cell of the matrix."""
    spec = ARCHITECTURES[architecture]
    # Dynamic scaling knows the original positions only as max_position_embeddings.
    positions = 40 if rope in ("linear", "dynamic") else 160
    return {
        **spec,
        "dtype": DTYPES[dtype],
        "length": 84,
        "config": {**spec["config"], "max_position_embeddings": positions},
        "rope": {"rope_theta": 500.0, **ROPES[rope]},
        "repacked": architecture == "llama",
        "sharded": dtype == "f16" and architecture != "llama",
    }


def small_models(cells):
    return {"-".join(cell): small_model(*cell) for cell in cells}


def matrix_cells():
    for row, architecture in enumerate(ARCHITECTURES):
        for column, rope in enumerate(ROPES):
            yield architecture, rope, list(DTYPES)[(row + column) % len(DTYPES)]


def draw_weights(model, generator):
    """Weights of unit gain; queries and keys larger, so that attention is far from uniform."""
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if name.endswith("bias"):
            drawn = 0.5 * noise
        elif "norm" in name:
            drawn = 1 + 0.2 * noise
        elif "embed_tokens" in name:
            drawn = noise
        else:
            gain = 1.8 if "q_proj" in name or "k_proj" in name else 1.0
            drawn = gain * noise / weight.shape[1] ** 0.5
        weight.data.copy_(drawn)


def rewrite_in_old_notation(directory):
    """config.json as transformers before version 5 wrote it."""
    path = directory / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    rope["type"] = rope.pop("rope_type")
    config["rope_scaling"] = None if rope["type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    config.pop("layer_types", None)
    path.write_text(json.dumps(config, indent=2) + "\n")


def internlm2_name(name):
    """A tensor of a Llama checkpoint as InternLM2 names it; query, key and value become one."""
    for old, new in {
        "lm_head": "output",
        "embed_tokens": "tok_embeddings",
        "self_attn.o_proj": "attention.wo",
        "input_layernorm": "attention_norm",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "feed_forward.w1",
        "mlp.up_proj": "feed_forward.w3",
        "mlp.down_proj": "feed_forward.w2",
    }.items():
        name = name.replace(old, new)
    return name


def pack(query, key, value, kv_heads):
    """[G, (H/G + 2) * d, ...]: of each kv head the rows of its query heads, its key, its value."""
    parts = [rows.reshape(kv_heads, -1, *rows.shape[1:]) for rows in (query, key, value)]
    return torch.cat(parts, dim=1).flatten(0, 1).contiguous()


def repack_as_internlm2(llama, directory):
    """The same model in InternLM2's layout. It has no biases in its MLP, so the Llama model has none there either."""
    directory.mkdir(parents=True, exist_ok=True)
    config = json.loads((llama / "config.json").read_text())
    config.update(architectures=["InternLM2ForCausalLM"], model_type="internlm2", bias=config.pop("attention_bias"))
    del config["mlp_bias"]
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    rewrite_in_old_notation(directory)
    weights = load_file(llama / "model.safetensors")
    packed = {internlm2_name(name): tensor for name, tensor in weights.items() if ".self_attn." not in name}
    for name, tensor in weights.items():
        if ".o_proj." in name:
            packed[internlm2_name(name)] = tensor
        elif ".q_proj." in name:
            others = [weights[name.replace("q_proj", other)] for other in ("k_proj", "v_proj")]
            target = name.replace("self_attn.q_proj", "attention.wqkv")
            packed[target] = pack(tensor, *others, config["num_key_value_heads"])
    save_file(packed, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "generation_config.json").write_bytes((llama / "generation_config.json").read_bytes())
    expected = directory / "expected.safetensors"
    expected.unlink(missing_ok=True)
    expected.symlink_to(f"../{llama.name}/expected.safetensors")


@torch.no_grad()
def expected_tensors(directory, length, generator, **options):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager", **options).eval()
    ids = torch.randint(3, model.config.vocab_size, (1, length), generator=generator)
    out = model(ids, output_attentions=True, use_cache=True)
    attention = torch.stack([layer[0] for layer in out.attentions])  # [L, H, n, n]
    cache = out.past_key_values
    following = out.logits[:, -1:].argmax(dim=-1)
    greedy, greedy_logits = [], []
    for _ in range(CONTINUATION):
        greedy.append(following)
        step = model(following, past_key_values=cache, use_cache=True)
        greedy_logits.append(step.logits[0, -1])
        following = step.logits[:, -1:].argmax(dim=-1)
    return {
        "input_ids": ids[0].to(torch.int32),
        "logits": out.logits[0].contiguous(),
        "window_attention": attention[:, :, -WINDOW:, :].contiguous(),
        "attention_mass": attention.double().sum(dim=2).float().contiguous(),
        "greedy_ids": torch.cat(greedy, dim=1)[0].to(torch.int32).contiguous(),
        "greedy_logits": torch.stack(greedy_logits).contiguous(),
    }


def make(directory, spec, seed):
    generator = torch.Generator().manual_seed(seed)
    directory.mkdir(parents=True, exist_ok=True)
    config = spec.get("architecture", LlamaConfig)(**{**COMMON, **spec["config"]}, rope_parameters=dict(spec["rope"]))
    model = AutoModelForCausalLM.from_config(config)
    draw_weights(model, generator)
    sharded = spec.get("sharded", "sharded" in directory.name)
    model.to(spec["dtype"]).save_pretrained(directory, max_shard_size="24KB" if sharded else "5GB")
    save_file(expected_tensors(directory, spec["length"], generator), directory / "expected.safetensors")
    if spec.get("repacked"):
        repack_as_internlm2(directory, directory.with_name(directory.name.replace("llama", "internlm2", 1)))
    if spec.get("old"):
        rewrite_in_old_notation(directory)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--matrix", action="store_true", help="every architecture with every RoPE type")
    arguments = parser.parse_args()
    models = small_models(matrix_cells()) if arguments.matrix else {**MODELS, **small_models(COMMITTED)}
    for index, (name, spec) in enumerate(models.items()):
        make(arguments.out / name, spec, 1000 * arguments.seed + index)


if __name__ == "__main__":
    main()
