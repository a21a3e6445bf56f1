"""Prompts as `evictlab record` takes them, in tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._core import Error


@dataclasses.dataclass
class TokenizedPrompt:
    """A prompt in tokens: `tokens` are read, then `given` (teacher-forced), then `generate` more are generated."""

    id: str
    task: str
    source: str
    tokens: list[int]
    given: list[int]
    generate: int
    spans: list[tuple[str, int, int]]
    document: str = ""


def _fields(prompt: Any, place: int) -> dict[str, Any]:
    if isinstance(prompt, str):
        prompt = {"prompt": prompt}
    elif not isinstance(prompt, Mapping):
        prompt = {"tokens": [int(token) for token in prompt]}
    fields = dict(prompt)
    fields.setdefault("id", f"prompt-{place}")
    if ("prompt" in fields) == ("tokens" in fields):
        raise Error(f"prompt '{fields['id']}': give \"prompt\" (text) or \"tokens\"")
    return fields


def _encode(tokenizer, text: str, id: str, special: bool) -> tuple[list[int], list[tuple[int, int]]]:
    if tokenizer is None:
        raise Error(f"prompt '{id}': is text, and there is no tokenizer; give token ids")
    if getattr(tokenizer, "is_fast", False):
        encoded = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
        return list(encoded["input_ids"]), [tuple(pair) for pair in encoded["offset_mapping"]]
    return list(tokenizer(text, add_special_tokens=special)["input_ids"]), []


def _positions(spans: Sequence[Mapping[str, Any]], offsets: list[tuple[int, int]] | None, id: str) -> list[tuple[str, int, int]]:
    """Spans in positions: a token belongs to a span when any of its characters does."""
    found = []
    for span in spans:
        name, start, end = span["name"], span["start"], span["end"]
        if offsets is None:
            found.append((name, start, end))
            continue
        if not offsets:
            raise Error(f"prompt '{id}': spans of text need a fast tokenizer, which knows where tokens lie")
        inside = [place for place, (begin, stop) in enumerate(offsets) if begin < end and stop > start and stop > begin]
        if inside:
            found.append((name, inside[0], inside[-1] + 1))
    return found


def tokenized(prompts: Iterable[Any], tokenizer, *, future: int | None, evict_at: str) -> list[TokenizedPrompt]:
    """Each prompt is text, token ids, or a mapping with the keys of `evictlab record`'s JSONL: id, task, prompt or tokens,
    answer or answer_tokens, spans, document. An answer is the future unless `future` says how many tokens to generate; 32 without either.
    Raises Error naming the prompt."""
    if evict_at not in ("prompt", "context"):
        raise Error(f"evict_at '{evict_at}', must be \"prompt\" or \"context\"")
    result = []
    for place, prompt in enumerate(prompts):
        fields = _fields(prompt, place)
        name = str(fields["id"])
        if "tokens" in fields:
            tokens, offsets = [int(token) for token in fields["tokens"]], None
        else:
            tokens, offsets = _encode(tokenizer, fields["prompt"], name, special=True)
        if not tokens:
            raise Error(f"prompt '{name}': is empty")
        spans = _positions(fields.get("spans", ()), offsets, name)
        answer = fields.get("answer_tokens")
        if answer is None and fields.get("answer"):
            answer, _ = _encode(tokenizer, fields["answer"], name, special=False)
        given = list(answer) if answer and future is None else []
        generate = 0 if given else (32 if future is None else future)
        if evict_at == "context":
            context = next((span for span in spans if span[0] == "context"), None)
            if context is None:
                raise Error(f"prompt '{name}': has no span \"context\" to evict after")
            tokens, given = tokens[: context[2]], tokens[context[2] :] + given
        if not given and generate < 1:
            raise Error(f"prompt '{name}': has no future: no answer, and no tokens to generate")
        task = str(fields.get("task", ""))
        source, document = str(fields.get("source", "python")), str(fields.get("document", ""))
        result.append(TokenizedPrompt(name, task, source, tokens, given, generate, spans, document))
    if not result:
        raise Error("there are no prompts")
    if len({prompt.id for prompt in result}) < len(result):
        raise Error("two prompts have the same id")
    return result
