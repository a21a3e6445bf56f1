"""A Llama or Qwen2 decoder small enough to train on a CPU, with the names and the arithmetic of transformers."""

import dataclasses
import json
import pathlib

import safetensors.torch
import torch
import torch.nn.functional as functional
from attention import causal_attention
from torch import nn


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What config.json says; `qkv_bias` and `tie_word_embeddings` tell Qwen2 from Llama."""

    architecture: str  # LlamaForCausalLM or Qwen2ForCausalLM
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    tie_word_embeddings: bool
    vocabulary: int = 1024
    positions: int = 2304
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-5

    @property
    def qkv_bias(self) -> bool:
        return self.architecture == "Qwen2ForCausalLM"

    def to_json(self, eos: int, bos: int) -> dict:
        """The keys of transformers' LlamaConfig or Qwen2Config."""
        return {
            "architectures": [self.architecture],
            "model_type": {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2"}[self.architecture],
            "num_hidden_layers": self.layers,
            "hidden_size": self.hidden,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.intermediate,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.positions,
            "rope_theta": self.rope_theta,
            "rms_norm_eps": self.norm_epsilon,
            "tie_word_embeddings": self.tie_word_embeddings,
            "hidden_act": "silu",
            "bos_token_id": bos,
            "eos_token_id": eos,
            "dtype": "float16",
        }

    @classmethod
    def read(cls, directory: pathlib.Path) -> "ModelConfig":
        keys = json.loads((directory / "config.json").read_text())
        return cls(
            keys["architectures"][0],
            keys["num_hidden_layers"],
            keys["hidden_size"],
            keys["num_attention_heads"],
            keys["num_key_value_heads"],
            keys["head_dim"],
            keys["intermediate_size"],
            keys["tie_word_embeddings"],
            keys["vocab_size"],
            keys["max_position_embeddings"],
            keys["rope_theta"],
            keys["rms_norm_eps"],
        )


def rotary_tables(length: int, head_dim: int, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin [T, d/2]: pair (i, i + d/2) of position t turns by t * theta^(-2i/d)."""
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
    return angles.cos().float(), angles.sin().float()


def rotate(heads: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary position encoding of [B, T, heads, d], halves convention."""
    first, second = heads.float().chunk(2, dim=-1)
    cosine, sine = cosine[:, None, :], sine[:, None, :]
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


class Norm(nn.Module):
    """Root mean square normalisation (Zhang and Sennrich 2019), in float32."""

    def __init__(self, size: int, epsilon: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        states = states.float()
        return self.weight * states * torch.rsqrt(states.square().mean(-1, keepdim=True) + self.epsilon)


class Attention(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        width, kv_width = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden, width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden, kv_width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden, kv_width, bias=config.qkv_bias)
        self.o_proj = nn.Linear(width, config.hidden, bias=False)

    def project(self, states, cosine, sine):
        shape = (*states.shape[:2], -1, self.config.head_dim)
        query = rotate(self.q_proj(states).view(shape), cosine, sine)
        key = rotate(self.k_proj(states).view(shape), cosine, sine)
        return query, key, self.v_proj(states).view(shape)


class FeedForward(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.down_proj = nn.Linear(config.intermediate, config.hidden, bias=False)

    def forward(self, states):
        return self.down_proj(functional.silu(self.gate_proj(states)) * self.up_proj(states))


class Layer(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.input_layernorm = Norm(config.hidden, config.norm_epsilon)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = Norm(config.hidden, config.norm_epsilon)
        self.mlp = FeedForward(config)

    def before_attention(self, states, cosine, sine):
        return self.self_attn.project(self.input_layernorm(states), cosine, sine)

    def after_attention(self, states, attended):
        states = states + self.self_attn.o_proj(attended.flatten(2))
        return states + self.mlp(self.post_attention_layernorm(states))


class Decoder(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocabulary, config.hidden)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = Norm(config.hidden, config.norm_epsilon)


class Model(nn.Module):
    """Parameters are named as in transformers' checkpoints: model.layers.0.self_attn.q_proj.weight, ..."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden, config.vocabulary, bias=False)
        cosine, sine = rotary_tables(config.positions, config.head_dim, config.rope_theta)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02 if "embed" in name or "lm_head" in name else parameter.shape[1] ** -0.5)
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                with torch.no_grad():
                    parameter.mul_((2 * config.layers) ** -0.5)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, tokens: torch.Tensor, attention=causal_attention) -> torch.Tensor:
        """Final hidden states [B, T, hidden] of token ids [B, T]; `attention` as causal_attention, and told the layer."""
        cosine, sine = self.cosine[: tokens.shape[1]], self.sine[: tokens.shape[1]]
        states = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            states = layer.after_attention(states, attention(*layer.before_attention(states, cosine, sine)))
        return self.model.norm(states)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return self.lm_head(states).float()

    def export(self, directory: pathlib.Path, encode) -> None:
        """config.json, generation_config.json and float16 model.safetensors, as transformers reads them."""
        directory.mkdir(parents=True, exist_ok=True)
        eos, bos = encode["<eos>"], encode["<bos>"]
        config = json.dumps(self.config.to_json(eos, bos), indent=2) + "\n"
        (directory / "config.json").write_text(config)
        generation = json.dumps({"bos_token_id": bos, "eos_token_id": eos}, indent=2) + "\n"
        (directory / "generation_config.json").write_text(generation)
        tensors = {name: value.detach().half().contiguous() for name, value in self.state_dict().items()}
        if self.config.tie_word_embeddings:
            del tensors["lm_head.weight"]
        weights = safetensors.torch.save(tensors, metadata={"format": "pt"})
        (directory / "model.safetensors").write_bytes(weights)

    @classmethod
    def read(cls, directory: pathlib.Path) -> "Model":
        """The model of a folder, in float32."""
        model = cls(ModelConfig.read(directory))
        tensors = safetensors.torch.load_file(directory / "model.safetensors")
        if model.config.tie_word_embeddings:
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        model.load_state_dict({name: value.float() for name, value in tensors.items()})
        return model.eval()
