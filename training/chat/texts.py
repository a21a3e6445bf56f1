"""The source documents under models/texts: read, cut into sentences or lines, and measured in positions."""

import dataclasses
import functools
import json
import pathlib
import re

TEXTS = pathlib.Path(__file__).resolve().parents[2] / "models" / "texts"
PIECE = re.compile(r"\d|[^\W\d_]+|[^\w\s]+|_|\n\s*| {2,}")
# The end of a sentence with the space after it; an abbreviation's full stop ends none.
SENTENCE_END = re.compile(r"[.!?]['\")]*\s+|\n+")
ABBREVIATIONS = ("Mr.", "Mrs.", "Dr.", "St.", "No.", "i.e.", "e.g.", "vs.")


def pieces(text: str) -> int:
    """Words, digits, runs of punctuation and line breaks: what tokenizers split text into first."""
    return len(PIECE.findall(text))


def sentences(text: str) -> list[str]:
    """Sentences with the white space behind them; joined they are the text."""
    found, begin = [], 0
    for match in SENTENCE_END.finditer(text):
        if "\n" in match.group() or not text.endswith(ABBREVIATIONS, begin, match.start() + 1):
            found.append(text[begin : match.end()])
            begin = match.end()
    return [*found, text[begin:]] if begin < len(text) else found


@dataclasses.dataclass(frozen=True)
class Document:
    name: str  # its path under models/texts without ".txt"
    task: str  # the only task that uses it
    kind: str  # narrative, technical, law, Python, ...
    title: str
    tokens: int  # of the whole text, as SmolLM2 counts
    text: str

    @functools.cached_property
    def units(self) -> list[str]:
        """What excerpts begin and end with: lines of code, verse, drama and lists, sentences of prose."""
        by_line = self.kind in ("Python", "C", "verse", "drama", "word list") or "\t" in self.text
        return self.text.splitlines(keepends=True) if by_line else sentences(self.text)

    @functools.cached_property
    def positions_per_piece(self) -> float:
        return self.tokens / pieces(self.text)

    def positions(self, text: str) -> float:
        """About how many tokens `text` has, written as this document is."""
        return self.positions_per_piece * pieces(text)

    def excerpt(self, first: int, room: float) -> list[str]:
        """The units from number `first` on that fit into `room` positions."""
        taken: list[str] = []
        for unit in self.units[first:]:
            room -= self.positions(unit)
            if room < 0:
                break
            taken.append(unit)
        return taken


@functools.cache
def documents() -> tuple[Document, ...]:
    """All of models/texts/documents.json, in its order."""
    found = []
    for fields in json.loads((TEXTS / "documents.json").read_text()):
        text = (TEXTS / f"{fields['name']}.txt").read_text().removesuffix("\n")
        known = {field: fields[field] for field in ("name", "task", "kind", "title", "tokens")}
        found.append(Document(**known, text=text))
    return tuple(found)
