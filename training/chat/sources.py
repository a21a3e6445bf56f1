"""The source documents of the chat prompts: where each comes from, and how its plain text is taken out.

Each function yields the documents of a task; SOURCES lists them. Paths are inside the root that training/chat-texts
unpacks packages into.
"""

import gzip
import pathlib
import random
import re
import struct
import textwrap
import zlib
from typing import NamedTuple

from cleaning import (
    UNWELCOME,
    blocks,
    lines,
    plain_old_documentation,
    prose,
    restructured_text,
    take,
    unwrapped,
)

CHARACTERS = 20_000  # of a document at most: a prompt of 4096 positions and a choice of where it begins
GO_TESTDATA = "usr/share/go-1.19/src/testdata"
LZ4_TESTDATA = "usr/share/gocode/src/github.com/pierrec/lz4/testdata"
SNAPPY_TESTDATA = "snappy-1.1.9/testdata"
SNAPPY = "snappy 1.1.9-3 (source package)"
PYTHON_DOC_PACKAGE = "python3.11-doc 3.11.2-6+deb12u9"
PYTHON_DOC = "usr/share/doc/python3.11/html/_sources"
PERL_POD = "usr/share/perl/5.36.0/pod"

PUBLIC_DOMAIN = "public domain"


class Found(NamedTuple):
    name: str
    kind: str  # what sort of text it is
    title: str
    text: str
    origin: str  # package and version, and where it is not all from one file of it: which
    licence: str  # a heading of NOTICE.md


def read(root: pathlib.Path, path: str) -> str:
    data = (root / path).read_bytes()
    if path.endswith((".gz", ".dz")):
        data = gzip.decompress(data)
    return data.decode("utf-8-sig").replace("\r\n", "\n")


