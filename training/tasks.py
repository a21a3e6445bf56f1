"""The tasks: what training sequences and test prompts are made of.

A sequence is a list of segments. A test prompt is the same with one question, at its end: one generator serves
both, given held-out words, wordings and filler for the one and the rest for the other.
"""

import dataclasses
import random

from text import Corpus, Encoder, Words, is_held_out

GIVEN, FILLER, ANSWER = range(3)  # whether training asks for nothing, for the text or for the answer


@dataclasses.dataclass(frozen=True)
class Segment:
    text: str
    kind: int
    span: str = ""  # context, question, needle, distractor, vote: what a test prompt's span is called


@dataclasses.dataclass
class Source:
    """Everything a generator draws from."""

    random: random.Random
    encode: Encoder
    corpus: Corpus
    words: Words
    test: bool  # one question at the end, instead of as many as fit

    def tokens(self, segments: list[Segment]) -> int:
        return sum(self.encode.length(segment.text) for segment in segments)


# --- placing statements into filler --------------------------------------------------------------------------------


def wording(source: Source) -> str:
    """"{determiner} {noun} {preposition} KEY {verb}", with KEY left to be filled in."""
    draw = source.random.choice
    while True:
        text = (
            f" {draw(['The', 'My', 'Our', 'Their'])}"
            f" {draw(['code', 'number', 'key', 'token', 'label', 'index', 'value', 'address'])}"
            f" {draw(['of', 'for', 'from', 'at'])} KEY {draw(['is', 'was', 'becomes', 'equals'])}"
        )
        if is_held_out(text) == source.words.held_out:
            return text


def spread(source: Source, statements: list[list[Segment]], room: int, depths: list[float] | None = None):
    """Filler sentences of about `room` tokens with the statements in between, in their order.

    `depths` (0 = first) says where each goes; at random without.
    """
    sentences: list[Segment] = []
    used = 0
    for sentence in source.corpus.passage(source.random):
        used += source.encode.length(sentence)
        if used > room:
            break
        sentences.append(Segment(sentence, FILLER))
    if depths is None:
        depths = sorted(source.random.random() for _ in statements)
    result: list[Segment] = []
    taken = 0
    for statement, depth in sorted(zip(statements, depths, strict=True), key=lambda pair: pair[1]):
        place = round(depth * len(sentences))
        result += sentences[taken:place] + statement
        taken = max(taken, place)
    return result + sentences[taken:]


def ask(question: str, answer: str) -> list[Segment]:
    return [Segment("<q>" + question, GIVEN, "question"), Segment(answer, ANSWER), Segment("<eos>", ANSWER)]


def interleave(source: Source, statements: list[Segment], questions: dict[int, list[Segment]]) -> list[Segment]:
    """Each question somewhere after the statement of its number; in most sequences after all of them."""
    if source.test or source.random.random() < 0.6:
        asked = list(questions.values())
        source.random.shuffle(asked)
        return statements + [segment for question in asked for segment in question]
    places: dict[int, list[Segment]] = {}
    for number, question in questions.items():
        places.setdefault(source.random.randint(number, len(statements) - 1), []).extend(question)
    result: list[Segment] = []
    for number, statement in enumerate(statements):
        result += [statement, *places.get(number, [])]
    return result


# --- retrieval -----------------------------------------------------------------------------------------------------


def needles(source: Source, room: int, count: int, depth: float | None) -> list[Segment]:
    """`count` facts "The code of KEY is VALUE." among filler; `depth` places the first, which test prompts ask for."""
    text = wording(source)
    gapped = source.test or source.random.random() < 0.6
    keys = source.words.keys(source.random, count)
    values = [" " + source.words.number(source.random) for _ in keys]
    facts, questions = [], []
    for number, (key, value) in enumerate(zip(keys, values, strict=True)):
        if not source.test and source.random.random() < 0.3:
            text = wording(source)
        if gapped:
            start, question = text.replace("KEY", key), text.replace("KEY", key)
        else:
            start, question = text.split(" KEY")[0] + " " + key, " " + key
        facts.append([Segment(f"{start}{value}.", FILLER, "distractor" if number else "needle")])
        questions.append(ask(question, value))
    asked = 1 if source.test else count
    reserved = sum(map(source.tokens, facts)) + sum(map(source.tokens, questions[:asked])) + 1
    depths = None if depth is None else [depth] + [source.random.random() for _ in keys[1:]]
    context = spread(source, facts, room - reserved, depths)
    if source.test:
        return context + questions[0]
    order = {fact[0]: question for fact, question in zip(facts, questions, strict=True)}
    by_place = {place: order[segment] for place, segment in enumerate(context) if segment in order}
    return interleave(source, context, by_place)


