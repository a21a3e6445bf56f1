"""The tasks: from a document, a length in positions and a random generator to a conversation.

Each returns None where this document gives no such prompt from this draw; the caller draws again.
"""

import functools
import itertools
import random

from conversation import Context, Conversation
from texts import Document, pieces, sentences

PLACES = ("Bergen", "Bilbao", "Cork", "Dakar", "Delft", "Gdansk", "Hobart", "Izmir", "Kyoto", "Lima", "Lisbon", "Malmo",
          "Naples", "Oslo", "Porto", "Quito", "Riga", "Seville", "Tampa", "Turin", "Utrecht", "Vilnius", "Warsaw", "York")  # fmt: skip
PUNCTUATION_AND_WORDS = 1.2  # positions a piece of plain English, for questions


def plain(text: str) -> float:
    """Positions of a question or an instruction."""
    return PUNCTUATION_AND_WORDS * pieces(text)


def digits(generator: random.Random, count: int = 7) -> str:
    """A number whose digits do not follow from each other."""
    return "".join(generator.choices("123456789", k=1) + generator.choices("0123456789", k=count - 1))


def start_of_excerpt(document: Document, room: float, generator: random.Random) -> int:
    """The number of a unit from which on the document has `room` positions, at the beginning of a paragraph where it has any."""
    rest, last = 0.0, 0
    for number in range(len(document.units) - 1, -1, -1):
        rest += document.positions(document.units[number])
        if rest >= room:
            last = number
            break
    starts = [number for number in range(last + 1) if number == 0 or document.units[number - 1].endswith("\n\n")]
    return generator.choice(starts)


def needle(document: Document, room: float, depth: float, generator: random.Random) -> Conversation | None:
    """One of four statements hidden in a novel is asked for."""
    names = generator.sample(PLACES, 4)
    values = [digits(generator) for _ in names]
    statements = [f"The secret number of {name} is {value}." for name, value in zip(names, values, strict=True)]
    instruction = (
        "Some secret numbers are hidden in the following text. Remember them: you will be asked for one of them."
    )
    question = f"What is the secret number of {names[0]} in the text above?"
    answer = statements[0].removesuffix(".")
    room -= sum(map(plain, [*statements, instruction, question, answer]))
    paragraphs = "".join(document.excerpt(start_of_excerpt(document, room, generator), room)).split("\n\n")
    if len(paragraphs) < len(names):
        return None
    ends = [sum(map(len, paragraphs[:number])) for number in range(len(paragraphs))]
    nearest = min(range(len(ends)), key=lambda number: abs(ends[number] - depth * ends[-1]))
    places = [nearest, *generator.sample([number for number in range(len(paragraphs)) if number != nearest], 3)]
    context = Context()
    for number, paragraph in enumerate(paragraphs):
        for place, statement, name in zip(places, statements, names, strict=True):
            if place == number:
                context.add(statement + "\n\n", "needle" if name == names[0] else "distractor")
        context.add(paragraph + "\n\n")
    return Conversation(instruction, context, question, answer, "exact", context.depth("needle"))


def key_value(document: Document, room: float, depth: float, generator: random.Random) -> Conversation | None:
    """The number of one name in a list of names and numbers."""
    instruction = "Here is a list of names and their numbers."
    lines = generator.sample(document.units, len(document.units))
    names = [line.strip() for line in lines]
    question = 'Which line of the list above begins with "{}"? Copy it.'
    room -= plain(instruction) + plain(question) + 2 * document.positions(names[0]) + 9
    chosen: list[tuple[str, str]] = []
    for name in names:
        room -= document.positions(name) + 10  # colon, space, seven digits, end of line
        if room < 0:
            break
        chosen.append((name, digits(generator)))
    asked = round(depth * (len(chosen) - 1))
    context = Context()
    for number, (name, value) in enumerate(chosen):
        context.add(f"{name}: {value}\n", "needle" if number == asked else "")
    name, value = chosen[asked]
    return Conversation(
        instruction, context, question.format(name), f"{name}: {value}", "exact", context.depth("needle")
    )


@functools.cache
def answers(document: Document) -> list[tuple[str, str, str]]:
    """Question, beginning of the answer and its first sentence, of the entries of a FAQ."""
    found = []
    for entry in ("\n\n" + document.text).split("\n\n# ")[1:]:
        asked, body = entry.split("\n\n", 1)
        kept = sentences(shortened(document, body, 180))
        while kept and kept[-1].rstrip().endswith(":"):  # what announces more
            kept.pop()
        if kept and 5 <= pieces(kept[0]) <= 50 and kept[0].rstrip().endswith("."):
            found.append((asked, "".join(kept).rstrip(), kept[0].rstrip()))
    return found


