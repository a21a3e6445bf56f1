"""Writes models/texts/prompts again: the demo's prompts, and the number of prompts and SHA-256 of every set."""

import hashlib
import json

from prompts import SETS, as_lines
from texts import TEXTS


def main() -> None:
    folder = TEXTS / "prompts"
    folder.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for name, requests in SETS.items():
        lines = as_lines(requests, seed="0")
        hashes[name] = {"prompts": lines.count("\n"), "sha256": hashlib.sha256(lines.encode()).hexdigest()}
        if name == "demo":
            (folder / "demo.jsonl").write_text(lines)
    (folder / "sets.json").write_text(json.dumps(hashes, indent=2) + "\n")


if __name__ == "__main__":
    main()
