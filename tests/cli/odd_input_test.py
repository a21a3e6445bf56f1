"""Odd files, names and machines: each does what a user expects, or one line says what would."""

import csv
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess

import pytest

from conftest import PATIENCE, PROGRAM, ROOT, wait_until

LONG = "<bos>" + " The code of numeric is2461." * 20


def said(done, *pieces):
    assert done.code == 2, (done.code, done.out, done.err)
    assert done.err.startswith("evictlab: ") and done.err.count("\n") == 1, done.err
    for piece in pieces:
        assert piece in done.err, done.err


@pytest.fixture
def record(evictlab, model, tmp_path):
    """Records prompts, given as objects or as a file."""

    def run(prompts, *more, out="t.h5"):
        path = prompts
        if not isinstance(prompts, (str, pathlib.Path)):
            path = tmp_path / "prompts.jsonl"
            path.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
        return evictlab("record", "--model", model, "--prompts", path, "--window", 32, "--future", 2, "--out",
                        f"{tmp_path}/{out}", *more)

    return run


def replay(evictlab, trace, out, *more, policy="snapkv,random", budget="48", **options):
    return evictlab("replay", trace, "--policy", policy, "--budget", budget, "--out", out, *more, **options)


# --- pipes and devices -----------------------------------------------------------------------------


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    return path


def test_pipes_and_devices_are_no_input(evictlab, record, model, small_trace, pipe, tmp_path):
    for path in (pipe, "/dev/zero", "/dev/stdin"):
        said(record(path), str(path), "not a regular file")
        said(evictlab("record", "--model", model, "--text", path, "--out", tmp_path / "t.h5"), str(path), "not a regular file")
        said(evictlab("info", path), str(path), "not a regular file")
        said(replay(evictlab, small_trace, tmp_path / "r.csv", "--scores", path), str(path), "not a regular file")
        said(replay(evictlab, small_trace, tmp_path / "r.csv", "--budgets", path), str(path), "not a regular file")
    said(evictlab("plot", pipe, "--out", tmp_path / "figures"), str(pipe), "not a regular file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe.csv"]


def test_a_large_prompts_file_can_be_interrupted_while_it_is_read(model, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    with open(prompts, "w") as file:
        for i in range(200_000):
            file.write(json.dumps({"id": str(i), "prompt": LONG}) + "\n")
    job = subprocess.Popen([PROGRAM, "record", "--model", model, "--prompts", prompts, "--out", tmp_path / "t.h5"],
                           stderr=subprocess.PIPE, text=True)
    wait_until(lambda: any(str(prompts) == os.path.realpath(link) for link in pathlib.Path(f"/proc/{job.pid}/fd").iterdir()), job)
    job.send_signal(signal.SIGTERM)
    _, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 130 and err == "evictlab: interrupted\n", err
    assert list(tmp_path.iterdir()) == [prompts]


# --- names -----------------------------------------------------------------------------------------

ODD_TASKS = ["'", "'''x'' y'", '"\\`touch hacked`', "20%s $HOME <b>", "a\nb\x01\x7f", "=1+1", "-x", "n" * 3000, "ä語😀"]


@pytest.fixture(scope="module")
def odd_names(evictlab, model, tmp_path_factory):
    """A replay of prompts whose tasks have odd names."""
    folder = tmp_path_factory.mktemp("odd")
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"id": f"={i}", "task": task, "prompt": LONG}) + "\n"
                               for i, task in enumerate(ODD_TASKS)))
    done = evictlab("record", "--model", model, "--prompts", prompts, "--window", 32, "--future", 2, "--out", folder / "t.h5")
    assert done.code == 0, done.err
    for command in ("replay", "analyze"):
        more = ("--policy", "snapkv,random", "--budget", "48") if command == "replay" else ()
        done = evictlab(command, folder / "t.h5", *more, "--out", folder / {"replay": "replay.csv"}.get(command, "."))
        assert done.code == 0, done.err
    return folder


def test_odd_names_of_tasks_are_drawn(evictlab, odd_names, tmp_path):
    done = evictlab("plot", odd_names, "--out", tmp_path / "figures", cwd=tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "figures" / "layer_shares_by_task.svg").exists()
    done = evictlab("report", odd_names, "--out", tmp_path / "r.html", cwd=tmp_path)
    assert done.code == 0, done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "r.html"]


