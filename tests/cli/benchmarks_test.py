"""Benchmark files as they are published: LongBench, RULER, needles in any text; and windows as models have them."""

import csv
import json
import pathlib
import random

import h5py
import pytest

CHECKPOINTS = pathlib.Path(__file__).resolve().parents[1] / "data" / "checkpoints"
DATASETS = [
    "narrativeqa", "qasper", "multifieldqa_en", "hotpotqa", "2wikimqa", "gov_report", "qmsum", "multifieldqa_zh",
    "trec", "triviaqa", "passage_count", "repobench-p",
]  # fmt: skip
SUBJECTS = ["The ferry", "A printer", "The committee", "Her brother", "The lighthouse", "An orchard", "The compiler"]
VERBS = ["waits for", "records", "ignores", "repairs", "counts", "remembers", "moves"]
OBJECTS = ["the morning tide", "every unpaid invoice", "two green crates", "an old promise", "the last bus", "rain"]


def document(seed, sentences):
    draw = random.Random(seed)
    return " ".join(f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.choice(OBJECTS)}." for _ in range(sentences))


def longbench_line(number, dataset):
    """A document of a kind of its own, with what real files have beside text: quotes, braces, Chinese, code, breaks."""
    context = document(number, 40 if number else 600)  # the first does not fit the model
    if dataset.endswith("_zh"):
        context = "渡轮每天早晨等待潮水。" * 20 + context
    if dataset == "repobench-p":
        context = 'def f(x):\n\treturn {"a": [x, "{input}"]}\n' * 30
    return {
        "input": "" if dataset in ("gov_report", "passage_count") else f"What does \"the ferry\" wait for, {number}?",
        "context": context,
        "answers": ["the morning tide", "tide"],
        "length": len(context.split()),
        "dataset": dataset,
        "language": "zh" if dataset.endswith("_zh") else "en",
        "all_classes": ["Food", "Date"] if dataset == "trec" else None,
        "_id": f"{number:032x}",
    }


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def record(evictlab, model, out, *arguments):
    done = evictlab("record", "--model", model, "--out", out, *arguments)
    assert done.code == 0, done.err
    assert evictlab("verify", out).code == 0


def spans_of(prompt):
    return {row["name"].decode(): (int(row["begin"]), int(row["end"])) for row in prompt["spans"][()]}


@pytest.fixture(scope="module")
def longbench(tmp_path_factory):
    lines = [longbench_line(number, dataset) for number, dataset in enumerate(DATASETS)]
    return write_lines(tmp_path_factory.mktemp("longbench") / "mixed.jsonl", lines)


@pytest.mark.heavy
@pytest.mark.parametrize("where", ["prompt", "context"])
def test_twelve_documents_record_verify_and_replay(evictlab, model, longbench, tmp_path, where):
    trace = tmp_path / "trace.h5"
    record(evictlab, model, trace, "--prompts", longbench, "--evict-at", where)
    with h5py.File(trace) as file:
        prompts = file["prompts"]
        assert {prompts[name].attrs["task"] for name in prompts} == set(DATASETS)
        assert sorted(prompts) == [f"{number:032x}" for number in range(12)]
        for name in prompts:
            spans = spans_of(prompts[name])
            n = int(prompts[name].attrs["prompt_length"])
            assert spans["context"][1] == n if where == "context" else spans["context"][1] < n
            assert spans["question"][0] >= spans["context"][1]
        # What the model could not read has lost its middle: prompt and answer fill its 2304 positions.
        longest = prompts[f"{0:032x}"]
        assert len(longest["tokens"]) == 2304
    done = evictlab("replay", trace, "--policy", "full,snapkv,oracle", "--budget", "64", "--out", tmp_path / "replay.csv")
    assert done.code == 0, done.err
    with open(tmp_path / "replay.csv", newline="") as file:
        assert {row["task"] for row in csv.DictReader(file)} == set(DATASETS)


def test_answers_are_generated_as_long_as_the_dataset_allows(evictlab, model, tmp_path):
    lines = [longbench_line(1, "qasper"), longbench_line(2, "trec"), longbench_line(3, "hotpotqa")]
    lines[2]["answers"] = ["the tide " * 100]
    prompts = write_lines(tmp_path / "lines.jsonl", lines)
    record(evictlab, model, tmp_path / "allowed.h5", "--prompts", prompts, "--future", "allowed")
    with h5py.File(tmp_path / "allowed.h5") as file:
        lengths = {p.attrs["task"]: int(p.attrs["future_length"]) for p in file["prompts"].values()}
    assert 1 <= lengths["qasper"] <= 128 and 1 <= lengths["trec"] <= 64 and 1 <= lengths["hotpotqa"] <= 32
    record(evictlab, model, tmp_path / "answer.h5", "--prompts", prompts)
    with h5py.File(tmp_path / "answer.h5") as file:
        assert int(file[f"prompts/{3:032x}"].attrs["future_length"]) == 32, "an answer is cut to what is allowed"


def test_a_template_replaces_the_benchmarks_words(evictlab, model, tmp_path):
    (tmp_path / "form.txt").write_text("Q: {question}\n{context}\nA {brace}:\n")
    line = {"context": document(1, 30), "question": "What waits?", "answer": "tide", "id": "mine"}
    prompts = write_lines(tmp_path / "mine.jsonl", [line])
    record(evictlab, model, tmp_path / "mine.h5", "--prompts", prompts, "--template", tmp_path / "form.txt")
    with h5py.File(tmp_path / "mine.h5") as file:
        spans = spans_of(file["prompts/mine"])
    assert spans["question"][1] <= spans["context"][0], "the template asks first"


