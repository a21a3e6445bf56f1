"""Recorded gradients against torch's autograd through transformers, for every checkpoint that both can load."""

import json
import subprocess

import pytest

pytestmark = pytest.mark.full
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
evictlab = pytest.importorskip("evictlab")

from conftest import PROGRAM, ROOT  # noqa: E402
from random_models import tokens, worst  # noqa: E402
from recording_conformance_test import LENGTHS  # noqa: E402

CHECKPOINTS = ROOT / "tests" / "data" / "checkpoints"
DRAWS, FUTURE = 3, 7
MASK = 2**64 - 1
INCREMENT = 0x9E3779B97F4A7C15


def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def text_hash(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def signs(prompt, draw, query, vocabulary):
    """runtime/gradients.hpp's random_signs(): 64 tokens a number, lowest bit first."""
    row = []
    for block in range((vocabulary + 63) // 64):
        bits = text_hash(prompt)
        for number in (draw, query, block):
            bits = mix((bits + (number + 1) * INCREMENT) & MASK)
        row += [1.0 if bits >> i & 1 else -1.0 for i in range(64)]
    return torch.tensor(row[:vocabulary])


def autograd(model, prompt, future):
    """[L][R, T, hidden]: the future is read token by token, each attention output plus a tensor of zeros."""
    layers, moves = model.model.layers, []

    def hook(layer):
        def add(module, arguments, output):
            moves[-1].append(torch.zeros_like(output[0], requires_grad=True))
            return (output[0] + moves[-1][-1], *output[1:])
        return layer.self_attn.register_forward_hook(add)

    with torch.no_grad():
        cache = model(torch.tensor([prompt]), use_cache=True).past_key_values
    hooks = [hook(layer) for layer in layers]
    rows = []
    for token in future:
        moves.append([])
        out = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        rows.append(out.logits[0, -1].float())
    for one in hooks:
        one.remove()
    log_p = torch.log_softmax(torch.stack(rows).double(), dim=-1)
    roots = (0.5 * log_p).exp().detach()
    inputs = [move for step in moves for move in step]
    gradients = []
    for draw in range(DRAWS):
        xi = torch.stack([signs("p", draw, t, log_p.shape[1]) for t in range(len(future))])
        found = torch.autograd.grad((xi * roots * log_p).sum(), inputs, retain_graph=True)
        gradients.append(torch.stack([one.flatten() for one in found]).reshape(len(future), len(layers), -1))
    return torch.stack(gradients).permute(2, 0, 1, 3).numpy()


@pytest.mark.parametrize("checkpoint", LENGTHS)
def test_recorded_gradients_are_those_of_autograd(tmp_path, checkpoint):
    directory = CHECKPOINTS / checkpoint
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    prompt, future = tokens(LENGTHS[checkpoint]), tokens(FUTURE, 1)
    line = {"id": "p", "tokens": prompt, "answer_tokens": future}
    (tmp_path / "prompts.jsonl").write_text(json.dumps(line) + "\n")
    subprocess.run([PROGRAM, "record", "--model", directory, "--prompts", tmp_path / "prompts.jsonl", "--tier", "full",
                    "--gradients", str(DRAWS), "--window", "16", "--out", tmp_path / "t.h5"], check=True)
    expected = autograd(model, prompt, future)
    trace = evictlab.Trace(tmp_path / "t.h5")
    for layer, own in enumerate(expected):
        found = trace.array(0, layer, "output_gradients")
        assert found.shape == (DRAWS, FUTURE, trace.model["hidden_size"])
        assert worst(found, own) <= 1e-3, (layer, worst(found, own))