def test_figures_of_too_many_panels_are_left_out_with_the_reason(evictlab, odd_names, tmp_path):
    with open(odd_names / "replay.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["layer"] == "all"]
    with open(tmp_path / "replay.csv", "w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        for number in range(61):
            table.writerow({**rows[0], "prompt": f"p{number}", "task": f"t{number}"})
    done = evictlab("plot", tmp_path / "replay.csv", "--out", tmp_path / "figures")
    assert done.code == 0 and "left out: figure loss_by_task" in done.err, done.err
    assert (tmp_path / "figures" / "loss.png").exists()
    done = evictlab("report", tmp_path / "replay.csv", "--out", tmp_path / "r.html")
    assert done.code == 0 and "left out: figure loss_by_task" in done.err, done.err


def test_no_cell_is_a_formula(odd_names):
    tables = list(odd_names.glob("*.csv"))
    assert len(tables) > 5
    tasks = set()
    for path in tables:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                tasks.add(row.get("task"))
                for cell in row.values():
                    if cell[:1] in ("=", "+", "@", "-", "\t", "\r"):
                        float(cell)
    assert {"'=1+1", "'-x", "'", "a\nb\x01\x7f"} <= tasks


def test_a_nul_in_a_name_is_refused_before_any_work(record, tmp_path):
    said(record([{"id": "a", "task": "x\0y", "prompt": LONG}]), "prompts.jsonl:1", "the task 'x\\x00y' has a NUL")
    said(record([{"id": "a\0", "prompt": LONG}]), "the id 'a\\x00' has a NUL")
    spans = [{"name": "\0", "start": 0, "end": 1}]
    said(record([{"id": "a", "prompt": LONG, "spans": spans}]), "the span '\\x00' has a NUL")
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.jsonl"]


# --- options ---------------------------------------------------------------------------------------


def test_h_explains_a_command(evictlab):
    assert evictlab("replay", "-h").out == evictlab("replay", "--help").out != ""
    assert evictlab("-h").code == 0


def test_a_name_that_ends_with_a_slash_is_no_file(evictlab, record, small_trace, tmp_path):
    said(replay(evictlab, small_trace, f"{tmp_path}/new/"), "is a directory; give the name of a file")
    said(evictlab("report", small_trace, "--out", f"{tmp_path}/new/"), "is a directory; give the name of a file")
    said(record([{"id": "a", "prompt": LONG}], out="new/"), "is a directory; give the name of a file")
    said(evictlab("synth", "--out", f"{tmp_path}/new/"), "is a directory; give the name of a file")
    assert not (tmp_path / "new").exists()


def test_a_folder_of_results_may_end_with_a_slash(evictlab, small_trace, tmp_path):
    assert evictlab("analyze", small_trace, "--out", f"{tmp_path}/tables/").code == 0
    assert evictlab("sweep", small_trace, "--policy", "snapkv", "--budget", 48, "--out", f"{tmp_path}/sweep/").code == 0
    assert (tmp_path / "tables" / "layers.csv").exists() and (tmp_path / "sweep" / "replay.csv").exists()


def test_a_future_that_no_model_has_is_refused(evictlab, model, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"id": "a", "prompt": LONG}) + "\n")
    for future, saying in ((99999999, "1 to 1000000"), (999999, "a smaller --future fits")):
        said(evictlab("record", "--model", model, "--prompts", path, "--out", tmp_path / "t.h5", "--future", future), saying)


def requested_budgets(path):
    with open(path, newline="") as file:
        return {row["budget_requested"] for row in csv.DictReader(file)}


def test_percent_and_decimal_units_are_budgets(evictlab, small_trace, tmp_path):
    # A slot of one kv head is a key and a value of 16 float32: 128 B; 2 layers of 2 kv heads. 0.04 MB = 40000 B = 78.1 slots.
    done = replay(evictlab, small_trace, tmp_path / "r.csv", budget="20%,0.04MB")
    assert done.code == 0, done.err
    assert "0.2 of 200 positions = 40 slots" in done.err and "= 78 slots" in done.err
    assert requested_budgets(tmp_path / "r.csv") == {"0.2", "0.04MB"}
    said(replay(evictlab, small_trace, tmp_path / "x" / "x.csv", budget="120%"), "120%", "at most 1")
    said(replay(evictlab, small_trace, tmp_path / "x" / "x.csv", budget="64mb"), "64mb", "64MiB or 64MB")


def test_all_stands_for_every_policy(evictlab, small_trace, tmp_path):
    done = replay(evictlab, small_trace, tmp_path / "r.csv", policy="all,snapkv(kernel=3)", budget="64")
    assert done.code == 0, done.err
    with open(tmp_path / "r.csv", newline="") as file:
        found = {row["policy"] for row in csv.DictReader(file)}
    known = {policy["name"] for policy in json.loads(evictlab("policies", "--json").out)} - {"compose", "fitted"}
    assert found | {line.split("'")[1] for line in done.err.splitlines() if line.startswith("left out")} >= known
    said(replay(evictlab, small_trace, tmp_path / "x" / "x.csv", policy="all(window=8)"), "all takes no parameters")


# --- machines --------------------------------------------------------------------------------------