def test_ruler_lines_are_read_with_their_needles(evictlab, model, tmp_path):
    text = document(4, 30) + " One of the special magic numbers for tide is: 48213. " + document(5, 30)
    line = {"index": 7, "input": text + "\nWhat are the special magic numbers for tide? They are", "outputs": ["48213"],
            "length": 900}  # fmt: skip
    prompts = write_lines(tmp_path / "niah.jsonl", [line])
    record(evictlab, model, tmp_path / "niah.h5", "--prompts", prompts)
    with h5py.File(tmp_path / "niah.h5") as file:
        spans = spans_of(file["prompts/niah-7"])
    assert spans["context"][0] <= spans["needle"][0] < spans["needle"][1] <= spans["context"][1] <= spans["question"][0]


def test_a_needle_is_hidden_at_every_depth_of_every_length(evictlab, model, tmp_path):
    (tmp_path / "haystack.txt").write_text(document(6, 12))
    record(evictlab, model, tmp_path / "needles.h5", "--needle", tmp_path / "haystack.txt", "--needle-lengths", "200,600",
           "--needle-depths", "0,0.5,1")  # fmt: skip
    with h5py.File(tmp_path / "needles.h5") as file:
        assert len(file["prompts"]) == 6
        for length in (200, 600):
            places = []
            for depth in ("0", "0.5", "1"):
                prompt = file[f"prompts/needle-{length}-{depth}"]
                n = int(prompt.attrs["prompt_length"])
                assert length - 40 <= n <= length
                spans = spans_of(prompt)
                begin, end = spans["context"]
                places.append((spans["needle"][0] - begin) / (end - begin))
            assert places[0] < 0.05 < 0.3 < places[1] < 0.6 < 0.8 < places[2]


@pytest.mark.parametrize(
    ("line", "saying"),
    [
        ({"dataset": "qasper", "input": "q", "answers": ["a"]}, ":1: a LongBench line needs \"context\" (text)"),
        ({"dataset": "qasper", "context": ""}, ":1: \"context\" is empty"),
        ({"dataset": "qasper", "context": ["x"]}, "context: expected a string, got an array"),
        ({"dataset": "qasper", "context": "x", "answers": "a"}, "answers: expected an array, got a string"),
        ({"dataset": "mmlu", "context": "x"}, ["dataset 'mmlu' has no prompt of its own", "known: narrativeqa, qasper"]),
        ({"input": "x", "outputs": "y"}, "outputs: expected an array, got a string"),
        ({"input": "x"}, "line of LongBench, RULER or InfiniteBench"),
        ({"context": "x", "question": "y"}, 'no "dataset" of LongBench'),
    ],
)
def test_what_a_benchmark_line_lacks_is_said(evictlab, model, tmp_path, line, saying):
    prompts = write_lines(tmp_path / "bad.jsonl", [line])
    done = evictlab("record", "--model", model, "--prompts", prompts, "--out", tmp_path / "t.h5")
    assert done.code == 2 and done.err.count("\n") == 1, done.err
    for piece in [saying] if isinstance(saying, str) else saying:
        assert piece in done.err
    assert not (tmp_path / "t.h5").exists()


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (("--needle-depths", "2"), "--needle-depths takes numbers from 0 to 1"),
        (("--needle-lengths", "x"), "--needle-lengths takes numbers of positions"),
        (("--needle-lengths", "8"), "leaves no room for the text"),
        (("--template", "none.txt"), "none.txt"),
    ],
)
def test_what_is_wrong_with_a_needle_is_said(evictlab, model, tmp_path, arguments, saying):
    (tmp_path / "text.txt").write_text(document(1, 10))
    done = evictlab("record", "--model", model, "--needle", tmp_path / "text.txt", "--out", tmp_path / "t.h5", *arguments)
    assert done.code == 2 and done.err.count("\n") == 1 and saying in done.err, done.err


def test_a_sliding_window_is_recorded_and_nothing_outside_it(evictlab, tmp_path):
    tokens = [3 + (7 * i) % 90 for i in range(100)]
    prompts = write_lines(tmp_path / "p.jsonl", [{"id": "a", "tokens": tokens, "answer_tokens": [5, 6, 7]}])
    models = {"mistral-default-f16": [24, 24], "qwen2-yarn-bf16": [0, 20], "qwen3-dynamic-f32": [20, 0]}
    for name, windows in models.items():
        trace = tmp_path / f"{name}.h5"
        record(evictlab, CHECKPOINTS / name, trace, "--prompts", prompts, "--tier", "full", "--window", 16)
        with h5py.File(trace) as file:
            assert list(file.attrs["sliding_windows"]) == windows
            for layer, window in enumerate(windows):
                rows = file[f"prompts/a/layers/{layer}/window_attention"][()]
                last = rows[:, -1, :]
                first_seen = max(0, 100 - window) if window else 0
                assert (last[:, :first_seen] == 0).all() and (last[:, first_seen] > 0).all()
        out = tmp_path / name / "replay.csv"
        replayed = evictlab("replay", trace, "--policy", "snapkv,oracle", "--budget", "12", "--out", out)
        assert replayed.code == 0, replayed.err
