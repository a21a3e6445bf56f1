"""Works of reference: word lists, a dictionary, FAQs, manuals, code."""

import pathlib
import random
import re
import textwrap

from cleaning import UNWELCOME, plain_old_documentation, restructured_text, take
from found import CHARACTERS, PUBLIC_DOMAIN, Found, read

PYTHON_DOC_PACKAGE = "python3.11-doc 3.11.2-6+deb12u9"
PYTHON_DOC = "usr/share/doc/python3.11/html/_sources"
PERL_POD = "usr/share/perl/5.36.0/pod"


def word_lists(root: pathlib.Path):
    """Phrases of two words of each of 14 initial letters, in the list's order."""
    phrases = read(root, "usr/share/dict/web2a.gz").splitlines()
    for letter in "abcdefghlmoprs":
        fitting = [
            phrase
            for phrase in phrases
            if re.fullmatch(rf"{letter}[a-z]+ [a-z]{{3,9}}", phrase)
            and len(phrase) <= 16
            and not UNWELCOME.search(phrase)
        ]
        chosen = sorted(random.Random(letter).sample(fitting, 500))
        title = f"Webster's phrases: {letter.upper()}"
        yield Found(
            f"phrases-{letter}", "word list", title, "\n".join(chosen), "miscfiles 1.5+dfsg-4: web2a", PUBLIC_DOMAIN
        )


# Of WordNet's files of nouns, those whose nouns a reader can tell apart: lexicographer file number -> category.
CATEGORIES = {"05": "animal", "06": "artifact", "08": "body", "12": "feeling", "13": "food", "15": "location", "18": "person",
              "20": "plant", "27": "substance", "28": "time"}  # fmt: skip


def definitions(root: pathlib.Path):
    """One "WORD<tab>CATEGORY<tab>DEFINITION" a line: nouns of each of 14 initial letters."""
    by_letter: dict[str, dict[str, list[str]]] = {}
    for row in read(root, "usr/share/wordnet/data.noun").splitlines()[29:]:
        fields = row.split(" ", 5)
        word, category = fields[4].replace("_", " "), CATEGORIES.get(fields[1])
        gloss = row.split(" | ", 1)[1].split(";")[0].strip()
        plain = word.islower() and word.isascii() and re.fullmatch(r"[A-Za-z ,'-]{25,90}", gloss)
        if category and plain and word not in gloss and not UNWELCOME.search(gloss):
            by_letter.setdefault(word[0], {}).setdefault(category, []).append(f"{word}\t{category}\t{gloss}")
    for letter in "abcdefghlmprst":
        generator = random.Random(letter)
        drawn = [
            row
            for _, found in sorted(by_letter[letter].items())
            for row in generator.sample(found, min(30, len(found)))
        ]
        generator.shuffle(drawn)
        rows = list({row.split("\t")[0]: row for row in drawn}.values())  # one sense of a word
        title = f"WordNet: nouns with {letter.upper()}"
        yield Found(
            f"wordnet-{letter}",
            "encyclopedic",
            title,
            "\n".join(rows),
            "wordnet-base 1:3.0-37: data.noun",
            "WordNet-3.0",
        )


def answers_to_questions(blocks_of_page, least: int = 6):
    """The entries of a FAQ that answer in prose: "# Question?" and the paragraphs before the first literal block."""
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


PYTHON_MODULES = ("argparse", "calendar", "configparser", "csv", "difflib", "fractions", "heapq", "pprint", "statistics",
                  "textwrap", "shlex", "zipfile")  # fmt: skip
C_FILES = {  # folder -> origin, licence, files
    "zlib1g-dev": (
        "zlib1g-dev 1:1.2.13.dfsg-1",
        "Zlib",
        ("enough", "fitblk", "gun", "gzappend", "gzlog", "gznorm", "zran"),
    ),
    "libcurl4": ("libcurl4-doc 7.88.1-10+deb12u15", "curl", ("crawler", "ephiperfifo", "http2-upload", "synctime")),
}


def code(root: pathlib.Path):
    def whole_lines(text: str) -> str:
        return text if len(text) <= CHARACTERS else text[: text.rindex("\n", 0, CHARACTERS)]

    for module in PYTHON_MODULES:
        text = whole_lines(read(root, f"usr/lib/python3.11/{module}.py"))
        yield Found(f"{module}.py", "Python", f"{module}.py", text, "libpython3.11-minimal and -stdlib 3.11.2-6+deb12u9", "PSF-2.0")
    for folder, (origin, licence, names) in C_FILES.items():
        for name in names:
            text = read(root, f"usr/share/doc/{folder}/examples/{name}.c")
            if licence == "curl":  # its header is the licence, which NOTICE.md has
                text = text[text.index("*/") + 2 :].lstrip()
            yield Found(f"{name}.c", "C", f"{name}.c", whole_lines(text.expandtabs(8)), origin, licence)


MANUALS = {
    "tutorial": (
        "classes",
        "controlflow",
        "datastructures",
        "errors",
        "inputoutput",
        "introduction",
        "modules",
        "stdlib",
    ),
    "howto": (
        "argparse",
        "curses",
        "descriptor",
        "functional",
        "logging",
        "regex",
        "sockets",
        "sorting",
        "unicode",
        "urllib2",
    ),
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
            yield Found(
                f"python-{folder}-{name}", "technical", title, take(texts, CHARACTERS), PYTHON_DOC_PACKAGE, "PSF-2.0"
            )
