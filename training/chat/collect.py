"""Writes models/texts: the documents of sources.py out of unpacked packages, and documents.json about them."""

import argparse
import hashlib
import json
import pathlib

from smollm2 import tokenizer
from sources import SOURCES
from texts import TEXTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path, required=True, help="folder that the packages were unpacked into")
    parser.add_argument("--out", type=pathlib.Path, default=TEXTS)
    arguments = parser.parse_args()
    encode = tokenizer().encode
    rows = []
    for task, source in SOURCES.items():
        for document in source(arguments.root):
            text = document.text.strip("\n") + "\n"
            path = arguments.out / task / f"{document.name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            fields = {
                "name": f"{task}/{document.name}",
                "task": task,
                "kind": document.kind,
                "title": document.title,
                "origin": document.origin,
                "licence": document.licence,
                "tokens": len(encode(text.removesuffix("\n")).ids),
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
            }
            rows.append(json.dumps(fields, ensure_ascii=False))
    (arguments.out / "documents.json").write_text("[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    main()
