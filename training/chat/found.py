"""A source document, and reading files of unpacked packages."""

import gzip
import pathlib
from typing import NamedTuple

CHARACTERS = 20_000  # of a document at most: a prompt of 4096 positions and a choice of where it begins
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