def test_without_gnuplot_the_page_says_so(evictlab, small_trace, tmp_path):
    done = evictlab("report", small_trace, "--budget", 48, "--out", tmp_path / "r.html", env={"PATH": str(tmp_path)})
    assert done.code == 0 and "gnuplot was not found" in done.err, done.err
    page = (tmp_path / "r.html").read_text()
    assert "No figures: gnuplot was not found on PATH" in page and "At 48 slots," in page and "<figure" not in page


def test_a_temporary_directory_that_is_not_there(evictlab, small_trace, tmp_path):
    done = evictlab("report", small_trace, "--budget", 48, "--out", tmp_path / "r.html",
                    env={**os.environ, "TMPDIR": str(tmp_path / "nowhere")})
    assert done.code == 0 and "<figure" in (tmp_path / "r.html").read_text(), done.err


@pytest.mark.heavy
@pytest.mark.parametrize("descriptors", [4, 6])
def test_few_descriptors(small_trace, odd_names, model, tmp_path, descriptors):
    def run(*arguments):
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE,
                              preexec_fn=limit)

    commands = [("info", small_trace),
                ("replay", small_trace, "--policy", "snapkv", "--budget", 48, "--out", tmp_path / "r.csv"),
                ("record", "--model", model, "--prompts", odd_names / "prompts.jsonl", "--limit", 1, "--future", 1, "--window", 32,
                 "--out", tmp_path / "t.h5"),
                ("plot", odd_names, "--out", tmp_path / "figures"),
                ("report", odd_names / "replay.csv", "--out", tmp_path / "r.html")]
    for command in commands:
        done = run(*command)
        assert done.returncode in (0, 2), (command, done.stderr)
        if done.returncode == 2:
            assert done.stderr.splitlines()[-1].startswith("evictlab: "), done.stderr
    assert "files (ulimit -n)" in run("plot", odd_names, "--out", tmp_path / "more figures").stderr
    if done.returncode == 0:
        assert "No figures: gnuplot needs" in (tmp_path / "r.html").read_text()


# --- tokenizers ------------------------------------------------------------------------------------


def test_a_tokenizer_whose_steps_multiply_text_is_refused(evictlab, model, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(model, copy, ignore=shutil.ignore_patterns("prompts"))
    document = json.loads((copy / "tokenizer.json").read_text())
    step = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [step] * 2000}
    (copy / "tokenizer.json").write_text(json.dumps(document))
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"id": "a", "prompt": LONG}) + "\n")
    said(evictlab("record", "--model", copy, "--prompts", prompts, "--out", tmp_path / "t.h5"), "steps make more than")


# --- HDF5 of others --------------------------------------------------------------------------------


def test_a_compression_that_is_not_there_is_named_with_what_converts_it(evictlab, small_trace, tmp_path):
    h5py = pytest.importorskip("h5py")
    copy = pathlib.Path(shutil.copy(small_trace, tmp_path / "t.h5"))
    with h5py.File(copy, "r+") as file:
        group = next(iter(file["prompts"].values()))["layers/1"]
        values, attributes = group["keys"][:], dict(group["keys"].attrs)
        del group["keys"]
        group.create_dataset("keys", data=values, compression="lzf").attrs.update(attributes)
    said(replay(evictlab, copy, tmp_path / "r.csv"), "layers/1/keys", "'lzf'", "h5repack -f NONE")


def test_a_layout_of_a_newer_hdf5_is_named_with_what_converts_it(evictlab):
    """A synthetic trace that h5py 3.16 (HDF5 2.0) copied with libver="latest", its tokens in deflated chunks."""
    said(evictlab("verify", ROOT / "tests/data/trace/written_by_hdf5_2.h5"), "version number", "h5repack --low=1 --high=1 '")


def test_what_hdf5_1_10_writes_with_libver_latest_is_read(evictlab, small_trace, tmp_path):
    h5py = pytest.importorskip("h5py")
    if h5py.version.hdf5_version_tuple[:2] != (1, 10):
        pytest.skip("another HDF5")
    with h5py.File(small_trace) as source, h5py.File(tmp_path / "t.h5", "w", libver="latest") as file:
        for name in source:
            source.copy(name, file)
        file.attrs.update(source.attrs)
    assert evictlab("verify", tmp_path / "t.h5").code == 0


# --- streams ---------------------------------------------------------------------------------------


def test_closed_streams_do_not_become_files_of_the_program(evictlab, model, small_trace, tmp_path):
    """A file that is opened as descriptor 2 would get the messages."""
    command = f"'{PROGRAM}' replay '{small_trace}' --policy snapkv,oracle --budget 16,48 --out '{tmp_path}/r.csv' --kept '{tmp_path}/k.h5'"
    done = subprocess.run(f"{command} <&- >&- 2>&-", shell=True, timeout=PATIENCE)
    assert done.returncode == 2, "what could not be written is no success"
    assert evictlab("replay", small_trace, "--kept", tmp_path / "k.h5", "--out", tmp_path / "again" / "r.csv").code == 0
