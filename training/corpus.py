"""The filler text: sentences of permissively licensed documentation, from the docstrings of pinned PyPI wheels."""

import argparse
import ast
import pathlib
import random
import re
import subprocess
import sys
import textwrap
import warnings
import zipfile

# Every package here is under a BSD, MIT, Apache-2.0, PSF or matplotlib licence; NOTICE.md lists them.
PACKAGES = [
    "aiohttp==3.14.5", "astropy==8.0.2", "bokeh==3.9.2", "dask==2026.8.0", "distributed==2026.8.0", "django==5.2.19",
    "flask==3.1.3", "jinja2==3.1.6", "matplotlib==3.11.2", "networkx==3.6.1", "nltk==3.10.4", "numpy==2.4.6",
    "pandas==3.1.1", "pytest==9.2.0", "scikit-image==0.26.0", "scikit-learn==1.9.1", "scipy==1.17.1",
    "scrapy==2.19.0", "sphinx==9.0.4", "sqlalchemy==2.1.9", "statsmodels==0.15.0", "sympy==1.14.0",
    "twisted==26.10.0", "werkzeug==3.1.9", "xarray==2026.9.0",
]  # fmt: skip
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
MARKUP = [
    (re.compile(r":[a-zA-Z:.+-]+:`~?([^`<]*?)(?: <[^`]*>)?`"), r"\1"),  # roles
    (re.compile(r"`{1,2}([^`]*)`{1,2}_{0,2}"), r"\1"),
    (re.compile(r"\*{1,2}([^*]+)\*{1,2}"), r"\1"),
    (re.compile(r"\s*\[[^\]]*\]_"), ""),  # citations
]


def docstrings(wheel: pathlib.Path):
    """The docstrings of every module, class and function in a wheel's Python files, one list a file."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith(".py") or "/tests/" in name or "/test_" in name:
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    tree = ast.parse(archive.read(name))
            except SyntaxError:
                continue
            kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
            yield [text for text in found if text]


def paragraphs(docstring: str):
    """Blocks of running text; indented blocks are taken by their own margin, code and tables are left out."""
    for block in re.split(r"\n\s*\n", docstring):
        lines = textwrap.dedent(block).splitlines()
        if not lines or lines[0].lstrip().startswith((">>>", "..", "...")) or any("---" in line for line in lines):
            continue
        # A numpydoc field: the name's line, then its indented description.
        if len(lines) > 1 and not lines[0].startswith(" ") and all(line.startswith("  ") for line in lines[1:]):
            lines = lines[1:]
        if any(re.match(r"\s*(>>>|[-*+#|] )", line) for line in lines):
            continue
        yield " ".join(line.strip() for line in lines)


def sentences(paragraph: str):
    for pattern, replacement in MARKUP:
        paragraph = pattern.sub(replacement, paragraph)
    for sentence in SENTENCE_END.split(re.sub(r"\s+", " ", paragraph)):
        letters = sum(character.isalpha() or character == " " for character in sentence)
        plain = all(" " <= character <= "~" for character in sentence) and "<" not in sentence
        if (
            plain
            and 25 <= len(sentence) <= 220
            and sentence[0].isupper()
            and sentence[-1] in ".!?"
            and sentence.count(" ") >= 4
            and letters >= 0.9 * len(sentence)
        ):
            yield sentence


def build(wheels: pathlib.Path, target: pathlib.Path) -> None:
    """Writes one document a line, sentences separated by tabs, in an order that is always the same."""
    wheels.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*command, "--dest", str(wheels), *PACKAGES], check=True)
    seen: set[str] = set()
    documents = []
    for wheel in sorted(wheels.glob("*.whl")):
        for texts in docstrings(wheel):
            document = []
            for text in texts:
                for paragraph in paragraphs(text):
                    for sentence in sentences(paragraph):
                        if sentence not in seen:
                            seen.add(sentence)
                            document.append(sentence)
            if len(document) >= 3:
                documents.append("\t".join(document))
    random.Random(0).shuffle(documents)
    target.write_text("\n".join(documents) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", type=pathlib.Path, required=True, help="folder for the downloaded wheels")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the corpus: a document a line")
    arguments = parser.parse_args()
    build(arguments.wheels, arguments.out)
