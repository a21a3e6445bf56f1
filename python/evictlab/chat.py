"""Conversations as a model reads them, by any chat template.

`evictlab record` renders the part of Jinja that chat templates use. For a template outside of it,

    python3 -m evictlab.chat MODEL PROMPTS.jsonl OUT.jsonl [--chat] [--no-thinking]

writes PROMPTS.jsonl with its "messages" rendered by Jinja2 (in its sandbox, as transformers does), spans and followups moved
with the words; `evictlab record --prompts OUT.jsonl` takes it. `--chat` makes a plain "prompt" one user's turn, too.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import _core
from ._core import Error

__all__ = ["Render", "apply", "render_file", "renderer"]

Render = Callable[[Sequence[Mapping[str, str]], bool], str]


def _raise(message: str) -> None:
    raise Error(f"the chat template refuses the conversation: {message}")


def _environment():
    try:
        import jinja2
        from jinja2 import ext, nodes, sandbox
    except ImportError:
        raise Error("rendering chat templates in Python needs the package jinja2") from None

    class Generation(ext.Extension):
        """What an assistant says, which transformers marks: its text alone."""

        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

        def _said(self, caller):
            return caller()

    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[ext.loopcontrols, Generation]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment, jinja2.TemplateError


def renderer(template: str, *, bos_token: str = "", eos_token: str = "", thinking: bool = True) -> Render:
    """What renders conversations by this template: render(messages, generate) -> text. Raises Error for one that is not Jinja."""
    environment, problem = _environment()
    given: dict[str, Any] = {"tools": None, "documents": None}
    given.update({name: token for name, token in (("bos_token", bos_token), ("eos_token", eos_token)) if token})
    if not thinking:
        given["enable_thinking"] = False
    try:
        compiled = environment.from_string(template)
    except problem as error:
        raise Error(f"the chat template is not Jinja: {error}") from None

    def render(messages: Sequence[Mapping[str, str]], generate: bool) -> str:
        try:
            return compiled.render(messages=messages, add_generation_prompt=generate, **given)
        except (problem, TypeError) as error:
            raise Error(f"the chat template cannot be rendered: {error}") from None

    return render


def apply(line: Mapping[str, Any], render: Render) -> dict[str, Any]:
    """A prompts file's line with "prompt" instead of "messages" (or of a plain "prompt", one user's turn), spans and followups
    moved. Raises Error naming the prompt."""
    fields = {key: value for key, value in line.items() if value is not None}
    changed = _core.apply_chat(fields, render)
    fields.pop("messages", None)
    fields.update({key: value for key, value in changed.items() if value or key == "prompt"})
    return {**fields, "add_special_tokens": False}


def render_file(
    model: str | os.PathLike[str],
    prompts: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    chat: bool = False,
    thinking: bool = True,
) -> int:
    """Writes the prompts with their conversations rendered; returns how many lines. Raises Error naming the line."""
    template, bos_token, eos_token = _core.chat_source(os.fspath(model))
    render = renderer(template, bos_token=bos_token, eos_token=eos_token, thinking=thinking)
    prompts, out = pathlib.Path(prompts), pathlib.Path(out)
    if out.exists():
        raise Error(f"{out}: exists already; remove it, or write elsewhere")
    lines = []
    for number, text in enumerate(prompts.read_text(encoding="utf-8").split("\n"), 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            raise Error(f"{prompts}:{number}: {error}") from None
        if not isinstance(line, dict):
            raise Error(f"{prompts}:{number}: each line must be one JSON object")
        line.setdefault("id", f"{prompts.stem}-{number}")
        line.setdefault("task", prompts.stem)
        if "messages" in line or (chat and "prompt" in line):
            line = apply(line, render)
        lines.append(json.dumps(line, ensure_ascii=False))
    out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m evictlab.chat", description="Renders the conversations of a prompts file.")
    parser.add_argument("model", help="whose chat template renders them")
    parser.add_argument("prompts", help="lines with \"messages\"")
    parser.add_argument("out", help="lines with \"prompt\", for evictlab record --prompts")
    parser.add_argument("--chat", action="store_true", help="plain prompts become one user's turn")
    parser.add_argument("--no-thinking", action="store_true", help="tell the template enable_thinking = false")
    given = parser.parse_args()
    try:
        count = render_file(given.model, given.prompts, given.out, chat=given.chat, thinking=not given.no_thinking)
    except (Error, OSError) as error:
        print(f"evictlab: {error}", file=sys.stderr)
        return 2
    print(f"{count} prompts to {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
