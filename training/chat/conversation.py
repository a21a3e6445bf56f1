"""A prompt as it is put together: messages, and the spans in them that an analysis may ask about."""

import dataclasses


@dataclasses.dataclass
class Context:
    """The text that a question is about, built from its beginning, with named ranges of code points in it."""

    text: str = ""
    spans: list[tuple[str, int, int]] = dataclasses.field(default_factory=list)

    def add(self, text: str, span: str = "") -> None:
        if span:
            self.spans.append((span, len(self.text), len(self.text) + len(text.rstrip())))
        self.text += text

    def depth(self, span: str) -> float:
        """Where the first span of this name begins: 0 = at the beginning, 1 = at the end."""
        start = next(start for name, start, _ in self.spans if name == span)
        return round(start / len(self.text), 3)


@dataclasses.dataclass
class Conversation:
    """What a task makes: a context in words of its own, a question and the answer."""

    instruction: str
    context: Context
    question: str
    answer: str
    metric: str  # exact or rouge-l: how a generated answer is judged
    depth: float | None = None
    fence: str = ""  # the language of a context that is code
    earlier: tuple[str, str] | None = None  # a question about the same context and its answer, before `question`
    followups: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # questions and answers after it

    def messages_and_spans(self) -> tuple[list[dict], list[dict]]:
        """Messages, and spans with the number of their message; the first message has instruction and context."""
        before = self.instruction + "\n\n" + (f"```{self.fence}\n" if self.fence else "")
        behind = ("\n```" if self.fence else "") + "\n\n"
        context = self.context.text.rstrip()
        first = before + context + behind
        spans = [("instruction", 0, 0, len(self.instruction)), ("context", 0, len(before), len(before) + len(context))]
        spans += [(name, 0, len(before) + start, len(before) + end) for name, start, end in self.context.spans]
        messages = [{"role": "user", "content": first + (self.earlier[0] if self.earlier else self.question)}]
        if self.earlier:
            messages += [{"role": "assistant", "content": self.earlier[1]}, {"role": "user", "content": self.question}]
        last = len(messages) - 1
        end = len(messages[last]["content"])
        spans.append(("question", last, end - len(self.question), end))
        keys = ("name", "message", "start", "end")
        return messages, [dict(zip(keys, span, strict=True)) for span in spans]
