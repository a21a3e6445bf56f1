"""The shipped prompts: complete, well marked, and of words and values that training never used."""

import json
import pathlib
import re
import zlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMPTS = ROOT / "models" / "demo" / "prompts"
TASKS = ["copy", "count", "frequent", "kv", "map", "multi-needle", "needle", "rule", "text"]
LENGTHS = [512, 1024]
COUNT = 16


def read(task, length):
    return [json.loads(line) for line in (PROMPTS / f"{task}-{length}.jsonl").read_text().splitlines()]


def spans(prompt, name):
    return [prompt["prompt"][span["start"] : span["end"]] for span in prompt["spans"] if span["name"] == name]


def held_out(text):
    """As training/text.py has it."""
    return zlib.crc32(text.encode()) % 8 == 0


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("task", TASKS)
def test_each_task_and_length_has_prompts_that_fit(task, length):
    prompts = read(task, length)
    assert len({prompt["id"] for prompt in prompts}) == COUNT
    for prompt in prompts:
        assert (0.6 if task == "text" else 0.85) * length < prompt["length_tokens"] < length
        (context,) = spans(prompt, "context")
        assert prompt["prompt"].startswith("<bos>" + context)
        if task != "text":
            (question,) = spans(prompt, "question")
            assert prompt["prompt"] == "<bos>" + context + question


@pytest.mark.parametrize("task", ["needle", "multi-needle", "kv"])
def test_what_is_asked_for_is_there_once_and_was_held_out(task):
    answers = set()
    for prompt in [prompt for length in LENGTHS for prompt in read(task, length)]:
        answer = prompt["answer"]
        assert re.fullmatch(r" \d{3,9}", answer)
        assert held_out(answer.strip())
        (needle,) = spans(prompt, "needle")
        assert answer in needle
        (question,) = spans(prompt, "question")
        key = question.removeprefix("<q>") + " "
        assert sum(text.startswith(key) for text in [needle, *spans(prompt, "distractor")]) == 1
        answers.add(len(answer))
    assert len(answers) == 7, "values of three to nine digits"


@pytest.mark.parametrize("length", LENGTHS)
def test_second_questions_ask_for_what_the_first_did_not(length):
    lines = (PROMPTS / "two-turns" / f"multi-needle-{length}.jsonl").read_text().splitlines()
    for prompt, once in zip(map(json.loads, lines), read("multi-needle", length), strict=True):
        (followup,) = prompt.pop("followups")
        assert prompt == once
        statement = followup["prompt"].removeprefix("<q>") + followup["answer"] + "."
        assert statement in spans(prompt, "distractor")
        assert followup["answer"] != prompt["answer"] and followup["stop"] == prompt["stop"]


@pytest.mark.parametrize("length", LENGTHS)
def test_needles_lie_at_every_depth(length):
    depths = [prompt["depth"] for prompt in read("needle", length)]
    assert sorted(set(depths)) == [pytest.approx(step / 15) for step in range(16)]
    for prompt in read("needle", length):
        span = next(span for span in prompt["spans"] if span["name"] == "needle")
        context = next(span for span in prompt["spans"] if span["name"] == "context")
        room = context["end"] - context["start"] - (span["end"] - span["start"])
        assert (span["start"] - context["start"]) / room == pytest.approx(prompt["depth"], abs=0.25)


@pytest.mark.parametrize("length", LENGTHS)
def test_counts_are_what_is_in_the_context(length):
    for prompt in read("count", length):
        votes = re.findall(r" \+ ([a-z0-9]+)\n", prompt["prompt"])
        for name, count in re.findall(r" ([a-z ]+?) (\d)", prompt["answer"]):
            assert votes.count(name) == int(count)
    for prompt in read("frequent", length):
        votes = re.findall(r" \+ ([a-z0-9]+)\n", prompt["prompt"])
        counts = sorted((votes.count(name) for name in set(votes)), reverse=True)
        assert votes.count(prompt["answer"].strip()) == counts[0] > counts[1]
