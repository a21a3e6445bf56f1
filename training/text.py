"""Text to token ids: training the tokenizer, fast encoding, the corpus and the words that keys are made of."""

import argparse
import collections
import json
import pathlib
import random
import re
import zlib

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL_TOKENS = ["<pad>", "<bos>", "<eos>", "<q>"]
VOCABULARY = 1024
# Digits are single tokens, the first of a number with the space before it; no merge crosses letters and punctuation.
PIECE = r" ?[0-9]| ?[A-Za-z]+| ?[^\sA-Za-z0-9]+|\s"
HELD_OUT = 8  # one key, value or wording in eight is kept for test prompts


def is_held_out(text: str) -> bool:
    """Whether `text` is of the eighth that training never uses as a key, a value or a wording."""
    return zlib.crc32(text.encode()) % HELD_OUT == 0


def train_tokenizer(corpus: pathlib.Path, target: pathlib.Path) -> None:
    """Byte-level BPE on the corpus, written as tokenizer.json with the files transformers expects beside it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECE), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    documents = corpus.read_text().replace("\t", " ").splitlines()
    # Made-up text for what the tasks use and documentation does not: every digit after a space, " =", " ->", " +".
    shapes = " ".join(f"{first}{second} = -> +" for first in range(10) for second in range(10))
    tokenizer.train_from_iterator([*documents, *[shapes] * 2000], trainer)
    target.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(target / "tokenizer.json"))
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    (target / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
    settings = {**special, "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 2304}
    (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


class Encoder:
    """tokenizer.json's encoding, remembering every piece it has seen: training text is encoded as it is made."""

    def __init__(self, directory: pathlib.Path):
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self._pieces: dict[str, list[int]] = {token: [self[token]] for token in SPECIAL_TOKENS}
        special = "|".join(SPECIAL_TOKENS)
        # A special token ends the piece before it, as it does in the tokenizers library.
        outside = rf" ?[0-9]| ?[A-Za-z]+| ?(?:(?!{special})[^\sA-Za-z0-9])+|\s"
        self._split = re.compile(f"{special}|{outside}").findall

    def __getitem__(self, token: str) -> int:
        return self.tokenizer.token_to_id(token)

    def __call__(self, text: str) -> list[int]:
        ids: list[int] = []
        for piece in self._split(text):
            found = self._pieces.get(piece)
            if found is None:
                found = self._pieces[piece] = self.tokenizer.encode(piece, add_special_tokens=False).ids
            ids += found
        return ids

    def length(self, text: str) -> int:
        return len(self(text))


class Corpus:
    """Documents of sentences; the last 4 % are held out. Every sentence starts with a space."""

    def __init__(self, path: pathlib.Path, held_out: bool):
        documents = [line.split("\t") for line in path.read_text().splitlines()]
        first_held_out = len(documents) * 96 // 100
        chosen = documents[first_held_out:] if held_out else documents[:first_held_out]
        self.documents = [[" " + sentence for sentence in document] for document in chosen]

    def passage(self, generator: random.Random):
        """Sentences without end: a document from a random place on, then another one."""
        while True:
            document = generator.choice(self.documents)
            yield from document[generator.randrange(len(document)) :]


class Words:
    """What keys, names and values are drawn from; the held-out eighth, or the rest."""

    LETTERS = "abcdefghijklmnopqrstuvwxyz"

    def __init__(self, corpus: pathlib.Path, encode: Encoder, held_out: bool):
        self.encode = encode
        self.held_out = held_out
        counts = collections.Counter(re.findall(r"(?<= )[a-z]{4,8}(?=[ .])", corpus.read_text()))
        frequent = [word for word, count in counts.most_common() if count >= 20]
        usable = [word for word in frequent[150:] if encode.length(" " + word) <= 3][:1600]
        self.real = [word for word in usable if is_held_out(word) == held_out]
        # Whole words of one token.
        self.short = [w for w in frequent if encode.length(" " + w) == 1 and is_held_out(w) == held_out]

    def _draw(self, make) -> str:
        while True:
            text = make()
            if is_held_out(text) == self.held_out:
                return text

    def key(self, generator: random.Random) -> str:
        """A word of the corpus, a made-up word or two words."""
        kind = generator.random()
        if kind < 0.6:
            return generator.choice(self.real)
        if kind < 0.8:
            return self._draw(lambda: "".join(generator.choices(self.LETTERS, k=generator.randint(3, 5))))
        return generator.choice(self.real) + " " + generator.choice(self.real)

    def keys(self, generator: random.Random, count: int) -> list[str]:
        """Different keys, no two of which share a word."""
        found: list[str] = []
        used: set[str] = set()
        while len(found) < count:
            key = self.key(generator)
            if used.isdisjoint(key.split()):
                used.update(key.split())
                found.append(key)
        return found

    def number(self, generator: random.Random, fewest: int = 3, most: int = 9) -> str:
        """A number of `fewest` to `most` digits: that many tokens, none of which follows from the others."""
        return self._draw(lambda: "".join(generator.choices("0123456789", k=generator.randint(fewest, most))))

    def label(self, generator: random.Random) -> str:
        """A number, or a made-up word, of at least three tokens."""
        if generator.random() < 0.5:
            return self.number(generator, 3, 6)
        while True:
            word = self._draw(lambda: "".join(generator.choices(self.LETTERS, k=generator.randint(5, 9))))
            if 3 <= self.encode.length(" " + word) <= 9:
                return word


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for tokenizer.json")
    arguments = parser.parse_args()
    train_tokenizer(arguments.corpus, arguments.out)
