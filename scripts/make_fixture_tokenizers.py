#!/usr/bin/env python3
"""Makes tests/data/tokenizers: small tokenizers, a corpus, and what the `tokenizers` package makes of it.

    python scripts/make_fixture_tokenizers.py            rewrites the committed fixtures
    python scripts/make_fixture_tokenizers.py --fresh SEED DIR
                                                         the same kind of files from other text, with
                                                         tokenizers put together at random

Everything is generated or taken from Python's own documentation strings; nothing is downloaded. Needs the
package pinned in tests/requirements-conformance.txt.

DIR/corpus.jsonl         one JSON string per line
DIR/<name>.json          a tokenizer
DIR/<name>.expected      one JSON object per line of the corpus it was run on:
    line      number of the line in the corpus
    ids       encode(text, add_special_tokens=True).ids
    decoded   decode(ids, skip_special_tokens=True), if that is not the text
    full      decode(ids, skip_special_tokens=False), on some lines
    ranges    flat list of begin, end of each token in bytes of the text, on some lines; never where the
              package maps a character that normalization composed or replaced to a part of its source
"""

import argparse
import collections
import importlib
import inspect
import json
import pathlib
import random
import string
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parents[1]

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
          r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s")

# Pieces of text in which scripts, marks, spaces and lines meet in unusual ways.
FRAGMENTS = [
    "café", "cafe\u0301", "naïve", "nai\u0308ve", "Ångström", "A\u030angstro\u0308m", "ﬁne", "ﬆ", "ß", "ẞ", "İstanbul",
    "ἀρχή", "Привет мир", "ё", "е\u0308", "שלום עולם", "مرحبا بالعالم", "नमस्ते", "हिन्दी", "ไทยภาษา", "தமிழ்", "한국어",
    "\u1112\u1161\u11ab\u1100\u116e\u11a8", "日本語の文章", "漢字かな交じり", "中文分词", "㍿", "①②③", "Ⅷ", "½", "٣٤٥", "१२३", "𝟘𝟙", "²³",
    "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇫🇷", "❤️", "😀😃", "a\u0301\u0323\u0308b", "q\u0307\u0323", "\u0301x", "o\u0323\u0302", "\u212b\u2126\u212a",
    "\u0958", "\u2adc", "\u0344", "\u00a0", "\u0085", "\u2028", "\u200b", "\u200d", "\u3000", "\u180e", "\u202f", "\ufeff", "\t", "\t\t", "\n",
    "\n\n", "\r\n", "\r", " \n ", "  ", "   ", "       ", "\v", "\f", "'S", "'s", "'ſ", "'ll", "'LL", "'Re", "’s", "don't", "WE'VE",
    "I'M", "'tis", "=>", "!=", "...", "—", "«»", "„“", "_", "__init__", "x_1", "$€£", "∑∫√", "→", "░▒▓", "0", "7", "42", "1234567890",
    "3.14", "1e-10", "0xFF", "\u0000", "\u001b[0m", "\u007f", "\ue000", "\U0010ffff", "😀\u0301",
]
CODE = [
    "for (int i = 0; i < n; ++i) {", "    return x[i] * 2;", "}", "\tif (!ok) { throw std::runtime_error(\"no\"); }",
    "def f(x, *args, **kwargs) -> None:", "        self.value = value", "print(f\"{a!r:>10}\")", "# comment", "<a href=\"x\">y</a>",
    "SELECT * FROM t WHERE id = 7;", "{\"key\": [1, 2.5, null]}", "\\frac{a}{b}", "x = y ** 2 // 3 % 4", "https://example.org/a?b=c#d",
]
SPECIALS = ["<|begin|>", "<|end|>", "<|user|>", "<tool>"]
SENTENCE_MODULES = ["argparse", "json", "random", "re", "statistics", "textwrap", "heapq", "bisect", "csv", "string", "shlex"]


def sentences():
    """Lines of documentation strings of the standard library."""
    lines = []
    for name in SENTENCE_MODULES:
        module = importlib.import_module(name)
        members = [module] + [member for _, member in sorted(inspect.getmembers(module)) if callable(member)]
        for member in members:
            lines += [line for line in (inspect.getdoc(member) or "").splitlines() if line.strip()]
    return lines


def random_character(rng):
    """Any character of blocks that have been in Unicode for long, so that all libraries know it."""
    low, high = rng.choice([(0x20, 0x7f), (0xa0, 0x250), (0x300, 0x363), (0x391, 0x3ca), (0x410, 0x450), (0x5d0, 0x5eb),
                            (0x621, 0x64b), (0x905, 0x93a), (0xe01, 0xe2f), (0x1100, 0x1113), (0x1161, 0x1176),
                            (0x11a8, 0x11c3), (0x1e00, 0x1e9a), (0x2010, 0x2060), (0x2190, 0x2200), (0x3041, 0x3097),
                            (0x4e00, 0x9fa6), (0xac00, 0xd7a4), (0xf900, 0xfa2e), (0x1f600, 0x1f640)])
    return chr(rng.randrange(low, high))


