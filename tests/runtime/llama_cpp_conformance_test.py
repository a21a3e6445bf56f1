"""SmolLM2 in its GGUF file, read here and by llama.cpp (the package xllamacpp): token ids of texts, and greedy continuations.

llama.cpp rounds activations to 8 bits before it multiplies them with quantised weights, and this project does not: continuations
may part where two tokens are nearly as likely, and only there.
"""

import json
import random
import urllib.request

import h5py
import pytest

from conftest import ROOT

pytestmark = pytest.mark.full
TEXTS = ROOT / "models" / "texts"
CONTINUED = 64
# Nats between two tokens that rounded activations may exchange.
NEAR = 0.2


@pytest.fixture(scope="module")
def ask(smollm2):
    """ask("/completion", {...}): what llama.cpp's server says."""
    xllamacpp = pytest.importorskip("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(smollm2)
    parameters.n_ctx = 2048
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(parameters)

    def post(path, body):
        request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    return post


def record(evictlab, model, lines, out, future):
    """Token ids of each prompt and of what the model writes after it."""
    prompts = out.with_suffix(".jsonl")
    prompts.write_text("".join(json.dumps({"id": f"p{i:04}", "prompt": line}) + "\n" for i, line in enumerate(lines)))
    done = evictlab("record", "--model", model, "--prompts", prompts, "--out", out, "--layers", "0", "--window", 1, "--future", future)
    assert done.code == 0, done.err
    with h5py.File(out) as trace:
        found = [trace["prompts"][f"p{i:04}"] for i in range(len(lines))]
        return [(prompt["tokens"][: prompt.attrs["prompt_length"]].tolist(), prompt["tokens"][prompt.attrs["prompt_length"] :].tolist())
                for prompt in found]


def pieces(count, length, seed):
    """Stretches of the committed source texts, English and code, from random places."""
    generator = random.Random(seed)
    sources = sorted(path for path in TEXTS.rglob("*.txt") if path.stat().st_size > 2 * length)
    assert len(sources) > 10
    chosen = (generator.choice(sources).read_text() for _ in range(count))
    return [text[start : start + length] for text in chosen for start in [generator.randrange(len(text) - length)]]


def odd_lines(count, seed):
    generator = random.Random(seed)
    alphabet = "abc XYZ 0123456789 \t  .,;:!?'\"-_()[]{}<>|@#$%^&*+=/\\~`äöüßéèñçøåłžđ αβγ привет 你好世界 日本語 한국어 🙂👩‍👩‍👧 \u00a0\u200b"
    return ["x" + "".join(generator.choice(alphabet) for _ in range(generator.randrange(1, 60))) for _ in range(count)]


def test_token_ids_are_llama_cpps(evictlab, smollm2, ask, tmp_path):
    lines = pieces(100, 200, 1) + odd_lines(400, 2)
    for line, (tokens, _) in zip(lines, record(evictlab, smollm2, lines, tmp_path / "t.h5", 1)):
        assert tokens == ask("/tokenize", {"content": line, "add_special": True, "parse_special": True})["tokens"], line


def test_greedy_continuations_are_llama_cpps_up_to_near_ties(evictlab, smollm2, ask, tmp_path):
    equal = 0
    for prompt, written in record(evictlab, smollm2, pieces(8, 1200, 3), tmp_path / "t.h5", CONTINUED):
        reply = ask("/completion", {"prompt": prompt, "n_predict": CONTINUED, "temperature": 0, "return_tokens": True, "n_probs": 10,
                                    "cache_prompt": False})
        theirs = reply["tokens"]
        parted = next((i for i, (ours, other) in enumerate(zip(written, theirs)) if ours != other), None)
        if parted is None:
            equal += 1
            continue
        likely = {token["id"]: token["logprob"] for token in reply["completion_probabilities"][parted]["top_logprobs"]}
        assert likely[theirs[parted]] - likely.get(written[parted], float("-inf")) < NEAR, (parted, likely)
    print(f"{equal} of 8 continuations equal")
    assert equal >= 1