def multi_document(document: Document, room: float, depth: float, generator: random.Random) -> Conversation | None:
    """Answers of a FAQ without their questions: which of them answers this question, and how does it begin?"""
    instruction = "Answer the question at the end with one of the following documents."
    question = 'Which document answers this question: "{}" Give its number, and quote its first sentence.'
    entries = generator.sample(answers(document), len(answers(document)))
    room -= plain(instruction) + plain(question) + 90  # the question asked and the sentence quoted
    chosen = []
    for entry in entries:
        positions = document.positions(entry[1]) + 6
        if positions <= room:
            room -= positions
            chosen.append(entry)
    if len(chosen) < 2 or room > 100:
        return None
    asked = round(depth * (len(chosen) - 1))
    context = Context()
    for number, (_, text, _) in enumerate(chosen):
        context.add(f"Document {number + 1}:\n{text}\n\n", "needle" if number == asked else "")
    answer = f"Document {asked + 1}:\n{chosen[asked][2]}"
    return Conversation(
        instruction, context, question.format(chosen[asked][0]), answer, "rouge-l", context.depth("needle")
    )


def shortened(document: Document, text: str, room: float) -> str:
    """The sentences at the beginning of `text` that fit, at least one."""
    kept = ""
    for sentence in sentences(text):
        room -= document.positions(sentence)
        if room < 0 and kept:
            break
        kept += sentence
    return kept.rstrip()


def summary(document: Document, room: float, depth: float, generator: random.Random) -> Conversation | None:
    """The report of a talk and the editor's points of it. They follow the talk: of a report cut short the first are kept."""
    instruction = "Read the following report of a talk."
    question = "List the main points of the report above in the order in which they come, separated by semicolons."
    heading, report = document.text.split("\n\n", 1)
    points = heading.removeprefix("POINTS: ").split("; ")
    room -= plain(instruction) + plain(question)
    whole = document.positions(report)
    share = min(1.0, room / (whole + document.positions(heading)))
    kept = points[: max(2, round(share * len(points)))]
    answer = "; ".join(kept)
    context = Context()
    context.add(shortened(document, report, room - document.positions(answer)))
    return Conversation(instruction, context, question, answer, "rouge-l")


def continuation(document: Document, room: float, depth: float, generator: random.Random) -> Conversation | None:
    """How a book goes on."""
    title = document.title.split(", part")[0]
    instruction = f'The following is an excerpt from "{title}".'
    question = "Continue the text above from where it stops, in the same style."
    wanted = min(256, max(64, room / 8))
    room -= plain(instruction) + plain(question)
    units = document.excerpt(start_of_excerpt(document, room, generator), room)
    answer = []
    while units and document.positions("".join(answer)) < wanted:
        answer.insert(0, units.pop())
    while answer and not answer[0].strip():
        answer.pop(0)
    if document.positions("".join(answer)) > 1.6 * wanted:  # a sentence without an end
        return None
    context = Context()
    context.add("".join(units))
    return Conversation(instruction, context, question, "".join(answer).strip(), "rouge-l")


def few_shot(document: Document, room: float, depth: float, generator: random.Random) -> Conversation | None:
    """The categories of six nouns, after many examples of five categories."""
    rows = [line.strip().split("\t") for line in generator.sample(document.units, len(document.units))]
    categories = sorted(generator.sample(sorted({category for _, category, _ in rows}), 5))
    rows = [row for row in rows if row[1] in categories]
    asked, shown = rows[:6], rows[6:]
    instruction = "Each line has a noun, its definition and its category."  # which there are the examples say
    listed = "\n".join(f"{word}: {definition}" for word, _, definition in asked)
    question = f"Give the category of each of these nouns, one on a line:\n{listed}"
    answer = "\n".join(f"{word} => {category}" for word, category, _ in asked)
    room -= plain(instruction) + document.positions(question) + document.positions(answer)
    context = Context()
    for word, category, definition in shown:
        room -= document.positions(f"{word}\t{category}\t{definition}\n")  # as many tokens between the words as below
        if room < 0:
            break
        context.add(f"{word}: {definition} => {category}\n")
    if room >= 0 or not all(f"=> {category}\n" in context.text for _, category, _ in asked):  # too few examples
        return None
    return Conversation(instruction, context, question, answer, "f1")