def make_line(rng, prose):
    kind = rng.random()
    if kind < 0.35:
        line = rng.choice(prose)[: rng.randrange(10, 80)]
    elif kind < 0.45:
        line = "\n".join(rng.choice(CODE) for _ in range(rng.randrange(1, 4)))
    elif kind < 0.75:
        words = [rng.choice(FRAGMENTS) if rng.random() < 0.6 else rng.choice(prose).split()[0]
                 for _ in range(rng.randrange(1, 7))]
        line = rng.choice(["", " ", " ", "  ", "\n"]).join(words)
    elif kind < 0.85:
        line = "".join(random_character(rng) for _ in range(rng.randrange(1, 20)))
    elif kind < 0.93:
        line = "".join(rng.choice(string.digits + string.ascii_letters + "  \n\t.,'!\u00a0") for _ in range(rng.randrange(1, 40)))
    else:
        line = rng.choice([" ", "\n", "\t", "\u3000", "=", "a", "é", "ab "]) * rng.randrange(2, 40)
    if rng.random() < 0.12:
        at = rng.randrange(len(line) + 1)
        token = rng.choice(SPECIALS)
        line = line[:at] + rng.choice(["", " ", "  ", "\n"]) + token + rng.choice(["", " ", token, "x"]) + line[at:]
    return line


def make_corpus(rng, count):
    prose = sentences()
    return ["", " ", "\n"] + [make_line(rng, prose) for _ in range(count - 3)]


def train(tokenizer, text, size, alphabet=None, specials=()):
    if alphabet is None:  # chosen here: the trainer breaks ties by chance
        normalize = tokenizer.normalizer.normalize_str if tokenizer.normalizer else str
        counts = collections.Counter("".join(normalize(line) for line in text))
        alphabet = sorted(counts, key=lambda character: (-counts[character], character))[:400]
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, special_tokens=list(specials),
                                  initial_alphabet=alphabet, limit_alphabet=len(alphabet))
    tokenizer.train_from_iterator(text, trainer)
    return tokenizer


def with_parts(tokenizer, **parts):
    """`tokenizer` with parts of its JSON replaced: what the trainer and the Python classes cannot set."""
    document = json.loads(tokenizer.to_str())
    for path, value in parts.items():
        *outer, last = path.split("__")
        place = document
        for key in outer:
            place = place[key]
        place[last] = value
    return Tokenizer.from_str(json.dumps(document))


def byte_level(text, words, size, normalizer=None, add_prefix_space=False):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    if words is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(words), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return train(tokenizer, text, size, pre_tokenizers.ByteLevel.alphabet())


def gpt2_style(text):
    tokenizer = byte_level(text, None, 900)
    tokenizer.add_special_tokens(["<|end|>"])
    return tokenizer


def llama3_style(text):
    tokenizer = byte_level(text, LLAMA3, 1100)
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>", "<|user|>"])
    begin = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin|> $A", pair="<|begin|> $A <|begin|> $B:1", special_tokens=[("<|begin|>", begin)])])
    # Two words that no merge leads to: only ignore_merges finds them.
    document = json.loads(tokenizer.to_str())
    vocab = document["model"]["vocab"]
    gone = [merge for merge in document["model"]["merges"] if "".join(merge) in ("Ġthe", "Ġreturn")]
    assert len(gone) == 2 and all("".join(merge) in vocab for merge in gone)
    kept = [merge for merge in document["model"]["merges"] if merge not in gone and "Ġthe" not in merge and "Ġreturn" not in merge]
    # Written the old way, "a b", which the library reads as well.
    return with_parts(tokenizer, model__ignore_merges=True, model__merges=[" ".join(merge) for merge in kept]), True


def qwen2_style(text):
    tokenizer = byte_level(text, QWEN2, 1000, normalizer=normalizers.NFC())
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>"])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    return tokenizer


def plain_style(text):
    """Characters, an unknown token, digits one by one."""
    tokenizer = Tokenizer(models.BPE(unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.Split(Regex(r"[0-9]| ?[A-Za-z]+| ?[^\sA-Za-z0-9]+|\s"), behavior="isolated")])
    tokenizer.decoder = decoders.Fuse()
    train(tokenizer, [line for line in text if line.isascii()], 700, specials=["<|begin|>", "<|end|>", "?"])
    return tokenizer