def needle(source: Source, room: int, depth: float | None = None) -> list[Segment]:
    most = max(1, min(24, room // 45))
    return needles(source, room, 1 if source.test else source.random.randint(1, most), depth)


def multi_needle(source: Source, room: int, depth: float | None = None) -> list[Segment]:
    return needles(source, room, 8 if source.test else max(2, min(24, room // 30)), depth)


def kv(source: Source, room: int, depth: float | None = None) -> list[Segment]:
    """A list " KEY VALUE" a line, and the values of some keys."""
    lines, questions = [], {}
    used = 1
    share = 1.0 if source.test else source.random.choice([0.2, 0.5, 1.0])
    keys = iter(source.words.keys(source.random, room // 8 + 2))
    for key in keys:
        value = " " + source.words.number(source.random)
        line = Segment(f" {key}{value}\n", GIVEN, "distractor")
        question = ask(" " + key, value)
        is_asked = not source.test and source.random.random() < share
        cost = source.encode.length(line.text) + (source.tokens(question) if is_asked else 0)
        if used + cost > room - (16 if source.test else 0):
            break
        used += cost
        if is_asked or source.test:
            questions[len(lines)] = question
        lines.append(line)
    if source.test:
        asked = min(int((depth or 0.0) * len(lines)), len(lines) - 1)
        lines[asked] = dataclasses.replace(lines[asked], span="needle")
        return lines + questions[asked]
    return interleave(source, lines, questions)


def associations(source: Source, room: int, depth: float | None = None) -> list[Segment]:
    """Dense recall in short pieces: pairs of a key and a value, then pairs again in any order. Training only."""
    draw = source.random
    result: list[Segment] = []
    separator = draw.choice(["", "", " is", " =", " ->", " has the"])
    size = draw.randint(2, min(32, max(2, room // 24)))
    pairs = []
    for key in source.words.keys(draw, size):
        most = draw.choice([1, 2, 4])
        value = source.words.number(draw, 1, most) if draw.random() < 0.5 else draw.choice(source.words.real)
        pairs.append((f" {key}{separator}", " " + value))
    used = 1
    seen: set[int] = set()
    while True:
        number = len(seen) if len(seen) < size and draw.random() < 0.6 else draw.randrange(max(1, len(seen)))
        start, value = pairs[number]
        pair = [Segment(start, GIVEN), Segment(value, ANSWER if number in seen else GIVEN), Segment(",", GIVEN)]
        used += source.tokens(pair)
        if used > room:
            return result
        seen.add(number)
        result += pair


# --- pattern mapping -----------------------------------------------------------------------------------------------


def mapping(source: Source, room: int, depth: float | None = None) -> list[Segment]:
    """Few-shot labels: " WORD -> LABEL" a line, a few labels for many words, every word several times."""
    draw = source.random
    labels = [" " + source.words.label(draw) for _ in range(draw.randint(2, 6))]
    size = draw.randint(3, 24)
    table = {key: draw.choice(labels) for key in source.words.keys(draw, size)}
    keys = list(table)
    result: list[Segment] = []
    used, seen = 1, set()
    last = None
    while True:
        fresh = [key for key in keys if key not in seen]
        if source.test:  # all words once, then at random, so that the one asked for is known
            key = fresh[0] if fresh else draw.choice(keys)
        else:
            key = draw.choice(keys)
        known = key in seen
        line = [Segment(f" {key} ->", GIVEN), Segment(table[key], ANSWER if known else GIVEN)]
        line.append(Segment("\n", line[1].kind))
        used += source.tokens(line)
        if source.test:
            if used > room - 24:
                candidates = [word for word in keys if word != last]
                key = draw.choice(candidates)
                return [*result, Segment(f" {key} ->", GIVEN, "question"), Segment(table[key], ANSWER), Segment("\n", ANSWER)]
            line = [Segment("".join(part.text for part in line), GIVEN)]
        elif used > room:
            return result
        result += line
        seen.add(key)
        last = key


RULES = {
    "reverse": lambda digits: digits[::-1],
    "rotate left": lambda digits: digits[1:] + digits[0],
    "rotate right": lambda digits: digits[-1] + digits[:-1],
    "swap ends": lambda digits: digits[-1] + digits[1:-1] + digits[0],
    "drop first": lambda digits: digits[1:],
    "first last": lambda digits: digits + digits[0],
}


def rule(source: Source, room: int, depth: float | None = None) -> list[Segment]:
    """Code-like: " f(4821) = 1284" a line, one function of the digits; from the third line on it can be known."""
    apply = RULES[source.random.choice(sorted(RULES))]
    name = source.random.choice("fgh")
    result: list[Segment] = []
    used, lines = 1, 0
    while True:
        digits = source.words.number(source.random, 4, 8)
        call, value = f" {name}({digits}) =", " " + apply(digits)
        kind = ANSWER if lines >= 2 else GIVEN
        line = [Segment(call, GIVEN), Segment(value, kind), Segment("\n", kind)]
        used += source.tokens(line)
        if source.test and used > room - 32:
            return [*result, Segment(call, GIVEN, "question"), Segment(value, ANSWER), Segment("\n", ANSWER)]
        if used > room:
            return result
        result += [Segment(call + value + "\n", GIVEN)] if source.test else line
        lines += 1


# --- aggregation ---------------------------------------------------------------------------------------------------

MOST_VOTES = 5


def votes(source: Source, room: int, names: list[str], counts: list[int], questions: list[Segment]) -> list[Segment]:
    """A line " + NAME" for every vote, in any order, among filler; then the questions."""
    ballots = [[Segment(f" + {name}\n", GIVEN, "vote")] for name, count in zip(names, counts, strict=True) for _ in range(count)]
    source.random.shuffle(ballots)
    left = room - sum(map(source.tokens, ballots)) - source.tokens(questions) - 1
    if not source.test and source.random.random() < 0.4:
        left = min(left, source.random.randint(0, 64))  # nearly nothing but votes
    return spread(source, ballots, max(left, 0)) + questions


def count(source: Source, room: int, depth: float | None = None) -> list[Segment]:
    """How often was each voted for: "<q> count A B:" is answered by " A 3 B 5", in the order asked."""
    draw = source.random
    most = max(2, min(MOST_VOTES, room // 24))
    names = draw.sample(source.words.short, draw.randint(2, 4))
    counts = [draw.randint(1, most) for _ in names]
    questions: list[Segment] = []
    for _ in range(1 if source.test else draw.randint(1, 3)):
        order = draw.sample(range(len(names)), len(names) if source.test else draw.randint(1, len(names)))
        text = " count" + "".join(f" {names[place]}" for place in order) + ":"
        answer = "".join(f" {names[place]} {counts[place]}" for place in order)
        questions += ask(text, answer)
    return votes(source, room, names, counts, questions)


def frequent(source: Source, room: int, depth: float | None = None) -> list[Segment]:
    """Who was voted for most often: the names are numbers of several digits."""
    draw = source.random
    names = [source.words.number(draw) for _ in range(draw.randint(2, 3 if room < 128 else 6))]
    most = max(3, min(9, room // 40))
    top = draw.randint(3, most)
    counts = [top] + [draw.randint(1, top - 2) for _ in names[1:]]
    return votes(source, room, names, counts, ask(" most frequent:", " " + names[0]))


# --- copying and text ----------------------------------------------------------------------------------------------


def copy(source: Source, room: int, depth: float | None = None) -> list[Segment]:
    """The beginning of an earlier sentence is given after "<q> copy"; the answer is how it went on."""
    draw = source.random
    context: list[Segment] = []
    questions: list[tuple[int, list[Segment]]] = []
    used = 1
    for sentence in source.corpus.passage(draw):
        words = sentence.split(" ")[1:]
        start = min(draw.randint(3, 5), len(words) - 2)
        begin = "".join(f" {word}" for word in words[:start])
        rest = ""
        for word in words[start:]:
            if rest and source.encode.length(f"{rest} {word}") > 9:
                break
            rest += f" {word}"
        answer = rest if source.test else "".join(f" {word}" for word in words[start:])
        question = [Segment("<q> copy" + begin, GIVEN, "question"), Segment(answer, ANSWER)]
        if answer.endswith(sentence[-1]):
            question.append(Segment("<eos>", ANSWER))
        length = source.encode.length(sentence)
        is_asked = not source.test and draw.random() < 0.3
        cost = length + (source.tokens(question) if is_asked else 0)
        if used + cost > room - (40 if source.test else 0):
            break
        used += cost
        context.append(Segment(sentence, FILLER))
        if is_asked or source.test:
            questions.append((len(context) - 1, question))
    # A beginning that several sentences share would have several right answers.
    starts = [segment.text for segment in context]
    questions = [
        (place, question)
        for place, question in questions
        if sum(text.startswith(question[0].text.removeprefix("<q> copy")) for text in starts) == 1
    ]
    if source.test:
        usable = [entry for entry in questions if 3 <= source.encode.length(entry[1][1].text) <= 9]
        if not usable:
            return copy(source, room, depth)
        place, question = usable[min(int((depth or 0.0) * len(usable)), len(usable) - 1)]
        context[place] = dataclasses.replace(context[place], span="needle")
        return context + question
    return interleave(source, context, dict(questions)) if context else []


def echo(source: Source, room: int, depth: float | None = None) -> list[Segment]:
    """Random words or numbers, then the same again: copying without any meaning to lean on. Training only."""
    draw = source.random
    numbers = draw.choice([0.0, 0.3, 1.0])
    block: list[str] = []
    used, half = 1, (room - 8) // 2
    while used < half:
        block.append(" " + (source.words.number(draw) if draw.random() < numbers else draw.choice(source.words.real)))
        used += source.encode.length(block[-1])
    start = draw.randrange(max(1, len(block) // 2))
    shown, rest = block[start : start + 1], block[start + 1 :]
    question = "<q> copy" + "".join(shown)
    return [Segment("".join(block), GIVEN), Segment(question, GIVEN), Segment("".join(rest), ANSWER)]


def prose(source: Source, room: int, depth: float | None = None) -> list[Segment]:
    """Plain text; test prompts continue it."""
    sentences = []
    used = 1
    for sentence in source.corpus.passage(source.random):
        used += source.encode.length(sentence)
        if used > room:
            break
        sentences.append(sentence)
    if not source.test:
        return [Segment(sentence, FILLER) for sentence in sentences]
    kept = sentences[:-2]
    return [*(Segment(sentence, FILLER) for sentence in kept), Segment("".join(sentences[-2:]), ANSWER)]


TASKS = {
    "needle": needle,
    "multi-needle": multi_needle,
    "kv": kv,
    "associations": associations,
    "map": mapping,
    "rule": rule,
    "count": count,
    "frequent": frequent,
    "copy": copy,
    "echo": echo,
    "text": prose,
}
CATEGORIES = {
    "needle": "single-document QA",
    "multi-needle": "multi-document QA",
    "kv": "synthetic",
    "map": "few-shot",
    "rule": "code-like",
    "count": "aggregation",
    "frequent": "aggregation",
    "copy": "synthetic",
    "text": "text",
}


def row(source: Source, task: str, length: int) -> tuple[list[int], list[int]]:
    """One training sequence of exactly `length` tokens: ids, and the kind of each."""
    ids, kinds = [source.encode["<bos>"]], [GIVEN]
    for segment in TASKS[task](source, length):
        found = source.encode(segment.text)
        ids += found
        kinds += [segment.kind] * len(found)
    missing = length - len(ids)
    return (ids + [source.encode["<pad>"]] * missing)[:length], (kinds + [GIVEN] * missing)[:length]
