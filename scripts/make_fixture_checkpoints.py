#!/usr/bin/env python3
"""Makes tests/data/checkpoints: tiny random models and what Hugging Face transformers computes with them.

    python3 -m venv .venv && .venv/bin/pip install -r tests/requirements-conformance.txt
    .venv/bin/python scripts/make_fixture_checkpoints.py tests/data/checkpoints

Written by torch 2.13.0 and transformers 5.23.0. Every directory is a model in Hugging Face layout, and
expected.safetensors beside it holds, from a float32 forward pass with eager attention:

    input_ids         [n]            int32
    logits            [n, vocab]     after every position
    window_attention  [L, H, w, n]   softmax rows of the last w = 16 queries
    attention_mass    [L, H, n]      sum over all queries
    greedy_ids        [t]            int32, the greedy continuation
"""

import argparse
import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

WINDOW = 16
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
    config["rope_theta"] = rope["rope_theta"]
    config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def expected_tensors(directory, length, generator):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.randint(3, COMMON["vocab_size"], (1, length), generator=generator)
    out = model(ids, output_attentions=True)
    attention = torch.stack([layer[0] for layer in out.attentions])  # [L, H, n, n]
    sequence = ids
    for _ in range(CONTINUATION):
        following = model(sequence).logits[0, -1].argmax()
        sequence = torch.cat([sequence, following.view(1, 1)], dim=1)
    return {
        "input_ids": ids[0].to(torch.int32),
        "logits": out.logits[0].contiguous(),
        "window_attention": attention[:, :, -WINDOW:, :].contiguous(),
        "attention_mass": attention.double().sum(dim=2).float().contiguous(),
        "greedy_ids": sequence[0, length:].to(torch.int32).contiguous(),
    }


def make(directory, spec, seed):
    generator = torch.Generator().manual_seed(seed)
    directory.mkdir(parents=True, exist_ok=True)
    config = spec.get("architecture", LlamaConfig)(**COMMON, **spec["config"], rope_parameters=spec["rope"])
    model = AutoModelForCausalLM.from_config(config)
    draw_weights(model, generator)
    sharded = "sharded" in directory.name
    model.to(spec["dtype"]).save_pretrained(directory, max_shard_size="24KB" if sharded else "5GB")
    save_file(expected_tensors(directory, spec["length"], generator), directory / "expected.safetensors")
    if directory.name == "gqa-f32":
        rewrite_in_old_notation(directory)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for index, (name, spec) in enumerate(MODELS.items()):
        make(arguments.out / name, spec, 1000 * arguments.seed + index)


if __name__ == "__main__":
    main()