def llama2_style(text):
    """Bytes where a character is unknown; spaces as U+2581."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", behavior="merged_with_next")
    train(tokenizer, [line for line in text if line.isascii()], 800, specials=["<unk>", "<s>", "</s>"] + byte_tokens)
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] not in byte_tokens]
    document["pre_tokenizer"] = None
    document["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}}
    return Tokenizer.from_str(json.dumps(document))


def metaspace_style(text, scheme, split):
    """Spaces as U+2581 by a pre-tokenizer, as transformers writes it for Llama and Mistral; text between two tokens."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    words = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), words]) if scheme == "first" else words
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme, split=split)
    train(tokenizer, [line for line in text if line.isascii()], 600, specials=["<unk>", "<s>", "</s>"])
    tokenizer.add_special_tokens(["<|user|>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1), trim_offsets=False, add_prefix_space=False)
    return tokenizer


def leave_training_settings(path):
    """What training leaves in a file and nothing of one text depends on."""
    document = json.loads(path.read_text(encoding="utf-8"))
    document["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    document["padding"] = {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                           "pad_type_id": 0, "pad_token": "<unk>"}
    path.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def words_style(text):
    """Lower-case compatibility forms, words, unknown characters fused, added tokens of every kind, no decoder."""
    tokenizer = Tokenizer(models.BPE(unk_token="[unk]", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=False)])
    train(tokenizer, text, 900, specials=["[unk]"])
    tokenizer.add_tokens([AddedToken("json", single_word=True, normalized=False), AddedToken("Café", normalized=True),
                          AddedToken("<TOOL>", normalized=True, lstrip=True)])
    tokenizer.add_special_tokens([AddedToken("<|user|>", rstrip=True, lstrip=True), AddedToken("<|end|>", rstrip=True),
                                  AddedToken("<|end|><|end|>", normalized=False)])
    return tokenizer


def random_tokenizer(rng, text):
    """Components put together at random; whatever the package accepts."""
    forms = [normalizers.NFC(), normalizers.NFD(), normalizers.NFKC(), normalizers.NFKD(), normalizers.Lowercase(), normalizers.Prepend("_"),
             normalizers.Replace("e", "3"), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Replace(Regex(r"[aeiou]{2,}"), "·")]
    patterns = [LLAMA3, QWEN2, O200K, CL100K, r"\w+", r"\W", r"\bthe?\b|\B-", r"[^\S\n]+", r"(?i:the|and)\s*", r"\p{N}{1,3}+", r"[a-z]{2}?x|\d{,2}",
                r"^.", r"$", r"(?m:.{3})", r"(?<=[a-z])(?=[A-Z])", r"\p{Han}+|\p{^L}", r"(?>a|ab)c|é+?", r"[\u3040-\u30ff]+", r"x*"]
    behaviors = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]

    def split():
        pattern = rng.choice([Regex(rng.choice(patterns)), rng.choice([" ", "e", "th", "\n", "."])])
        return pre_tokenizers.Split(pattern, behavior=rng.choice(behaviors), invert=rng.random() < 0.3)

    def digits():
        return pre_tokenizers.Digits(individual_digits=rng.random() < 0.5)

    def spaces():
        return rng.choice([pre_tokenizers.Whitespace(), pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(rng.choice(behaviors)),
                           pre_tokenizers.Metaspace(prepend_scheme=rng.choice(["always", "first", "never"]), split=rng.random() < 0.5)])

    over_bytes = rng.random() < 0.5
    tokenizer = Tokenizer(models.BPE() if over_bytes else models.BPE(unk_token=rng.choice([None, "[unk]"]), fuse_unk=rng.random() < 0.5))
    tokenizer.normalizer = normalizers.Sequence(rng.sample(forms, rng.randrange(3)))
    steps = [rng.choice([split, split, digits, spaces])() for _ in range(rng.randrange(3))]
    if over_bytes:
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=rng.random() < 0.3, use_regex=rng.random() < 0.5))
        tokenizer.decoder = decoders.ByteLevel()
    elif rng.random() < 0.7:
        tokenizer.decoder = rng.choice([decoders.Fuse(), decoders.Sequence([decoders.Replace(Regex("[aeiou]"), "#"), decoders.Strip("t", 1, 0)])])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    train(tokenizer, text, 600, pre_tokenizers.ByteLevel.alphabet() if over_bytes else None, ["[unk]"])
    contents = SPECIALS + ["the", "é", "  ", "\n", "in", "ing", "return", "<|user|><tool>", "日本", "'s"]
    for content in rng.sample(contents, rng.randrange(8)):
        token = AddedToken(content, single_word=rng.random() < 0.3, lstrip=rng.random() < 0.3, rstrip=rng.random() < 0.3,
                           # Two tokens that normalize to the same text are told apart by chance.
                           normalized=rng.random() < 0.5 and not content.isspace(), special=rng.random() < 0.5)
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    return with_parts(tokenizer, model__ignore_merges=rng.random() < 0.3)