def austen(root: pathlib.Path):
    """Two parts of each novel, from the character vectors of an R package's lazy-load database."""
    data = (root / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    while data:  # one compressed, serialised vector after the other; its length before it
        stream = zlib.decompressobj()
        vector, data = stream.decompress(data[4:]), stream.unused_data
        header = 14 + 4 + struct.unpack(">I", vector[14:18])[0]
        count = struct.unpack(">I", vector[header + 4 : header + 8])[0]
        position, rows = header + 8, []
        for _ in range(count):  # flags, length, characters
            length = struct.unpack(">I", vector[position + 4 : position + 8])[0]
            rows.append(vector[position + 8 : position + 8 + length].decode())
            position += 8 + length
        title = unwrapped(rows[0]).title().replace(" And ", " and ")
        paragraphs = prose("\n".join(rows))
        for part, share in ((1, 0.1), (2, 0.6)):
            name = f"{title.lower().replace(' ', '-')}-{part}"
            text = take(paragraphs[int(share * len(paragraphs)) :], CHARACTERS)
            yield Found(name, "narrative", f"Jane Austen: {title}, part {part}", text, "r-cran-janeaustenr 1.0.0-1", PUBLIC_DOMAIN)


def sherlock(root: pathlib.Path):
    text = read(root, f"{LZ4_TESTDATA}/pg1661.txt").split("*** END OF")[0]
    stories = re.split(r"^(?:ADVENTURE )?[IVX]+\. (?=[A-Z' -]{10,}$)", text, flags=re.M)[1:]
    for story in stories:
        title, body = story.split("\n", 1)
        title = title.title().replace("'S", "'s").removeprefix("The Adventure Of ")
        name = re.sub(r"[^a-z]+", "-", title.lower()).strip("-")
        text = take(prose(body), CHARACTERS)
        origin = "golang-github-pierrec-lz4-dev 2.5.2-2: testdata/pg1661.txt"
        yield Found(name, "narrative", f"Arthur Conan Doyle: {title}", text, origin, PUBLIC_DOMAIN)


def word_lists(root: pathlib.Path):
    """Phrases of two words of each of 14 initial letters, in the list's order."""
    phrases = read(root, "usr/share/dict/web2a.gz").splitlines()
    for letter in "abcdefghlmoprs":
        fitting = [
            phrase
            for phrase in phrases
            if re.fullmatch(rf"{letter}[a-z]+ [a-z]{{3,9}}", phrase) and len(phrase) <= 16 and not UNWELCOME.search(phrase)
        ]
        chosen = sorted(random.Random(letter).sample(fitting, 500))
        title = f"Webster's phrases: {letter.upper()}"
        yield Found(f"phrases-{letter}", "word list", title, "\n".join(chosen), "miscfiles 1.5+dfsg-4: web2a", PUBLIC_DOMAIN)


def answers_to_questions(blocks_of_page, least: int = 6):
    """"# Question?" and the paragraphs before the first literal block, for every entry that answers in prose."""
    entries, question, answer, open_ = [], None, [], False
    for kind, text in [*blocks_of_page, ("heading", "")]:
        if kind == "heading":
            while len(answer) > 1 and answer[-1].endswith(":"):  # what announced code
                answer.pop()
            joined = "\n\n".join(answer)
            if question and question.endswith("?") and len(joined) > 150 and not UNWELCOME.search(joined):
                entries.append(f"# {question}\n\n{joined}")
            question, answer, open_ = text, [], True
        elif kind == "literal":
            open_ = False
        elif open_ and not text.startswith("(contributed") and not text.startswith("* "):
            answer.append(text)
    return entries if len(entries) >= least else []


def questions(root: pathlib.Path):
    for name in ("design", "extending", "general", "library", "programming", "windows"):
        entries = answers_to_questions(restructured_text(read(root, f"{PYTHON_DOC}/faq/{name}.rst.txt")), least=4)
        if entries:
            text = take(entries, CHARACTERS)
            yield Found(f"python-faq-{name}", "technical", f"Python FAQ: {name}", text, PYTHON_DOC_PACKAGE, "PSF-2.0")
    for number in range(1, 10):
        entries = answers_to_questions(plain_old_documentation(read(root, f"{PERL_POD}/perlfaq{number}.pod")))
        if entries:
            text, origin = take(entries, CHARACTERS), "perl-doc 5.36.0-7+deb12u4"
            yield Found(f"perlfaq{number}", "technical", f"Perl FAQ, part {number}", text, origin, "Artistic-1.0-Perl")


def proceedings(root: pathlib.Path):
    """A report of a talk and its points: "POINTS: ...; ..." is the first line."""
    text = read(root, f"{SNAPPY_TESTDATA}/lcet10.txt")
    fences = re.split(r"^\+{20,}\n", text, flags=re.M)
    reports: dict[str, tuple[str, str]] = {}
    for heading, body in zip(fences[1::2], fences[2::2]):
        speaker, *points = [unwrapped(part) for part in heading.split("*")]
        points = [point for point in points if point]
        body = re.split(r"^ +\*{6}$|^SESSION ", body, flags=re.M)[0]
        paragraphs = [unwrapped(block) for block in blocks(body)]
        if len(points) >= 4 and sum(map(len, paragraphs)) >= 5_000 and "DISCUSSION" not in speaker:
            name = re.sub(r"[^a-z]+", "-", speaker.lower()).strip("-")
            name += "-2" if name in reports else ""
            reports[name] = ("; ".join(points), take(paragraphs, CHARACTERS))
    for name, (points, report) in reports.items():
        title, text = f"Workshop on Electronic Texts: {name}", f"POINTS: {points}\n\n{report}"
        yield Found(name, "proceedings", title, text, f"{SNAPPY}: testdata/lcet10.txt", PUBLIC_DOMAIN)


def books(root: pathlib.Path):
    """Texts to go on with: science, verse, drama, satire, law, a children's book."""
    opticks = prose(read(root, f"{GO_TESTDATA}/Isaac.Newton-Opticks.txt"))
    opticks = [re.sub(r"\[[A-Z]\](?! )", "", paragraph) for paragraph in opticks]
    opticks = [paragraph for paragraph in opticks if not re.match(r"\[[A-Z]\] ", paragraph) and "[Greek" not in paragraph]
    for part, share in ((1, 0.15), (2, 0.45), (3, 0.75)):
        text = take(opticks[int(share * len(opticks)) :], CHARACTERS)
        origin = "golang-1.19-src 1.19.8-2: testdata/Isaac.Newton-Opticks.txt"
        yield Found(f"opticks-{part}", "science", f"Isaac Newton: Opticks, part {part}", text, origin, PUBLIC_DOMAIN)
    verse = re.split(r"^Book [IVX]+ *\n", read(root, f"{SNAPPY_TESTDATA}/plrabn12.txt"), flags=re.M)
    for number in (2, 6, 9):
        rows = [row.strip() for row in verse[number].splitlines() if row.strip()]
        stanzas = ["\n".join(rows[first : first + 8]) for first in range(0, len(rows), 8)]
        text, title = take(stanzas, CHARACTERS).replace("\n\n", "\n"), f"John Milton: Paradise Lost, book {number}"
        yield Found(f"paradise-lost-{number}", "verse", title, text, f"{SNAPPY}: testdata/plrabn12.txt", PUBLIC_DOMAIN)
    acts = re.split(r"^ACT ([IVX]+)$", read(root, f"{SNAPPY_TESTDATA}/asyoulik.txt").replace("\tAS YOU LIKE IT\n", ""), flags=re.M)
    for act in ("I", "III", "V"):
        text = "\n\n".join(body for number, body in zip(acts[1::2], acts[2::2]) if number == act)
        text, title = take(lines(text.replace("\t", "  ")), CHARACTERS), f"William Shakespeare: As You Like It, act {act}"
        yield Found(f"as-you-like-it-{act.lower()}", "drama", title, text, f"{SNAPPY}: testdata/asyoulik.txt", PUBLIC_DOMAIN)
    chapters = re.split(r"^ +CHAPTER [IVX]+$", read(root, f"{SNAPPY_TESTDATA}/alice29.txt"), flags=re.M)[1:]
    for part, first in ((1, 0), (2, 6)):
        text = take(prose("\n\n".join(chapters[first : first + 3])), CHARACTERS)
        title = f"Lewis Carroll: Alice's Adventures in Wonderland, part {part}"
        yield Found(f"alice-{part}", "narrative", title, text, f"{SNAPPY}: testdata/alice29.txt", PUBLIC_DOMAIN)
    entries = blocks(read(root, "usr/share/dictd/devil.dict.dz").split("A.B.\n", 1)[1])
    entries = [unwrapped(re.sub(r"_([^_]+)_", r"\1", entry)) for entry in entries if re.match(r"[A-Z' -]{3,}, (n|adj|v)", entry)]
    entries = [entry for entry in entries if not UNWELCOME.search(entry)]
    for part, share in ((1, 0.0), (2, 0.5)):
        text, title = take(entries[int(share * len(entries)) :], CHARACTERS), f"Ambrose Bierce: The Devil's Dictionary, part {part}"
        yield Found(f"devils-dictionary-{part}", "encyclopedic", title, text, "dict-devil 1.0-13.1", PUBLIC_DOMAIN)
    laws = {"us-constitution": "The Constitution of the United States", "us-declaration": "The Declaration of Independence"}
    for name, title in laws.items():
        paragraphs = [unwrapped(block) for block in blocks(read(root, f"usr/share/state/{name}.gz"))]
        yield Found(name, "law", title, take(paragraphs, CHARACTERS), "miscfiles 1.5+dfsg-4", PUBLIC_DOMAIN)


CATEGORIES = ("animal", "artifact", "body", "food", "location", "person", "plant", "substance", "time", "feeling")
CATEGORY_NUMBERS = {"04": "act", "05": "animal", "06": "artifact", "08": "body", "12": "feeling", "13": "food", "15": "location",
                    "18": "person", "20": "plant", "27": "substance", "28": "time"}  # fmt: skip


def definitions(root: pathlib.Path):
    """"WORD<tab>CATEGORY<tab>DEFINITION" a line, of the nouns of each of 14 initial letters."""
    by_letter: dict[str, dict[str, list[str]]] = {}
    for row in read(root, "usr/share/wordnet/data.noun").splitlines()[29:]:
        fields = row.split(" ", 5)
        word, category = fields[4].replace("_", " "), CATEGORY_NUMBERS.get(fields[1])
        gloss = row.split(" | ", 1)[1].split(";")[0].strip()
        if category in CATEGORIES and word.islower() and word.isascii() and 25 <= len(gloss) <= 90:
            if re.fullmatch(r"[A-Za-z ,'-]+", gloss) and not UNWELCOME.search(gloss) and word not in gloss:
                by_letter.setdefault(word[0], {}).setdefault(category, []).append(f"{word}\t{category}\t{gloss}")
    for letter in "abcdefghlmprst":
        generator = random.Random(letter)
        drawn = [row for _, found in sorted(by_letter[letter].items()) for row in generator.sample(found, min(30, len(found)))]
        generator.shuffle(drawn)
        rows = list({row.split("\t")[0]: row for row in drawn}.values())  # one sense of a word
        title = f"WordNet: nouns with {letter.upper()}"
        yield Found(f"wordnet-{letter}", "encyclopedic", title, "\n".join(rows), "wordnet-base 1:3.0-37: data.noun", "WordNet-3.0")


PYTHON_MODULES = ("argparse", "calendar", "configparser", "csv", "difflib", "fractions", "heapq", "pprint", "statistics",
                  "textwrap", "shlex", "zipfile")  # fmt: skip
C_FILES = {  # folder -> origin, licence, files
    "zlib1g-dev": ("zlib1g-dev 1:1.2.13.dfsg-1", "Zlib", ("enough", "fitblk", "gun", "gzappend", "gzlog", "gznorm", "zran")),
    "libcurl4": ("libcurl4-doc 7.88.1-10+deb12u15", "curl", ("crawler", "ephiperfifo", "http2-upload", "synctime")),
}


def code(root: pathlib.Path):
    def whole_lines(text: str) -> str:
        return text if len(text) <= CHARACTERS else text[: text.rindex("\n", 0, CHARACTERS)]

    for module in PYTHON_MODULES:
        text = whole_lines(read(root, f"usr/lib/python3.11/{module}.py"))
        yield Found(f"{module}.py", "Python", f"{module}.py", text, "libpython3.11-stdlib 3.11.2-6+deb12u9", "PSF-2.0")
    for folder, (origin, licence, names) in C_FILES.items():
        for name in names:
            text = read(root, f"usr/share/doc/{folder}/examples/{name}.c")
            if licence == "curl":  # its header is the licence, which NOTICE.md has
                text = text[text.index("*/") + 2 :].lstrip()
            yield Found(f"{name}.c", "C", f"{name}.c", whole_lines(text.expandtabs(8)), origin, licence)


MANUALS = {
    "tutorial": ("classes", "controlflow", "datastructures", "errors", "inputoutput", "introduction", "modules", "stdlib"),
    "howto": ("argparse", "curses", "descriptor", "functional", "logging", "regex", "sockets", "sorting", "unicode", "urllib2"),
}


def manuals(root: pathlib.Path):
    """Chapters of Python's tutorial and how-tos, with their code."""
    for folder, names in MANUALS.items():
        for name in names:
            texts = []
            for kind, text in restructured_text(read(root, f"{PYTHON_DOC}/{folder}/{name}.rst.txt")):
                if kind == "heading":
                    text = "# " + text
                elif kind == "literal":
                    text = textwrap.indent(text, "    ")
                texts.append(text)
            title = f"Python {folder}: {name}"
            yield Found(f"python-{folder}-{name}", "technical", title, take(texts, CHARACTERS), PYTHON_DOC_PACKAGE, "PSF-2.0")


SOURCES = {
    "needle": austen,
    "key-value": word_lists,
    "multi-document": questions,
    "summary": proceedings,
    "continuation": books,
    "few-shot": definitions,
    "code": code,
    "dialogue": sherlock,
    "long-copy": manuals,
}
