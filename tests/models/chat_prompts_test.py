"""The texts under models/texts and the chat prompts made from them."""

import hashlib
import json
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXTS = ROOT / "models" / "texts"
GENERATOR = ROOT / "training" / "chat" / "prompts.py"
DOCUMENTS = {document["name"]: document for document in json.loads((TEXTS / "documents.json").read_text())}
SETS = json.loads((TEXTS / "prompts" / "sets.json").read_text())
TASKS = {document["task"] for document in DOCUMENTS.values()}


def text_of(name):
    return (TEXTS / f"{name}.txt").read_text()


def generate(path, *arguments):
    return subprocess.run(
        [sys.executable, GENERATOR, "--out", path, *map(str, arguments)], capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """name -> the bytes of every set, generated."""
    folder = tmp_path_factory.mktemp("sets")
    for name in SETS:
        done = generate(folder / name, "--set", name)
        assert done.returncode == 0, done.stderr
    return {name: (folder / name).read_bytes() for name in SETS}


@pytest.fixture(scope="module")
def prompts(sets):
    return [json.loads(line) for lines in sets.values() for line in lines.decode().splitlines()]


def spans(prompt, name):
    found = [span for span in prompt["spans"] if span["name"] == name]
    return [prompt["messages"][span["message"]]["content"][span["start"] : span["end"]] for span in found]


def test_documents_are_as_listed_and_small():
    listed = {TEXTS / f"{name}.txt" for name in DOCUMENTS}
    assert {path for path in TEXTS.rglob("*.txt")} == listed
    assert sum(path.stat().st_size for path in listed) <= 3_000_000
    for name, document in DOCUMENTS.items():
        assert hashlib.sha256((TEXTS / f"{name}.txt").read_bytes()).hexdigest() == document["sha256"], name
        assert name.startswith(document["task"] + "/")


def test_documents_are_plain_text():
    for name in DOCUMENTS:
        text = text_of(name)
        assert text.strip() + "\n" == text.lstrip("\n") and "\r" not in text and "\ufffd" not in text, name
        assert not re.search(r"Gutenberg|:[a-z]+:`|PRIVATE KEY", text), name


def test_every_licence_is_in_the_notice():
    headings = re.findall(r"^## (.+)$", (TEXTS / "NOTICE.md").read_text(), flags=re.MULTILINE)
    used = {document["licence"] for document in DOCUMENTS.values()}
    assert {heading.lower() for heading in headings} == {licence.lower() for licence in used}
    assert all(document["origin"] for document in DOCUMENTS.values())


@pytest.mark.parametrize("task", sorted(TASKS))
def test_each_task_has_twelve_documents_of_its_own(task):
    own = [document for document in DOCUMENTS.values() if document["task"] == task]
    assert len({document["sha256"] for document in own}) >= 12


def test_no_two_documents_share_fifty_words():
    seen = {}
    for name in DOCUMENTS:
        words = text_of(name).split()
        for first in range(len(words) - 50):
            if (passage := hash(tuple(words[first : first + 50]))) in seen:
                assert seen[passage] == name, f"{name} has a passage of {seen[passage]}"
            if first % 25 == 0:  # every passage of 75 words has such a one
                seen[passage] = name


def test_sets_have_the_bytes_they_had(sets):
    assert (TEXTS / "prompts" / "demo.jsonl").read_bytes() == sets["demo"]
    for name, lines in sets.items():
        assert lines.count(b"\n") == SETS[name]["prompts"]
        assert hashlib.sha256(lines).hexdigest() == SETS[name]["sha256"], (
            f"{name} has changed: say so, and update sets.json"
        )


def test_the_demo_has_sixteen_prompts_of_all_tasks(sets):
    demo = [json.loads(line) for line in sets["demo"].decode().splitlines()]
    assert len({prompt["id"] for prompt in demo}) == 16
    assert {prompt["task"] for prompt in demo} == TASKS
    assert len({prompt["document"] for prompt in demo}) == 16


def test_another_seed_draws_other_prompts(tmp_path):
    wanted = ("--tasks", "needle", "--lengths", 512, "--count", 2)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert generate(tmp_path / name, *wanted, "--seed", seed).returncode == 0
    first, again, other = ((tmp_path / name).read_text() for name in "abc")
    assert first == again != other


def test_a_length_that_a_task_does_not_have_is_refused(tmp_path):
    done = generate(tmp_path / "out", "--tasks", "long-copy", "--lengths", 512)
    assert done.returncode != 0 and "long-copy" in done.stderr and "2048 to 4096" in done.stderr
    assert not (tmp_path / "out").exists()


def test_prompts_are_of_their_task_and_well_marked(prompts):
    for prompt in prompts:
        assert DOCUMENTS[prompt["document"]]["task"] == prompt["task"]
        roles = [message["role"] for message in prompt["messages"]]
        assert roles == ["user", "assistant", "user"] if prompt["task"] == "dialogue" else roles == ["user"]
        assert prompt["answer"].rstrip() == prompt["answer"] != ""
        for name in ("instruction", "context", "question"):
            assert len(spans(prompt, name)) == 1, (prompt["id"], name)
        assert prompt["messages"][0]["content"].startswith(spans(prompt, "instruction")[0])
        assert prompt["messages"][-1]["content"].endswith(spans(prompt, "question")[0])
        assert all(text == text.strip() for text in spans(prompt, "needle"))


def test_contexts_are_passages_of_the_document(prompts):
    for prompt in prompts:
        (context,) = spans(prompt, "context")
        text = text_of(prompt["document"])
        if prompt["task"] in ("continuation", "code", "dialogue", "long-copy", "summary"):
            assert context in text, prompt["id"]
        elif prompt["task"] == "needle":
            for statement in [*spans(prompt, "needle"), *spans(prompt, "distractor")]:
                assert context.count(statement) == 1
                context = context.replace(statement + "\n\n", "").replace("\n\n" + statement, "")
            assert context in text, prompt["id"]


def test_continuations_and_code_go_on_as_the_document_does(prompts):
    for prompt in prompts:
        if prompt["task"] in ("continuation", "code"):
            (context,) = spans(prompt, "context")
            text = text_of(prompt["document"])
            answer = re.sub(r"^```\w+\n", "", prompt["answer"]).strip()
            assert text[text.index(context) + len(context) :].strip().startswith(answer)


def test_needles_and_values_are_asked_for_once(prompts):
    for prompt in prompts:
        if prompt["task"] in ("needle", "key-value"):
            (needle,), (context,) = spans(prompt, "needle"), spans(prompt, "context")
            (value,) = re.findall(r"\d{7}", needle)
            assert re.findall(r"\d+", prompt["answer"]) == [value] and context.count(value) == 1
            key = needle.split(" is ")[0].removeprefix("The secret number of ").split(":")[0]
            assert key in spans(prompt, "question")[0]
            assert len(re.findall(rf"\b{key}(?: is|:) \d", context)) == 1


def test_answers_are_in_the_document_they_name(prompts):
    for prompt in prompts:
        if prompt["task"] == "multi-document":
            number, sentence = re.fullmatch(r"Document (\d+):\n(.+)", prompt["answer"]).groups()
            (needle,) = spans(prompt, "needle")
            assert needle.startswith(f"Document {number}:\n{sentence}")
            asked = re.search(r'this question: "(.+)" Give its', spans(prompt, "question")[0]).group(1)
            assert f"# {asked}\n\n{sentence}" in text_of(prompt["document"])
        elif prompt["task"] == "long-copy":
            assert spans(prompt, "needle") == [prompt["answer"]]
            begin, end = re.search(
                r'begins with "(.+)" and ends with "(.+)", word', spans(prompt, "question")[0]
            ).groups()
            assert prompt["answer"].startswith(begin) and prompt["answer"].endswith(end)


def test_points_of_a_talk_are_the_first_of_its_heading(prompts):
    for prompt in prompts:
        if prompt["task"] == "summary":
            assert text_of(prompt["document"]).startswith(f"POINTS: {prompt['answer']}")


def test_categories_are_the_dictionarys_and_were_not_shown(prompts):
    for prompt in prompts:
        if prompt["task"] == "few-shot":
            rows = {line.split("\t")[0]: line.split("\t")[1] for line in text_of(prompt["document"]).splitlines()}
            asked = re.findall(r"^(.+?): ", spans(prompt, "question")[0].split("\n", 1)[1], flags=re.MULTILINE)
            assert prompt["answer"].split("\n") == [f"{word} => {rows[word]}" for word in asked]
            assert len(asked) == 6 and all(f"=> {rows[word]}" in spans(prompt, "context")[0] for word in asked)
            assert not any(f"\n{word}: " in spans(prompt, "context")[0] for word in asked)


def test_a_dialogue_asks_for_three_different_sentences(prompts):
    for prompt in prompts:
        if prompt["task"] == "dialogue":
            (followup,), messages = prompt["followups"], prompt["messages"]
            turns = [
                (messages[0]["content"], messages[1]["content"]),
                (messages[2]["content"], prompt["answer"]),
                (followup["prompt"], followup["answer"]),
            ]
            pairs = [(question.rsplit("right after this one: ", 1)[1], answer) for question, answer in turns]
            (context,) = spans(prompt, "context")
            for before, after in pairs:
                assert context.count(before) == 1 and f"{before} {after}" in context
            assert len({after for _, after in pairs}) == 3
