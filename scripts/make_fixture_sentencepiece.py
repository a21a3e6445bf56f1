#!/usr/bin/env python3
"""Makes tests/data/sentencepiece: tiny SentencePiece models and what the Python package gives for texts.

    python3 -m venv .venv && .venv/bin/pip install -r tests/requirements-conformance.txt
    .venv/bin/python scripts/make_fixture_sentencepiece.py tests/data/sentencepiece [--seed N]

Written by sentencepiece 0.2.3. NAME.model is trained on the texts below; NAME.expected has one JSON object a text:
text, ids (without BOS and EOS) and decoded.
"""

import argparse
import json
import pathlib
import random

import sentencepiece

WORDS = """the cache keeps keys and values of every position until a policy evicts them attention mass window layer head
budget prompt token needle story question answer model memory bytes Zürich naïve café fjord 12 345 2026 0.5 don't can't
e-mail (round) [square] {curly} "quoted" -- return int float x = y + 1; def main(): 東京 文章 问题 回答 Привет мир""".split()
SPECIAL_TEXTS = [
    "",
    " ",
    "   two  spaces   and a tail  ",
    "line\nbreaks\n\n\tand tabs\r\n",
    "<s> control tokens written out </s> <unk>",
    "no piece: 😀 👩‍👩‍👧 ∑ ₤ \u00a0 \u3000 ﬁ Å",
    "e\u0301 combining, ①②③ compatibility",
    "▁ the meta symbol itself ▁▁",
    "\u200b zero width \ufeff mark",
]
# As Llama's models are made, and as the library's defaults are.
MODELS = {
    "bpe": {
        "model_type": "bpe",
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "split_digits": True,
        "byte_fallback": True,
        "vocab_size": 420,
    },
    "unigram": {"model_type": "unigram", "byte_fallback": True, "vocab_size": 400},
    "unigram-unk": {"model_type": "unigram", "vocab_size": 140, "normalization_rule_name": "identity"},
}


def sentences(seed, count):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 24))) for _ in range(count)]


def write_model(directory, name, options, seed):
    target = directory / f"{name}.model"
    with open(target, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences(seed, 400)),
            model_writer=file,
            hard_vocab_limit=False,
            character_coverage=0.999,
            num_threads=1,
            minloglevel=2,
            **options,
        )
    model = sentencepiece.SentencePieceProcessor(model_file=str(target))
    with open(directory / f"{name}.expected", "w", encoding="utf-8") as file:
        for text in SPECIAL_TEXTS + sentences(seed + 1, 40):
            ids = model.encode(text)
            file.write(json.dumps({"text": text, "ids": ids, "decoded": model.decode(ids)}, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, options in MODELS.items():
        write_model(arguments.out, name, options, 1000 * arguments.seed)


if __name__ == "__main__":
    main()
