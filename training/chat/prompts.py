"""Chat prompts from the documents of models/texts, as JSONL: the same bytes for the same set, or tasks, lengths and seed."""

import argparse
import json
import pathlib
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

import tasks
from conversation import Conversation
from texts import Document, documents

TEMPLATE = 50  # positions that a chat template and its system message may take
FILLED = 0.97  # of a length, for lengths are estimated
DEPTHS = 16
DRAWS = 200  # after which a document gives no prompt of this length


class Task(NamedTuple):
    make: Callable[[Document, float, float, random.Random], Conversation | None]
    category: str  # as of the shipped model's prompts
    lengths: tuple[int, int]  # shortest and longest that its documents and answers allow


TASKS = {
    "needle": Task(tasks.needle, "single-document QA", (512, 4096)),
    "key-value": Task(tasks.key_value, "synthetic", (512, 4096)),
    "multi-document": Task(tasks.multi_document, "multi-document QA", (512, 2048)),
    "summary": Task(tasks.summary, "summarization", (512, 2048)),
    "continuation": Task(tasks.continuation, "text", (512, 4096)),
    "few-shot": Task(tasks.few_shot, "few-shot", (512, 2048)),
    "code": Task(tasks.code, "code", (512, 4096)),
    "dialogue": Task(tasks.dialogue, "single-document QA", (768, 4096)),
    "long-copy": Task(tasks.long_copy, "synthetic", (2048, 4096)),
}


def make_prompt(task: str, document: Document, length: int, number: int, seed: str) -> dict | None:
    """Prompt `number` of a task, or None where the document has no prompt of this length."""
    generator = random.Random(f"{seed}/{task}/{length}/{number}/{document.name}")
    depth = (7 * number + 3) % DEPTHS / (DEPTHS - 1)  # successive prompts lie far apart
    room = FILLED * length - TEMPLATE
    for _ in range(DRAWS):
        made = TASKS[task].make(document, room, depth, generator)
        if made:
            break
    else:
        return None
    messages, spans = made.messages_and_spans()
    prompt = {
        "id": f"{task}-{length}-{number:03}",
        "task": task,
        "category": TASKS[task].category,
        "document": document.name,
        "depth": made.depth,
        "metric": made.metric,
        "messages": messages,
        "answer": made.answer,
        "spans": spans,
    }
    if made.depth is None:
        del prompt["depth"]
    if made.followups:
        prompt["followups"] = [{"prompt": question, "answer": answer} for question, answer in made.followups]
    return prompt


def usable(task: str, length: int, seed: str) -> list[Document]:
    """The documents of a task that are long enough, in an order of the seed; reports are cut least that are little longer."""
    found = [document for document in documents() if document.task == task]
    random.Random(f"{seed}/{task}").shuffle(found)
    if task == "key-value":  # its numbers are not in the documents
        return found
    found = [document for document in found if document.tokens >= 1.05 * length]
    return sorted(found, key=lambda document: document.tokens) if task == "summary" else found


def make_prompts(task: str, length: int, count: int, seed: str, first: int = 0) -> Iterator[dict]:
    """Prompts number `first` and on; each document is used once before one is used again."""
    shortest, longest = TASKS[task].lengths
    if not shortest <= length <= longest:
        raise SystemExit(f"prompts.py: {task} has prompts of {shortest} to {longest} positions, not of {length}")
    number, misses, candidates = first, 0, usable(task, length, seed)
    while number < first + count:
        prompt = make_prompt(task, candidates[(number + misses) % len(candidates)], length, number, seed)
        if prompt:
            yield prompt
            number += 1
        else:
            misses += 1
            if misses > 4 * len(candidates):
                raise SystemExit(f"prompts.py: no more prompts of {length} positions for {task}")


# name -> (task, length, count) of its prompts
SETS: dict[str, list[tuple[str, int, int]]] = {
    "demo": [
        ("needle", 512, 1), ("needle", 1024, 1), ("needle", 2048, 1), ("key-value", 512, 1), ("key-value", 1024, 1),
        ("multi-document", 1024, 1), ("multi-document", 2048, 1), ("summary", 1024, 1), ("summary", 1536, 1),
        ("continuation", 512, 1), ("continuation", 1024, 1), ("few-shot", 768, 1), ("code", 768, 1), ("code", 1024, 1),
        ("dialogue", 1024, 1), ("long-copy", 2048, 1),
    ],
    "standard": [(task, max(1024, TASKS[task].lengths[0]), 12) for task in TASKS],
    "lengths": [(task, length, 4) for task in TASKS for length in (512, 1024, 2048, 4096)
                if TASKS[task].lengths[0] <= length <= TASKS[task].lengths[1]],
}  # fmt: skip


def as_lines(requests: list[tuple[str, int, int]], seed: str) -> str:
    """One prompt a line; a task's prompts are numbered through, so that its lengths use different documents."""
    prompts: list[dict] = []
    for task, length, count in requests:
        before = sum(prompt["task"] == task for prompt in prompts)
        prompts += make_prompts(task, length, count, seed, before)
    return "".join(json.dumps(prompt, ensure_ascii=False) + "\n" for prompt in prompts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="JSONL file")
    parser.add_argument("--set", choices=SETS, help="a set whose hash models/texts/prompts/sets.json has")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024], help="positions, answer included")
    parser.add_argument("--count", type=int, default=12, help="prompts of each task and length")
    parser.add_argument("--seed", default="0")
    arguments = parser.parse_args()
    chosen = [(task, length, arguments.count) for task in arguments.tasks for length in arguments.lengths]
    arguments.out.write_text(as_lines(SETS[arguments.set] if arguments.set else chosen, arguments.seed))


if __name__ == "__main__":
    main()
