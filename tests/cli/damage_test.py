"""Whatever of a trace is not what was written is refused in one line, or reaches no result."""

import concurrent.futures
import os
import pathlib
import random
import shutil
import subprocess

import h5py
import numpy
import pytest

from conftest import PATIENCE, PROGRAM, ROOT
from trace_digest import digest, seal, set_values

PROMPT = "prompts/synth-001"


def replay(trace, folder, **options):
    return subprocess.run([PROGRAM, "replay", trace, "--policy", "snapkv,h2o,expected-attention,oracle", "--budget", "40", "--threads", "1", "--out",
                           folder / "replay.csv"], capture_output=True, text=True, timeout=PATIENCE, **options)


def tables(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


@pytest.fixture(scope="module")
def trace(tmp_path_factory, evictlab):
    path = tmp_path_factory.mktemp("damage") / "t.h5"
    done = evictlab("synth", "--out", path, "--seed", 1, "--layers", 2, "--query-heads", 4, "--kv-heads", 2, "--head-dim", 8,
                    "--length", 60, "--future", 4, "--window", 32, "--prompts", 2, "--tier", "full")
    assert done.code == 0, done.err
    return path


@pytest.fixture(scope="module")
def sound(trace, tmp_path_factory):
    """What the tables of the sound trace are."""
    folder = tmp_path_factory.mktemp("sound")
    done = replay(trace, folder)
    assert done.returncode == 0, done.stderr
    return tables(folder)


@pytest.fixture
def changed(trace, tmp_path):
    """A copy of the trace, open in h5py: changed(lambda file: ...)."""

    def apply(change, sealed=True):
        copy = pathlib.Path(shutil.copy(trace, tmp_path / "t.h5"))
        with h5py.File(copy, "r+") as file:
            change(file)
            if sealed:
                seal(file)
        return copy

    return apply


def refused(done, *saying):
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("evictlab: "), done
    for text in saying:
        assert text in done.stderr, done.stderr


# --- digests ----------------------------------------------------------------------------------------


def test_the_digests_are_those_that_the_documentation_defines(trace):
    with h5py.File(trace) as file:
        groups = [file]
        file.visititems(lambda _, item: groups.append(item) if isinstance(item, h5py.Group) else None)
        assert len(groups) == 4 + 2 * 4  # the root, the model and its weights, the prompts; of each itself, its layers and two of them
        for group in groups:
            assert group.attrs["digest"] == digest(group), group.name


def remove_digest(name):
    def remove(file):
        del file[name].attrs["digest"]

    return remove


@pytest.mark.parametrize("change, place", [
    (lambda file: file.attrs.modify("command", "another"), "/: damaged"),
    (lambda file: file.attrs.modify("layers", 3), "/: damaged"),
    (lambda file: file[PROMPT].attrs.modify("task", "another"), f"/{PROMPT}: damaged"),
    (lambda file: file[PROMPT].attrs.modify("source", "another"), f"/{PROMPT}: damaged"),
    (lambda file: file[PROMPT].attrs.modify("window", 15), f"/{PROMPT}: damaged"),
    (lambda file: file[PROMPT]["spans"].attrs.modify("unit", "x"), f"/{PROMPT}: damaged"),
    (lambda file: file[f"{PROMPT}/layers/1/future_mass"].attrs.modify("axes", "position, query_head"), "layers/1: damaged"),
    (lambda file: file[f"{PROMPT}/layers/1"].move("future_mass", "attention_mass_2"), "layers/1: damaged"),
    (lambda file: file[PROMPT].create_dataset("more", data=[1]), f"/{PROMPT}: damaged"),
    (lambda file: file["prompts"].move("synth-001", "synth-002"), "/prompts: damaged"),
    (lambda file: file["prompts"].pop("synth-001"), "/prompts: damaged"),
    (remove_digest("/"), "/: damaged: it has no digest"),
    (remove_digest(PROMPT), "/prompts: damaged"),
    (remove_digest(f"{PROMPT}/layers/1"), f"/{PROMPT}/layers: damaged"),
])
def test_whatever_is_changed_without_its_digest_is_refused(changed, tmp_path, change, place):
    refused(replay(changed(change, sealed=False), tmp_path / "out"), place)


def test_with_the_digests_written_again_a_change_is_read(changed, tmp_path, sound):
    def change(file):
        file[PROMPT].attrs["task"] = "another"
        file[PROMPT].attrs["mine"] = [1.5, 2.0]
        file["prompts"].create_group("synth-001/notes").attrs["odd"] = numpy.bytes_(b"x")

    done = replay(changed(change), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = tables(tmp_path / "out")
    assert found["budgets.csv"] == sound["budgets.csv"] and b",another," in found["replay.csv"]


# --- attention that cannot be -----------------------------------------------------------------------


def row(count, **values):
    elements = numpy.zeros(count)
    for place, value in values.items():
        elements[int(place[1:])] = value
    return elements


def rewrite(name, head, values):
    def change(file):
        dataset = file[f"{PROMPT}/layers/1/{name}"]
        elements = dataset[()]
        elements[(head, -1) if elements.ndim == 3 else head] = values
        set_values(dataset, elements)

    return change


IMPOSSIBLE = [
    ("future_mass", row(64, _3=60000), "position 3 has mass 60000, but only 4 queries see it"),
    ("future_mass", row(64, _3=numpy.nan), "nan at [0, 3]"),
    ("future_mass", row(64, _3=numpy.inf), "inf at [0, 3]"),
    ("attention_mass", row(60, _3=20), "sums to 20, expected 60"),
    ("output_norms", row(64, _3=-1), "-1 at [0, 3]"),
    ("window_attention", row(60, _3=32768 * 1.4, _4=32768 * 1.4), "the row of query 59 sums to 2.8"),
    ("window_attention", row(60, _3=numpy.nan), "attention to position 3 is nan"),
    ("window_attention", row(60, _3=numpy.inf), "attention to position 3 is inf"),
]


@pytest.mark.parametrize("name, values, saying", IMPOSSIBLE)
def test_attention_that_cannot_be_is_refused_under_a_right_hash(evictlab, changed, tmp_path, name, values, saying):
    copy = changed(rewrite(name, 2, values))
    place = f"/{PROMPT}/layers/1/{name}: head 2: "
    refused(replay(copy, tmp_path / "out"), place, saying)
    assert not (tmp_path / "out").exists()
    commands = [("verify", copy), ("analyze", copy, "--out", tmp_path / "tables"), ("report", copy, "--out", tmp_path / "r.html")]
    for command in commands[:1 if name == "output_norms" else 3]:  # the others do not read norms
        done = evictlab(*command)
        assert done.code == 2 and place in done.err and done.err.count("\n") == 1, (command, done.err)


def test_attention_outside_the_sliding_window_is_refused(changed, tmp_path):
    """The window is made shorter than what was recorded: the last query, 59, then sees 50 to 59."""
    def change(file):
        file.attrs["sliding_windows"] = numpy.array([0, 10])

    refused(replay(changed(change), tmp_path / "out"), "/layers/1/", "head 0: query", "but sees only")


# --- traces of version 1 ----------------------------------------------------------------------------

VERSION_1 = ROOT / "tests/data/trace/version_1.h5"


def test_a_trace_without_digests_gives_the_same_tables(evictlab, sound, tmp_path):
    """Made before there were digests, with the options of the fixture `trace`."""
    done = replay(VERSION_1, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert tables(tmp_path / "out") == sound
    assert evictlab("verify", VERSION_1).code == 0


def test_texts_and_spans_of_a_trace_without_digests_are_under_their_hashes(tmp_path):
    for place, change in (("/prompts/synth-001: damaged", lambda file: file[PROMPT].attrs.modify("task", "x")),
                          ("/: damaged", lambda file: file.attrs.modify("model", "x")),
                          ("/spans: damaged", lambda file: file[f"{PROMPT}/spans"].write_direct(file[f"{PROMPT}/spans"][()][::-1].copy()))):
        copy = pathlib.Path(shutil.copy(VERSION_1, tmp_path / "t.h5"))
        with h5py.File(copy, "r+") as file:
            change(file)
        refused(replay(copy, tmp_path / "out"), place)


# --- flipped bits -----------------------------------------------------------------------------------


def places(trace):
    """The bytes of a trace that are not elements of its large arrays: metadata, texts, spans, tokens."""
    size = os.path.getsize(trace)
    elements = set()
    with h5py.File(trace) as file:
        def visit(_, item):
            if isinstance(item, h5py.Dataset) and item.ndim > 1:
                first = item.id.get_offset()
                elements.update(range(first, first + item.id.get_storage_size()))
        file.visititems(visit)
    return [byte for byte in range(size) if byte not in elements]


def flip_and_replay(whole, place, bit, folder):
    """What a flip does: "refused", "harmless", or what went wrong."""
    folder.mkdir()
    try:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        (folder / "t.h5").write_bytes(damaged)
        done = replay(folder / "t.h5", folder / "out")
        if done.returncode == 2 and done.stderr.count("\n") == 1:
            return "refused"
        if done.returncode == 0:
            return tables(folder / "out")
        return f"byte {place} bit {bit}: exit {done.returncode}: {done.stderr}"
    finally:
        shutil.rmtree(folder)


def flip_bits(trace, sound, tmp_path, count):
    whole = trace.read_bytes()
    other = places(trace)
    draw = random.Random(count)
    flips = [(draw.randrange(len(whole)) if i % 2 else draw.choice(other), draw.randrange(8)) for i in range(count)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(lambda i: flip_and_replay(whole, *flips[i], tmp_path / str(i)), range(count)))
    harmless = 0
    for (place, bit), outcome in zip(flips, outcomes):
        if isinstance(outcome, dict):
            assert outcome == sound, f"byte {place} bit {bit} changes a table silently"
            harmless += 1
        else:
            assert outcome == "refused", outcome
    print(f"{count} flips: {count - harmless} refused, {harmless} harmless, 0 silent")
    assert harmless < count / 2  # most bytes belong to something


@pytest.mark.heavy
def test_no_flipped_bit_changes_a_table_silently(trace, sound, tmp_path):
    flip_bits(trace, sound, tmp_path, 150)


@pytest.mark.full
def test_no_flipped_bit_of_many_changes_a_table_silently(trace, sound, tmp_path):
    flip_bits(trace, sound, tmp_path, 10_000)
