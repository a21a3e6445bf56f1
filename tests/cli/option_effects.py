"""What a run of the program leaves behind, and checks of how it differs from another run's."""

import csv
import hashlib
import re

import h5py

MADE_BY = ("command", "created", "created_utc", "writer")
TIMED = {"decode_ms", "tokens_per_second", "prefill_ms"}


def trace_content(path):
    """What a trace holds, but for the command and the time it was made by."""
    content = {}
    with h5py.File(path) as file:
        def visit(name, item):
            attributes = {k: str(v) for k, v in item.attrs.items() if k not in MADE_BY}
            data = hashlib.md5(item[()].tobytes()).hexdigest() if isinstance(item, h5py.Dataset) else ""
            content[name] = (data, str(getattr(item, "dtype", "")), attributes if name.startswith("prompts") else "")
        file.visititems(visit)
        content["/"] = {k: str(v) for k, v in file.attrs.items() if k not in (*MADE_BY, "digest")}
    return content


def table_content(path):
    with open(path, newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMED} for row in csv.DictReader(file)
                if row.get("quantity") not in TIMED]


def left_behind(out):
    content = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.suffix == ".csv":
            content[name] = table_content(path)
        elif path.suffix == ".h5":
            content[name] = trace_content(path)
        elif path.suffix == ".json" and "manifest" not in name:
            content[name] = "".join(line for line in path.read_text().splitlines() if '"command"' not in line)
        elif path.suffix == ".html":
            content[name] = re.sub(r"<code>.*?</code>", "", path.read_text(), flags=re.S)
        elif path.is_file() and "manifest" not in name:
            content[name] = ""
    return content


class Run:
    """One run of the program into a folder of its own."""

    def __init__(self, work, folder, command, arguments):
        folder.mkdir(parents=True, exist_ok=True)
        self.out = folder
        self.done = work.evictlab(command, *[str(a).replace("OUT", str(folder)) for a in arguments])
        self.text = "" if command == "validate" else self.done.out.replace(str(folder), "OUT")  # which shows times
        self.files = left_behind(folder)


def differs(without, with_):
    assert (with_.text, with_.files) != (without.text, without.files), "no effect"


def same(without, with_):
    assert (with_.text, with_.files) == (without.text, without.files)


def says(piece):
    def check(_, with_):
        assert piece in with_.text + with_.done.err, with_.done.err
    return check


def holds(*names):
    def check(without, with_):
        for name in names:
            assert any(name in file for file in with_.files) and not any(name in file for file in without.files), name
    return check


def lacks_files(_, with_):
    assert with_.files == {} and with_.text
