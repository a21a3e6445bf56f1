"""The estimated lengths of the chat prompts against SmolLM2's own tokenizer, and that tokenizer's ids."""

import json
import pathlib
import sys

import pytest

pytestmark = pytest.mark.full

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXTS = ROOT / "models" / "texts"


@pytest.fixture(scope="module")
def chat():
    """The generator's modules that are needed here: (prompts, smollm2)."""
    sys.path.insert(0, str(ROOT / "training" / "chat"))
    kept = {name: sys.modules.pop(name, None) for name in ("prompts", "tasks", "texts")}  # training/ has such names too
    try:
        import prompts
        import smollm2

        yield prompts, smollm2
    finally:
        sys.path.remove(str(ROOT / "training" / "chat"))
        sys.modules.update({name: module for name, module in kept.items() if module})


@pytest.fixture(scope="module")
def count(chat):
    encode = chat[1].tokenizer().encode
    return lambda text: len(encode(text).ids)


def test_documents_have_the_tokens_that_are_listed(count):
    for document in json.loads((TEXTS / "documents.json").read_text()):
        text = (TEXTS / f"{document['name']}.txt").read_text().removesuffix("\n")
        assert count(text) == document["tokens"], document["name"]


def test_prompts_and_answers_fill_their_length_and_stay_below(chat, count):
    prompts, smollm2 = chat
    for requests in prompts.SETS.values():
        for prompt in map(json.loads, prompts.as_lines(requests, "0").splitlines()):
            length = int(prompt["id"].split("-")[-2])
            positions = count(smollm2.rendered(prompt["messages"])) + count(prompt["answer"])
            assert 0.7 * length <= positions <= length, prompt["id"]


def test_long_answers_have_512_to_1024_tokens(chat, count):
    prompts, _ = chat
    for length in (2048, 3072, 4096):
        for prompt in prompts.make_prompts("long-copy", length, 6, "0"):
            assert 512 <= count(prompt["answer"]) <= 1024, prompt["id"]


def test_the_chat_template_is_the_models_own(chat):
    import gguf
    import jinja2

    _, smollm2 = chat
    fields = gguf.GGUFReader(smollm2.model_file()).fields
    template = jinja2.Template(fields["tokenizer.chat_template"].contents())
    for line in (TEXTS / "prompts" / "demo.jsonl").read_text().splitlines():
        messages = json.loads(line)["messages"]
        assert smollm2.rendered(messages) == template.render(messages=messages, add_generation_prompt=True)