def byte_ranges(text, encoding):
    starts = [0]
    for character in text:
        starts.append(starts[-1] + len(character.encode()))
    return [starts[place] for offsets in encoding.offsets for place in offsets]


def keeps_offsets(tokenizer, text):
    """Whether each character of the text is normalized on its own, so that the package's offsets are whole."""
    document = json.loads(tokenizer.to_str())
    unknown_dropped = document["model"]["unk_token"] is None and "ByteLevel" not in json.dumps(document["pre_tokenizer"])
    if unknown_dropped:
        return False
    kinds = json.dumps(document["normalizer"])
    if '"Regex"' in kinds:
        return False
    return not any(form in kinds for form in ("NFC", "NFD", "NFKC", "NFKD")) or all(
        unicodedata.normalize(form, text) == text for form in ("NFC", "NFD"))


def expected(tokenizer, corpus, step):
    for number in range(0, len(corpus), step):
        text = corpus[number]
        encoding = tokenizer.encode(text)
        entry = {"line": number, "ids": encoding.ids}
        decoded = tokenizer.decode(encoding.ids, skip_special_tokens=True)
        if decoded != text:
            entry["decoded"] = decoded
        if number % (8 * step) == 0:
            entry["full"] = tokenizer.decode(encoding.ids, skip_special_tokens=False)
        if number % (4 * step) == 0 and keeps_offsets(tokenizer, text):
            entry["ranges"] = byte_ranges(text, encoding)
        yield entry


def write_lines(path, values):
    lines = [json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n" for value in values]
    path.write_text("".join(lines), encoding="utf-8", newline="")


def write_tokenizer(directory, name, tokenizer, corpus, step=1, merges_as_text=False):
    document = json.loads(tokenizer.to_str())
    if merges_as_text:
        document["model"]["merges"] = [" ".join(merge) for merge in document["model"]["merges"]]
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    (directory / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    write_lines(directory / f"{name}.expected", expected(tokenizer, corpus, step))


def write_fixtures(directory):
    rng = random.Random(20240607)
    text = make_corpus(rng, 4000)
    corpus = make_corpus(rng, 750)
    write_lines(directory / "corpus.jsonl", corpus)
    write_tokenizer(directory, "gpt2_style", gpt2_style(text), corpus)
    llama3, merges_as_text = llama3_style(text)
    write_tokenizer(directory, "llama3_style", llama3, corpus, merges_as_text=merges_as_text)
    write_tokenizer(directory, "qwen2_style", qwen2_style(text), corpus)
    write_tokenizer(directory, "plain_style", plain_style(text), corpus)
    write_tokenizer(directory, "llama2_style", llama2_style(text), corpus, step=4)
    write_tokenizer(directory, "words_style", words_style(text), corpus, step=4)
    for scheme, split in (("always", False), ("first", True), ("never", True)):
        write_tokenizer(directory, f"metaspace_{scheme}", metaspace_style(text, scheme, split), corpus, step=4)
    leave_training_settings(directory / "metaspace_first.json")


def write_fresh(directory, seed, count=24):
    rng = random.Random(seed)
    text = make_corpus(rng, 1500)
    corpus = make_corpus(rng, 400)
    directory.mkdir(parents=True, exist_ok=True)
    write_lines(directory / "corpus.jsonl", corpus)
    fixed = [gpt2_style, lambda lines: llama3_style(lines)[0], qwen2_style, plain_style, llama2_style, words_style]
    for number, make in enumerate(fixed):
        write_tokenizer(directory, f"fixed_{number}", make(text), corpus)
    for number in range(count):
        tokenizer = random_tokenizer(rng, text)
        try:
            write_tokenizer(directory, f"random_{number}", tokenizer, corpus)
        except BaseException as error:
            # The package itself fails on some combinations (overlapping tokens, say): nothing to compare with.
            if type(error).__name__ != "PanicException":
                raise
            (directory / f"random_{number}.json").unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", nargs=2, metavar=("SEED", "DIR"))
    arguments = parser.parse_args()
    if arguments.fresh:
        write_fresh(pathlib.Path(arguments.fresh[1]), int(arguments.fresh[0]))
    else:
        directory = ROOT / "tests" / "data" / "tokenizers"
        directory.mkdir(parents=True, exist_ok=True)
        write_fixtures(directory)


if __name__ == "__main__":
    main()
