"""Books and speech: novels, stories, science, verse, drama, satire, law, reports of talks."""

import pathlib
import re
import struct
import zlib

from cleaning import UNWELCOME, blocks, lines, prose, take, unwrapped
from found import CHARACTERS, PUBLIC_DOMAIN, Found, read

GO_TESTDATA = "usr/share/go-1.19/src/testdata"
LZ4_TESTDATA = "usr/share/gocode/src/github.com/pierrec/lz4/testdata"
SNAPPY_TESTDATA = "snappy-1.1.9/testdata"
SNAPPY = "snappy 1.1.9-3 (source package)"


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
            yield Found(
                name,
                "narrative",
                f"Jane Austen: {title}, part {part}",
                text,
                "r-cran-janeaustenr 1.0.0-1",
                PUBLIC_DOMAIN,
            )


def sherlock(root: pathlib.Path):
    text = read(root, f"{LZ4_TESTDATA}/pg1661.txt").split("*** END OF")[0]
    stories = re.split(r"^(?:ADVENTURE )?[IVX]+\. (?=[A-Z' -]{10,}$)", text, flags=re.MULTILINE)[1:]
    for story in stories:
        title, body = story.split("\n", 1)
        title = title.title().replace("'S", "'s").removeprefix("The Adventure Of ")
        name = re.sub(r"[^a-z]+", "-", title.lower()).strip("-")
        text = take(prose(body), CHARACTERS)
        origin = "golang-github-pierrec-lz4-dev 2.5.2-2: testdata/pg1661.txt"
        yield Found(name, "narrative", f"Arthur Conan Doyle: {title}", text, origin, PUBLIC_DOMAIN)


def proceedings(root: pathlib.Path):
    """A report of a talk and its points: "POINTS: ...; ..." is the first line."""
    text = read(root, f"{SNAPPY_TESTDATA}/lcet10.txt")
    fences = re.split(r"^\+{20,}\n", text, flags=re.MULTILINE)
    reports: dict[str, tuple[str, str]] = {}
    for heading, body in zip(fences[1::2], fences[2::2]):
        speaker, *points = [unwrapped(part) for part in heading.split("*")]
        points = [point for point in points if point]
        body = re.split(r"^ +\*{6}$|^SESSION ", body, flags=re.MULTILINE)[0]
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
    opticks = [
        paragraph for paragraph in opticks if not re.match(r"\[[A-Z]\] ", paragraph) and "[Greek" not in paragraph
    ]
    for part, share in ((1, 0.15), (2, 0.45), (3, 0.75)):
        text = take(opticks[int(share * len(opticks)) :], CHARACTERS)
        origin = "golang-1.19-src 1.19.8-2: testdata/Isaac.Newton-Opticks.txt"
        yield Found(f"opticks-{part}", "science", f"Isaac Newton: Opticks, part {part}", text, origin, PUBLIC_DOMAIN)
    verse = re.split(r"^Book [IVX]+ *\n", read(root, f"{SNAPPY_TESTDATA}/plrabn12.txt"), flags=re.MULTILINE)
    for number in (2, 6, 9):
        rows = [row.strip() for row in verse[number].splitlines() if row.strip()]
        stanzas = ["\n".join(rows[first : first + 8]) for first in range(0, len(rows), 8)]
        text, title = take(stanzas, CHARACTERS).replace("\n\n", "\n"), f"John Milton: Paradise Lost, book {number}"
        yield Found(f"paradise-lost-{number}", "verse", title, text, f"{SNAPPY}: testdata/plrabn12.txt", PUBLIC_DOMAIN)
    acts = re.split(
        r"^ACT ([IVX]+)$",
        read(root, f"{SNAPPY_TESTDATA}/asyoulik.txt").replace("\tAS YOU LIKE IT\n", ""),
        flags=re.MULTILINE,
    )
    for act in ("I", "III", "V"):
        text = "\n\n".join(body for number, body in zip(acts[1::2], acts[2::2]) if number == act)
        text, title = (
            take(lines(text.replace("\t", "  ")), CHARACTERS),
            f"William Shakespeare: As You Like It, act {act}",
        )
        yield Found(
            f"as-you-like-it-{act.lower()}", "drama", title, text, f"{SNAPPY}: testdata/asyoulik.txt", PUBLIC_DOMAIN
        )
    chapters = re.split(r"^ +CHAPTER [IVX]+$", read(root, f"{SNAPPY_TESTDATA}/alice29.txt"), flags=re.MULTILINE)[1:]
    for part, first in ((1, 0), (2, 6)):
        text = take(prose("\n\n".join(chapters[first : first + 3])), CHARACTERS)
        title = f"Lewis Carroll: Alice's Adventures in Wonderland, part {part}"
        yield Found(f"alice-{part}", "narrative", title, text, f"{SNAPPY}: testdata/alice29.txt", PUBLIC_DOMAIN)
    entries = blocks(read(root, "usr/share/dictd/devil.dict.dz").split("A.B.\n", 1)[1])
    entries = [
        unwrapped(re.sub(r"_([^_]+)_", r"\1", entry))
        for entry in entries
        if re.match(r"[A-Z' -]{3,}, (n|adj|v)", entry)
    ]
    entries = [entry for entry in entries if not UNWELCOME.search(entry)]
    for part, share in ((1, 0.0), (2, 0.5)):
        text, title = (
            take(entries[int(share * len(entries)) :], CHARACTERS),
            f"Ambrose Bierce: The Devil's Dictionary, part {part}",
        )
        yield Found(f"devils-dictionary-{part}", "encyclopedic", title, text, "dict-devil 1.0-13.1", PUBLIC_DOMAIN)
    laws = {
        "us-constitution": "The Constitution of the United States",
        "us-declaration": "The Declaration of Independence",
    }
    for name, title in laws.items():
        paragraphs = [unwrapped(block) for block in blocks(read(root, f"usr/share/state/{name}.gz"))]
        yield Found(name, "law", title, take(paragraphs, CHARACTERS), "miscfiles 1.5+dfsg-4", PUBLIC_DOMAIN)
