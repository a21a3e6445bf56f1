"""Causal grouped-query attention: PyTorch's own on a GPU, attention_kernel.cpp on a CPU."""

import ctypes
import functools
import hashlib
import os
import pathlib
import subprocess
import tempfile

import torch
import torch.nn.functional as functional

SOURCE = pathlib.Path(__file__).with_name("attention_kernel.cpp")


@functools.cache
def _library() -> ctypes.CDLL:
    """The kernel, compiled for this machine once and kept in the user's cache."""
    compiler = os.environ.get("CXX", "g++")
    command = [compiler, "-std=c++20", "-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", str(SOURCE)]
    key = hashlib.sha256(SOURCE.read_bytes() + " ".join(command).encode()).hexdigest()[:16]
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "evictlab-train"
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"attention-{key}.so"
    if not target.exists():
        with tempfile.NamedTemporaryFile(dir=cache, suffix=".so", delete=False) as built:
            subprocess.run([*command, "-o", built.name], check=True)
            os.replace(built.name, target)
    return ctypes.CDLL(str(target))


def _address(tensor: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


class _CpuAttention(torch.autograd.Function):
    @staticmethod
    def forward(context, query, key, value):
        query, key, value = (part.float().contiguous() for part in (query, key, value))
        batch, length, heads, _ = query.shape
        output = torch.empty_like(query)
        log_sum = torch.empty(batch, heads, length)
        sizes = (batch, length, heads, key.shape[2])
        _library().attention_forward(*sizes, *map(_address, (query, key, value, output, log_sum)))
        context.save_for_backward(query, key, value, output, log_sum)
        context.sizes = sizes
        return output

    @staticmethod
    def backward(context, output_gradient):
        query, key, value, output, log_sum = context.saved_tensors
        output_gradient = output_gradient.float().contiguous()
        gradients = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        tensors = (query, key, value, output, log_sum, output_gradient, *gradients)
        _library().attention_backward(*context.sizes, *map(_address, tensors))
        return gradients


def causal_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """softmax(query . key / sqrt(D)) value, every position seeing itself and what is before it.

    query [B, T, H, D]; key, value [B, T, G, D] with G dividing H; returns [B, T, H, D], float32 on a CPU.
    """
    if query.device.type == "cpu" and query.shape[-1] == 32:
        return _CpuAttention.apply(query, key, value)
    group = query.shape[2] // key.shape[2]
    key, value = (part.repeat_interleave(group, dim=2) for part in (key, value))
    heads_first = (part.transpose(1, 2) for part in (query, key, value))
    return functional.scaled_dot_product_attention(*heads_first, is_causal=True).transpose(1, 2)
