"""`analyze`: what it prints, and comparing two recordings."""

import csv
import json

import pytest

TABLES = ["attention", "layers", "concentration", "overlap", "future", "maps", "scorers", "tasks"]


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def traces(evictlab, tmp_path_factory):
    """Two recordings of models that differ in depth."""
    directory = tmp_path_factory.mktemp("traces")
    for name, layers, seed in (("deep", 5, 1), ("shallow", 3, 2)):
        done = evictlab("synth", "--out", directory / f"{name}.h5", "--layers", layers, "--prompts", 3, "--seed", seed,
                        "--length", 200)  # fmt: skip
        assert done.code == 0, done.err
    return directory


def test_prints_a_line_per_layer(evictlab, traces, tmp_path):
    done = evictlab("analyze", traces / "deep.h5", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert "mean over 3 prompts" in lines[0]
    table = [line.split() for line in lines if line.split() and line.split()[0].isdigit()]
    assert [int(line[0]) for line in table] == [0, 1, 2, 3, 4]
    shares = {
        int(row["layer"]): float(row["mean"])
        for row in rows(tmp_path / "out" / "tasks.csv")
        if row["task"] == "all" and row["quantity"] == "preference_share"
    }
    header = next(line for line in lines if line.split()[:1] == ["layer"]).replace("for 90 %", "for90%").split()
    assert [float(line[header.index("CAKE")]) for line in table] == pytest.approx(list(shares.values()), abs=6e-4)


def test_prints_the_tasks_table_as_json(evictlab, traces, tmp_path):
    done = evictlab("analyze", traces / "deep.h5", "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    (recording,) = json.loads(done.out)["recordings"]
    columns = recording["tasks"]["columns"]
    written = rows(tmp_path / "out" / "tasks.csv")
    assert len(written) == len(recording["tasks"]["rows"])
    assert dict(zip(columns, recording["tasks"]["rows"][0])) == {
        name: pytest.approx(float(value)) if name in ("mean", "low", "high", "layer", "prompts") else value
        for name, value in written[0].items()
    }


def test_two_recordings_are_compared_layer_by_layer(evictlab, traces, tmp_path):
    out = tmp_path / "out"
    done = evictlab("analyze", traces / "deep.h5", traces / "shallow.h5", "--out", out)
    assert done.code == 0, done.err
    for side in "ab":
        assert sorted(path.stem for path in (out / side).glob("*.csv")) == sorted(TABLES)
    assert {row["layer"] for row in rows(out / "b" / "layers.csv")} == {"0", "1", "2"}
    table = rows(out / "differences.csv")
    matched = {(row["layer_a"], row["layer_b"]) for row in table if row["quantity"] == "shift"}
    assert matched == {("0", "0"), ("1", "1"), ("2", "1"), ("3", "2"), ("4", "2")}  # by relative depth
    for row in table:
        assert float(row["low"]) <= float(row["difference"]) <= float(row["high"]) or row["quantity"] == (
            "preference_distance"
        )
    distance = next(row for row in table if row["task"] == "all" and row["quantity"] == "preference_distance")
    assert 0 < float(distance["difference"]) < 1
    assert "A - B" in done.out and str(traces / "shallow.h5") in done.out
    assert json.loads((out / "differences.manifest.json").read_text())["b"] == str(traces / "shallow.h5")
    drawn = evictlab("plot", out, "--out", tmp_path / "figures")
    assert drawn.code == 0 and (tmp_path / "figures" / "differences.svg").exists(), drawn.err


def test_three_recordings_are_refused(evictlab, traces, tmp_path):
    deep = traces / "deep.h5"
    done = evictlab("analyze", deep, deep, deep, "--out", tmp_path / "out")
    assert done.code == 2 and "3 traces given" in done.err
    assert not (tmp_path / "out").exists()


def test_a_second_recording_that_cannot_be_read_is_refused_before_any_work(evictlab, traces, tmp_path):
    (tmp_path / "no.h5").write_text("no trace")
    done = evictlab("analyze", traces / "deep.h5", tmp_path / "no.h5", "--out", tmp_path / "out")
    assert done.code == 2 and "no.h5" in done.err
    assert not (tmp_path / "out").exists()


def test_plots_for_a_terminal_name_every_policy(evictlab, traces, tmp_path):
    done = evictlab("replay", traces / "deep.h5", "--policy", "snapkv,cake,random", "--budget", "48,96", "--out",
                    tmp_path / "replay.csv")  # fmt: skip
    assert done.code == 0, done.err
    assert evictlab("analyze", traces / "deep.h5", "--out", tmp_path).code == 0
    shown = evictlab("plot", tmp_path, "--terminal")
    assert shown.code == 0, shown.err
    for text in ("snapkv", "cake", "random", "DynamicKV", "Attention mass lost (mean over 3 prompts)"):
        assert text in shown.out
    assert max(map(len, shown.out.splitlines())) <= 100
