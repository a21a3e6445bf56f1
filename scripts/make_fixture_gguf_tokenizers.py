#!/usr/bin/env python3
"""Makes GGUF files that hold a tokenizer, and what the `tokenizers` and `sentencepiece` packages make of texts.

    .venv/bin/python scripts/make_fixture_gguf_tokenizers.py tests/data/gguf/tokenizers
                                     # rewrites the committed fixtures: 17 texts a kind
    .venv/bin/python scripts/make_fixture_gguf_tokenizers.py DIRECTORY --lines 5000 --seed 7 [--model FILE.gguf]
                                     # other tokenizers and texts; FILE's own tokenizer of the kind smollm too

Written by gguf 0.19.0, tokenizers 0.23.3 and sentencepiece 0.2.3. Nothing is downloaded. NAME.gguf holds the metadata
tokenizer.ggml.* as llama.cpp's converter writes them; NAME.expected has one JSON object a text: text, ids (with special
tokens that are written out, without BOS and EOS) and decoded (those left out).

The pre-tokenizers are those of the published tokenizer.json files of the models that a kind is named after.
"""

import argparse
import io
import json
import pathlib
import random

import gguf
import sentencepiece
from make_fixture_tokenizers import LLAMA3, O200K, QWEN2, SPECIALS, make_corpus, train
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
          r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_V3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6


def isolated(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def bytes_only():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def words():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


# Of a kind: the pre-tokenizer, whether merges are ignored for whole tokens, the normalizer.
KINDS = {
    "gpt-2": ([words()], False, None),
    "smollm": ([pre_tokenizers.Digits(individual_digits=True), words()], False, None),
    "llama-bpe": ([isolated(LLAMA3), bytes_only()], True, None),
    "qwen2": ([isolated(QWEN2), bytes_only()], False, normalizers.NFC()),
    "tekken": ([isolated(TEKKEN), bytes_only()], True, None),
    "gpt-4o": ([isolated(O200K), bytes_only()], False, None),
    "deepseek-coder": (
        [isolated(r"[\r\n]"), isolated(r"\s?\p{L}+"), isolated(r"\s?\p{P}+"), isolated("[一-龥ࠀ-一가-퟿]+"),
         pre_tokenizers.Digits(individual_digits=True), bytes_only()], False, None),
    "deepseek-v3": ([isolated(r"\p{N}{1,3}"), isolated("[一-龥぀-ゟ゠-ヿ]+"), isolated(DEEPSEEK_V3), bytes_only()], False, None),
}


def write_gguf(path, kind, pre, tokens, types, merges=None, scores=None):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(kind)
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if merges is not None:
        writer.add_token_merges(merges)
    if scores is not None:
        writer.add_token_scores(scores)
    writer.add_add_bos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def write_expected(path, cases):
    lines = [json.dumps(case, ensure_ascii=False, separators=(",", ":")) + "\n" for case in cases]
    path.write_text("".join(lines), encoding="utf-8", newline="")


def expected_of(tokenizer, texts):
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        yield {"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True)}


def assemble(kind, model):
    steps, ignore_merges, normalizer = KINDS[kind]
    tokenizer = Tokenizer(model)
    tokenizer.model.ignore_merges = ignore_merges
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    return tokenizer


def write_byte_level(directory, kind, training, texts, size):
    tokenizer = train(assemble(kind, models.BPE()), training, size, pre_tokenizers.ByteLevel.alphabet())
    tokenizer.model.ignore_merges = KINDS[kind][1]
    tokenizer.add_special_tokens([AddedToken(content, normalized=False, special=True) for content in SPECIALS[:3]])
    tokenizer.add_tokens([AddedToken(SPECIALS[3], normalized=False)])
    document = json.loads(tokenizer.to_str())
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    types = {token["content"]: CONTROL if token["special"] else USER_DEFINED for token in document["added_tokens"]}
    merges = [" ".join(merge) for merge in document["model"]["merges"]]
    write_gguf(directory / f"{kind}.gguf", "gpt2", kind, tokens, [types.get(token, NORMAL) for token in tokens], merges=merges)
    write_expected(directory / f"{kind}.expected", expected_of(tokenizer, texts))


def write_own(directory, file, texts):
    """The tokenizer of a GGUF file of the kind smollm."""
    fields = gguf.GGUFReader(file).fields
    tokens, types, merges = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges"))
    vocabulary = {token: id for id, token in enumerate(tokens)}
    tokenizer = assemble("smollm", models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges]))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)
                                  for token, type in zip(tokens, types) if type == CONTROL])
    (directory / "own-smollm.gguf").symlink_to(file)
    write_expected(directory / "own-smollm.expected", expected_of(tokenizer, texts))


def write_sentencepiece(directory, training, texts, size):
    """As Llama 2's. Control tokens that are written out are not compared: they stay text in the package."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in training if text.isascii() for line in text.split("\n")), model_writer=model, model_type="bpe",
        vocab_size=size, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        byte_fallback=True, character_coverage=0.999, hard_vocab_limit=False, num_threads=1, minloglevel=2,
        max_sentence_length=100000)
    package = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(package.get_piece_size())
    types = [UNKNOWN if package.is_unknown(id) else CONTROL if package.is_control(id) else BYTE if package.is_byte(id) else NORMAL
             for id in ids]
    write_gguf(directory / "llama.gguf", "llama", None, [package.id_to_piece(id) for id in ids], types,
               scores=[package.get_score(id) for id in ids])
    # The package gives NUL no place of its own.
    texts = [text for text in texts if "\0" not in text]
    write_expected(directory / "llama.expected", (
        {"text": text, "ids": package.encode(text), "decoded": package.decode(package.encode(text))} for text in texts))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--lines", type=int, default=17)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--model", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(arguments.seed)
    training = make_corpus(rng, 1500)
    texts = make_corpus(rng, arguments.lines)
    size = 420 if arguments.lines < 100 else 1500
    for kind in KINDS:
        write_byte_level(arguments.out, kind, training, texts, size)
    write_sentencepiece(arguments.out, training, texts, size + 100)
    if arguments.model:
        write_own(arguments.out, arguments.model.resolve(), texts)


if __name__ == "__main__":
    main()
