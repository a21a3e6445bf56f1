"""Small random transformers models, as their configurations make them."""

import numpy
import torch
import transformers

COMMON = {"vocab_size": 96, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
          "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
HYBRID = {"num_hidden_layers": 4, "sliding_window": 24, "layer_types": ["sliding_attention"] * 3 + ["full_attention"]}
OTHERS = {
    "Phi3": {},
    "Gemma2": {"head_dim": 12, "sliding_window": 24, "attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 12},
    "Gemma3Text": {"head_dim": 12, "sliding_window": 24, "layer_types": ["sliding_attention", "full_attention"]},
    "Mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "Qwen2Moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 40, "shared_expert_intermediate_size": 40},
    # Layers without position encoding.
    "Exaone4": {**HYBRID, "sliding_window_pattern": "LLLG"},
    "SmolLM3": {"num_hidden_layers": 4, "no_rope_layer_interval": 2, "use_sliding_window": False},
    # Two attentions a layer, one taken from the other.
    "DiffLlama": {},
    # Keys and values of other dimensions.
    "DeepseekV3": {"num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "v_head_dim": 12,
                   "qk_nope_head_dim": 16, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 20, "n_group": 2,
                   "topk_group": 1, "first_k_dense_replace": 1},
}


def tokens(count, seed=0, vocabulary=90):
    return [int(token) for token in numpy.random.default_rng(seed).integers(3, vocabulary, count)]


def random_model(name, implementation="eager", **more):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**COMMON, **OTHERS.get(name, {}), **more})
    config._attn_implementation = implementation
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def worst(ours, theirs):
    return float(numpy.abs(ours - theirs).max() / numpy.abs(theirs).max())