def code(document: Document, room: float, depth: float, generator: random.Random) -> Conversation | None:
    """The lines of a file of code that come after the head of a function."""
    instruction = f"Complete the {document.kind} file {document.title}."
    question = "Write the lines of code that come next. Write only code."
    lines = document.units
    opens = [
        number
        for number in range(1, len(lines))
        if (lines[number - 1].lstrip().startswith("def ") and lines[number - 1].rstrip().endswith(":"))
        or (document.kind == "C" and lines[number - 1].rstrip().endswith("{"))
    ]
    if not opens:
        return None
    cut = generator.choice(opens)
    wanted = min(160, max(48, room / 10))
    room -= plain(instruction) + plain(question) + 14  # and two fences
    answer = ""
    for line in lines[cut:]:
        if document.positions(answer) >= wanted:
            break
        answer += line
    room -= document.positions(answer)
    first = cut
    while first and room >= document.positions(lines[first - 1]):
        first -= 1
        room -= document.positions(lines[first])
    if document.positions(answer) < wanted or room > 60 and not first:  # the file ends, or begins too late
        return None
    context = Context()
    context.add("".join(lines[first:cut]).lstrip("\n"))
    fence = "python" if document.kind == "Python" else "c"
    return Conversation(instruction, context, question, f"```{fence}\n{answer.rstrip()}", "rouge-l", fence=fence)


def dialogue(document: Document, room: float, depth: float, generator: random.Random) -> Conversation | None:
    """Two turns about a story: the sentence after one is quoted, then that after another is asked for; a third follows."""
    instruction = "Read the following story. I will then ask about it."
    room -= plain(instruction) + 220  # two questions and two answers, a sentence each
    story = document.excerpt(start_of_excerpt(document, room, generator), room)
    text = "".join(story)
    fitting = [
        number
        for number in range(len(story) - 1)
        if "\n" not in story[number]
        and all(30 <= len(sentence) <= 150 and not sentence[0].islower() for sentence in story[number : number + 2])
        and text.count(story[number].strip()) == 1
    ]
    apart = [fitting[place] for place in sorted(generator.sample(range(len(fitting)), min(3, len(fitting))))]
    if len(apart) < 3 or any(second - first < 2 for first, second in itertools.pairwise(apart)):
        return None
    generator.shuffle(apart)
    context = Context()
    for number, sentence in enumerate(story):
        context.add(sentence, "needle" if number == apart[1] + 1 else "distractor" if number - 1 in apart else "")
    asked = [
        (f"Quote the sentence that comes right after this one: {story[n].strip()}", story[n + 1].strip()) for n in apart
    ]
    question, answer = asked[1]
    return Conversation(
        instruction,
        context,
        question,
        answer,
        "rouge-l",
        context.depth("needle"),
        earlier=asked[0],
        followups=[asked[2]],
    )


LONGEST, SHORTEST = (
    960,
    560,
)  # of a long answer: some less, or more, than 1024 and 512 positions, for they are estimated


def long_copy(document: Document, room: float, depth: float, generator: random.Random) -> Conversation | None:
    """A passage of a manual, word for word: the one task with a long answer."""
    wanted = min(LONGEST - 80, max(SHORTEST, 0.28 * room))
    instruction = "Here is a part of a manual."
    question = 'Copy the passage of the text above that begins with "{}" and ends with "{}", word for word.'
    room -= plain(instruction) + plain(question) + 30 + wanted
    blocks = "".join(document.excerpt(start_of_excerpt(document, room, generator), room)).split("\n\n")
    starts = [number for number, block in enumerate(blocks) if block[:1].isupper() and pieces(block) > 12]
    if not starts:
        return None
    first = generator.choice(starts)
    last, passage = first, ""
    while document.positions(passage) < wanted and last < len(blocks):
        last += 1
        passage = "\n\n".join(blocks[first:last])
    passage = passage.rstrip()
    begin, end = " ".join(blocks[first].split()[:6]), " ".join(passage.split()[-6:])
    text = "\n\n".join(blocks)
    if not wanted <= document.positions(passage) <= LONGEST or not passage[-1] in ".?!" or text.count(begin) != 1:
        return None
    if text.count(end) != 1:
        return None
    context = Context()
    context.add("".join(block + "\n\n" for block in blocks[:first]))
    context.add(passage + "\n\n", "needle")
    context.add("\n\n".join(blocks[last:]))
    return Conversation(instruction, context, question.format(begin, end), passage, "rouge-l", context.depth("needle"))
