"""Plain text out of books, reStructuredText and POD: paragraphs without markup."""

import re

# Passages with such words are left out.
UNWELCOME = re.compile(
    r"\b(nigg\w*|negro\w*|jews?|slurs?|offensive\w*|obscene\w*|vulgar\w*|disparag\w*|sexual\w*|rape\w*)\b",
    re.IGNORECASE,
)
RST_INLINE = [
    (re.compile(r":[a-zA-Z:.+-]+:`[~!]?([^`<]*?)\s*(?:<[^`]*>)?`"), r"\1"),  # roles
    (re.compile(r"`([^`<]+?)\s*<[^`]*>`_{1,2}"), r"\1"),  # links
    (re.compile(r"``([^`]+)``"), r"\1"),
    (re.compile(r"`([^`]+)`_{0,2}"), r"\1"),
    (re.compile(r"(?<![\w*])\*{1,2}([^*\s][^*]*)\*{1,2}(?![\w*])"), r"\1"),
    (re.compile(r"\s*\[[#\w]+\]_"), ""),  # footnotes
    (re.compile(r"\|(\w+)\|"), r"\1"),
]
RST_ADORNMENT = re.compile(r"([=\-~^*#\"'+])\1{2,}\s*$")
RST_KEPT = {"code-block", "note", "warning", "tip", "doctest", "highlights"}  # directives whose body is text
POD_INLINE = [
    (re.compile(r"L<(?:[^|>]*\|)?([^<>]*)>"), r"\1"),
    (re.compile(r"[BCFIXSZ]<<+ (.*?) >>+"), r"\1"),
    (re.compile(r"[BCFISZ]<([^<>]*)>"), r"\1"),
    (re.compile(r"E<lt>"), "<"),
    (re.compile(r"E<gt>"), ">"),
]


def blocks(text: str) -> list[str]:
    """What blank lines separate, without surrounding blank lines."""
    return [block.strip("\n") for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")) if block.strip()]


def unwrapped(block: str) -> str:
    """A paragraph in one line."""
    return re.sub(r"\s+", " ", block).strip()


def prose(text: str) -> list[str]:
    """The paragraphs of a book: unwrapped, without underscores for italics, headings and illustrations."""
    found = []
    for block in blocks(text):
        paragraph = unwrapped(re.sub(r"_([^_]+)_", r"\1", block))
        if "[Illustration" not in paragraph and any(character.islower() for character in paragraph):
            found.append(paragraph)
    return found


def lines(text: str) -> list[str]:
    """The paragraphs of verse or drama: line breaks stay, tabs become spaces."""
    return ["\n".join(line.rstrip() for line in block.expandtabs(8).splitlines()) for block in blocks(text)]


def take(paragraphs: list[str], characters: int) -> str:
    """As many paragraphs as fit, joined by blank lines."""
    taken, used = [], 0
    for paragraph in paragraphs:
        used += len(paragraph) + 2
        if used > characters and taken:
            break
        taken.append(paragraph)
    return "\n\n".join(taken)


def inline(text: str, patterns) -> str:
    for pattern, replacement in patterns:
        text = pattern.sub(replacement, text)
    return text


def restructured_text(source: str) -> list[tuple[str, str]]:
    """(kind, text) of the blocks of a reStructuredText page: kind is heading, paragraph or literal."""
    found: list[tuple[str, str]] = []
    skipped = None  # the margin of the directive whose body is left out
    literal = None  # the margin of the paragraph that a literal block follows
    code_margin = 0  # of the literal block's first line
    for block in blocks(source):
        rows = [row for row in block.splitlines() if row.strip()]
        margin = len(rows[0]) - len(rows[0].lstrip())
        if skipped is not None and margin > skipped:
            continue
        skipped = None
        if literal is not None and margin > literal:
            continued = found and found[-1][0] == "literal"
            code_margin = code_margin if continued else margin
            code = "\n".join(row[code_margin:] for row in block.splitlines())
            found[-1:] = [("literal", f"{found[-1][1]}\n\n{code}")] if continued else [found[-1], ("literal", code)]
            continue
        literal = None
        while rows and rows[0].lstrip().startswith(".. "):
            name = re.match(r"\s*\.\. ([\w-]+)::", rows[0])
            if name and name.group(1) in RST_KEPT:
                literal = margin if name.group(1) in ("code-block", "doctest") else None
                rows = rows[1:]
            else:
                skipped = margin
                deeper = next(
                    (i for i, row in enumerate(rows[1:], 1) if len(row) - len(row.lstrip()) <= margin), len(rows)
                )
                rows = rows[deeper:]
        rows = [row for row in rows if not re.match(r"\s*:[\w ]+:(\s|$)", row)]
        if rows and RST_ADORNMENT.match(rows[0]) and len(rows) > 1:
            rows = rows[1:]
        if len(rows) > 1 and RST_ADORNMENT.match(rows[1]):
            found.append(("heading", inline(rows[0].strip(), RST_INLINE)))
            rows = rows[2:]
        if not rows or any(RST_ADORNMENT.match(row.strip()) for row in rows):  # tables are left out
            continue
        items = re.split(r"\n(?=\s*(?:[*-]|\d+\.|#\.) )", "\n".join(rows))
        text = inline("\n".join(map(unwrapped, items)), RST_INLINE)
        if text.endswith("::"):
            literal, text = margin, text[:-1].replace(" :", "")
        if text.startswith(">>> "):
            found.append(("literal", "\n".join(row[margin:] for row in rows)))
        elif text:
            found.append(("paragraph", text))
    return found


def plain_old_documentation(source: str) -> list[tuple[str, str]]:
    """(kind, text) of the blocks of a POD page, as of restructured_text."""
    found = []
    for block in blocks(source):
        if block.startswith("=head"):
            found.append(("heading", inline(unwrapped(block.split(" ", 1)[1]), POD_INLINE)))
        elif block[0] in " \t":
            found.append(("literal", block.expandtabs(8)))
        elif not block.startswith("="):
            found.append(("paragraph", inline(unwrapped(block), POD_INLINE)))
    return found
