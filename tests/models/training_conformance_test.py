"""The training pipeline computes what transformers computes, and decodes with evicted positions as it should."""

import pathlib
import random
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "demo"
pytestmark = pytest.mark.full


@pytest.fixture(scope="module", autouse=True)
def pipeline():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    sys.path.insert(0, str(ROOT / "training"))
    yield
    sys.path.pop(0)


@pytest.mark.parametrize(("length", "heads", "kv_heads"), [(1, 2, 1), (77, 8, 4), (300, 6, 2)])
def test_the_attention_kernel_and_its_gradients_are_pytorchs(length, heads, kv_heads):
    import attention
    import torch

    torch.manual_seed(0)
    shapes = [(2, length, heads, 32), (2, length, kv_heads, 32), (2, length, kv_heads, 32)]
    query, key, value = (torch.randn(shape, requires_grad=True) for shape in shapes)
    output = attention.causal_attention(query, key, value)
    weight = torch.randn_like(output)
    got = torch.autograd.grad(output, (query, key, value), weight)
    wide = [part.repeat_interleave(heads // kv_heads, 2).transpose(1, 2) for part in (key, value)]
    expected = torch.nn.functional.scaled_dot_product_attention(query.transpose(1, 2), *wide, is_causal=True)
    expected = expected.transpose(1, 2)
    wanted = torch.autograd.grad(expected, (query, key, value), weight)
    for one, other in zip((output, *got), (expected, *wanted), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["demo", "demo-qwen2"])
def test_an_exported_model_is_the_same_in_transformers(name, tmp_path):
    import torch
    from model import Model
    from text import Encoder
    from train import CONFIGS
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    trained = Model(CONFIGS[name])
    for parameter in trained.parameters():  # biases and norms too
        parameter.data = (parameter.data + 0.02 * torch.randn_like(parameter)).half().float()
    trained.export(tmp_path, Encoder(MODEL))
    other = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids = torch.randint(4, 1024, (1, 200))
    with torch.no_grad():
        logits = trained.logits(trained(ids))
        expected = other(ids).logits
    torch.testing.assert_close(logits, expected, atol=2e-4, rtol=1e-4)


def test_keeping_everything_decodes_as_the_full_cache():
    import numpy
    from eviction import Run, decode_with
    from evaluate import answer_predictions
    from model import Model
    from prompts import read_prompts
    from text import Encoder

    encode, model = Encoder(MODEL), Model.read(MODEL)
    prompt = next(prompt for prompt in read_prompts(MODEL / "prompts") if prompt.task == "multi-needle")
    logits, wanted = answer_predictions(model, encode, prompt)
    ids = encode(prompt.prompt)
    everything, few = numpy.arange(len(ids)), numpy.arange(4)
    runs = [Run("full", 1, [[everything] * 4] * 8), Run("few", 1, [[few] * 4] * 8)]
    full, evicted = decode_with(model, ids, wanted[:-1].tolist(), runs)
    assert (full - logits[1:]).abs().max() < 1e-3
    assert (evicted - logits[1:]).abs().max() > 1


def test_text_is_encoded_as_the_tokenizers_package_does():
    from text import SPECIAL_TOKENS, Encoder

    encode = Encoder(MODEL)
    draw = random.Random(3)
    pieces = [*SPECIAL_TOKENS, " amber", "x", "7", " 7", " = ", "->", ".", "\n", "é", " ", "<", "q>", "+"]
    for _ in range(500):
        text = "".join(draw.choices(pieces, k=12))
        assert encode(text) == encode.tokenizer.encode(text).ids
