"""Test prompts: held-out words, values, wordings and filler; as many of each task and length, as JSONL."""

import argparse
import dataclasses
import json
import pathlib
import random

from tasks import ANSWER, CATEGORIES, TASKS, Source
from text import Corpus, Encoder, Words

LENGTHS = (512, 1024, 2048)  # positions, answer included
COUNT = 64
DEPTHS = 16  # a task's prompts go round a grid of so many depths
HAS_DEPTH = {"needle", "multi-needle", "kv", "copy"}


@dataclasses.dataclass(frozen=True)
class Prompt:
    id: str
    task: str
    category: str
    length: int  # the row of the table it belongs to
    depth: float | None  # where what is asked for lies: 0 = at the beginning
    prompt: str
    answer: str
    stop: str | None  # the token that must follow the answer
    spans: list[dict]  # ranges of code points of `prompt`, end exclusive

    def to_json(self, tokens: int) -> str:
        fields = dataclasses.asdict(self)
        fields.pop("length")
        return json.dumps({**fields, "length_tokens": tokens}, ensure_ascii=False)


def make_prompt(source: Source, task: str, length: int, number: int) -> Prompt:
    """Drawn again until prompt, answer and stop fit into `length` tokens."""
    # Successive prompts lie far apart, so that the first few of a file cover the depths.
    depth = (7 * number + 3) % DEPTHS / (DEPTHS - 1) if task in HAS_DEPTH else None
    while True:
        segments = TASKS[task](source, length, depth)
        if 0.9 * length < 1 + source.tokens(segments) <= length:
            break
    given = [segment for segment in segments if segment.kind != ANSWER]
    answers = [segment.text for segment in segments if segment.kind == ANSWER]
    stop = answers.pop() if len(answers) > 1 else None
    text = "<bos>"
    spans = []
    for segment in given:
        if segment.span:
            spans.append({"name": segment.span, "start": len(text), "end": len(text) + len(segment.text)})
        text += segment.text
    question = next((span["start"] for span in spans if span["name"] == "question"), len(text))
    spans.insert(0, {"name": "context", "start": len("<bos>"), "end": question})
    name = f"{task}-{length}-{number:03}"
    return Prompt(name, task, CATEGORIES[task], length, depth, text, answers[0], stop, spans)


def with_second_question(prompt: Prompt, tokens: int) -> str:
    """A multi-needle prompt whose first distractor is asked for next; evictions must not have lost what nobody had asked for."""
    span = next(span for span in prompt.spans if span["name"] == "distractor")
    question, value = prompt.prompt[span["start"] : span["end"]].removesuffix(".").rsplit(" ", 1)
    followup = {"prompt": "<q>" + question, "answer": " " + value, "stop": prompt.stop}
    return json.dumps({**json.loads(prompt.to_json(tokens)), "followups": [followup]}, ensure_ascii=False)


def make_prompts(corpus: pathlib.Path, encode: Encoder, lengths, count: int, seed: str = "test") -> list[Prompt]:
    """`count` prompts of every task and length; the same for the same seed."""
    held_out, words = Corpus(corpus, held_out=True), Words(corpus, encode, held_out=True)
    prompts = []
    for task in CATEGORIES:
        for length in lengths:
            for number in range(count):
                generator = random.Random(f"{seed}/{task}/{length}/{number}")
                prompts.append(make_prompt(Source(generator, encode, held_out, words, test=True), task, length, number))
    return prompts


def read_prompts(directory: pathlib.Path) -> list[Prompt]:
    prompts = []
    for path in sorted(directory.glob("*.jsonl")):
        length = int(path.stem.rsplit("-", 1)[1])
        for line in path.read_text().splitlines():
            fields = json.loads(line)
            fields.pop("length_tokens")
            prompts.append(Prompt(length=length, **fields))
    return prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True, help="folder of tokenizer.json")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for TASK-LENGTH.jsonl")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="positions, answer included")
    parser.add_argument("--count", type=int, default=COUNT, help="prompts of each task and length")
    arguments = parser.parse_args()
    encode = Encoder(arguments.tokenizer)
    (arguments.out / "two-turns").mkdir(parents=True, exist_ok=True)
    files: dict[str, list[str]] = {}
    for prompt in make_prompts(arguments.corpus, encode, arguments.lengths, arguments.count):
        tokens = encode.length(prompt.prompt)
        name = f"{prompt.task}-{prompt.length}.jsonl"
        files.setdefault(name, []).append(prompt.to_json(tokens))
        if prompt.task == "multi-needle":
            files.setdefault(f"two-turns/{name}", []).append(with_second_question(prompt, tokens))
    for name, lines in files.items():
        (arguments.out / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
