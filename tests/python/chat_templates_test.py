"""Conversations as the program writes them, against Jinja2."""

import functools
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys

import pytest

from conftest import built_package

evictlab = built_package()
pytest.importorskip("jinja2")

from evictlab import _core, chat  # noqa: E402

TEMPLATES = sorted((pathlib.Path(__file__).parents[1] / "data" / "chat_templates").glob("*.jinja"))
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
WORDS = ["a", "abc", " ", "\n", "\t", "é", "字", "\u00a0", "\u2003", "<think>", "</think>", "'", '"', "{{ x }}", "{% if %}", "🙂", "|", "\\n", "user"]


def ours(template, messages, **options):
    try:
        return _core.render_chat(template, messages, **{**TOKENS, **options})
    except evictlab.Error as error:
        return refusal(error)


@functools.lru_cache(maxsize=4)
def compiled(template, thinking):
    return chat.renderer(template, thinking=thinking, **TOKENS)


def jinja2(template, messages, generate=True, thinking=True):
    try:
        return compiled(template, thinking)(messages, generate)
    except evictlab.Error as error:
        return refusal(error)


def refusal(error):
    """What the template itself said, whoever rendered it."""
    return re.search(r"refuses the conversation: .*", str(error)) and "refused: " + str(error).rpartition(": ")[2]


def conversations(seed, count):
    source = random.Random(seed)
    for _ in range(count):
        messages = []
        if source.random() < 0.4:
            messages.append("system")
        for _ in range(source.randrange(3)):
            messages += ["user", "assistant"]
        messages.append(source.choice(["user", "user", "user", "assistant"]))
        yield [{"role": role, "content": "".join(source.choices(WORDS, k=source.randrange(1, 9)))} for role in messages]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_family_is_rendered_as_jinja2_does(path):
    template = path.read_text(encoding="utf-8")
    thinks = "enable_thinking" in template
    # The program's text does not change with the day.
    dated = template.replace("strftime_now is defined", "false")
    rendered = 0
    for messages in conversations(path.stem, 50):
        for generate in (True, False):
            for thinking in (True, False) if thinks else (True,):
                options = {"generate": generate, "thinking": thinking}
                expected = jinja2(dated, messages, **options)
                assert expected is not None, messages
                assert ours(template, messages, **options) == expected, messages
                rendered += not expected.startswith("refused")
    assert rendered > 15


def test_white_space_is_trimmed_where_jinja2_trims_it():
    source = random.Random(7)
    tags = ["{%", "{%-", "{%+", "{{", "{{-", "{#", "{#-"]
    pieces = [" ", "  ", "\n", "\t", "x", "\r\n", "\u00a0"]
    for _ in range(1000):
        template = ""
        for _ in range(source.randrange(1, 7)):
            template += "".join(source.choices(pieces, k=source.randrange(4)))
            tag = source.choice(tags)
            sign = source.choice(["", "-"] + (["+"] if tag[1] == "%" else []))
            body = {"%": " set y = 1 ", "{": " 'v' ", "#": " note "}[tag[1]]
            template += tag + body + sign + {"%": "%}", "{": "}}", "#": "#}"}[tag[1]]
        template += "".join(source.choices(pieces, k=source.randrange(4)))
        assert ours(template, []) == jinja2(template, []), repr(template)


@pytest.mark.parametrize(
    "template, says",
    [
        ("{% include 'x' %}", "line 1: the statement 'include' is not supported"),
        ("{{ messages | sort }}", "the filter 'sort' is not supported"),
        ("{{ messages is sameas none }}", "the test 'sameas' is not supported"),
        ("{{ messages[0].content.zfill(3) }}", "the method 'zfill' of a text is not supported"),
        ("\n\n{{ messages[0].content.x.y }}", "line 3: asks an undefined value ('x') for 'y'"),
        ("{{ 'a' + 1 }}", "computes a text + a number"),
        ("{{ messages }}", "writes a list as text"),
        ("{{ nothing() }}", "calls an undefined value ('nothing')"),
        ("{% if true %}", "expected 'endif', got the end of the template"),
        ("{% for x in y %}{% endif %}", "line 1"),
        ("{{ (1 }}", "an unexpected '}'"),
        ("{{ 'open }}", "a text is not closed"),
        ("{{ 1 < 2 < 3 }}", "chained comparisons"),
        ("{{ " + "(" * 5000 + ")" * 5000 + " }}", "nests more than"),
        ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "steps"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "calls nest"),
        ("{% for a in range(99999) %}{{ 'x' * 9 }}{% endfor %}", "computes a text * a number"),
        ("{% break %}", "'break' outside of a loop"),
        ("{% for a in messages %}{% macro f() %}{% continue %}{% endmacro %}{% endfor %}", "'continue' outside of a loop"),
        ("{{ 1" + "0" * 400 + ".5 }}", "is too large a number"),
        ("{{ ('-9223372036854775808' | int) - 5 }}", "computes with numbers beyond 2^31"),
    ],
)
def test_what_is_outside_of_the_subset_is_refused_in_one_line(template, says):
    with pytest.raises(evictlab.Error) as caught:
        _core.render_chat(template, [{"role": "user", "content": "x"}])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "python3 -m evictlab.chat" in str(caught.value)


def grown(step, start="'a'", rounds=99):
    return f"{{% set ns = namespace(x={start}) %}}{{% for i in range({rounds}) %}}{{% set ns.x = {step} %}}{{% endfor %}}{{{{ ns.x | length }}}}"


def repeated(what):
    return f"{{% set all = range(99999) %}}{{% for a in all %}}{{% for b in all %}}{{% set x = {what} %}}{{% endfor %}}{{% endfor %}}"


@pytest.mark.parametrize(
    "template",
    [
        # Texts and lists that double, by whatever makes them longer.
        grown("ns.x ~ ns.x"),
        grown("ns.x + ns.x", "[1]"),
        grown("ns.x.replace('a', 'aaaaaaaaaa')"),
        grown("ns.x | replace('a', 'aaaaaaaaaa')"),
        grown("[ns.x, ns.x] | join(ns.x)"),
        grown("ns.x | list | join(ns.x)", "'aa'"),
        grown("ns.x.split('a') | join('aa')", "'aaa'"),
        grown("ns.x | tojson | tojson"),
        # Values that hold themselves twice, and deep ones.
        grown("[ns.x, ns.x]"),
        grown("[ns.x]", rounds=99999),
        grown("{'a': ns.x}", rounds=99999),
        "{% set ns = namespace() %}{% set ns.x = ns %}",
        "{% set ns = namespace() %}{% set ns.x = [ns] %}",
        # Steps that cost as much as what they go through.
        repeated("range(99999)"),
        repeated("all + all"),
        repeated("-1 in all"),
        repeated("all == all"),
        repeated("all | reverse"),
        repeated("all | map('string')"),
        # Many operators, one on the other.
        *("{{ messages" + operator * 100_000 + " }}" for operator in (
            ".a", "[0]", "()", "|trim", " + 1", " ~ 1", " * 1", " and 1", " or 1", " if 1", " is defined", " is not defined")),
        # Calls inside arguments inside calls.
        "{% macro f(x) %}{{ x" + " ~ 'a'" * 300 + " ~ f(x) }}{% endmacro %}{{ f(1) }}",
    ],
    ids=lambda template: template[:60],
)
def test_a_template_cannot_take_all_time_or_memory_or_crash(template):
    with pytest.raises(evictlab.Error) as caught:
        _core.render_chat(template, [{"role": "user", "content": "x"}])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_that_is_cut_short_is_rendered_or_refused(path):
    template = path.read_text(encoding="utf-8")
    source = random.Random(path.stem)
    for end in [*range(10), *source.choices(range(len(template)), k=90)]:
        try:
            _core.render_chat(template[:end], [{"role": "user", "content": "x"}])
        except evictlab.Error as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "template, text",
    [
        ("{{ 'abcdefgh'[5::9223372036854775807] }}", "f"),
        ("{{ 'abcdefgh'[1:9223372036854775807:3] }}", "beh"),
        ("{{ range(1, 9223372036854775807, 9223372036854775807) | length }}", "1"),
        ("{{ {'a': 1, 'b': 2, 'a': 3} | tojson }}", '{"a": 3, "b": 2}'),
        ("{{ -0.0 }} {{ -(1.5) }}", "-0.0 -1.5"),
        ("{{ 'aaa'.split('aa') | tojson }} {{ 'aaa'.rsplit('aa') | tojson }} {{ 'a-b-c'.rsplit('-', 1) | tojson }}",
         '["", "a"] ["a", ""] ["a-b", "c"]'),
        ("{{ '\u00e9a\u00e9b'.strip('\u00e9') }}{{ 'xx'.strip('x') }}", "aéb"),
        ("{% for x in 'aé字' %}{{ x }},{% endfor %}{{ 'aé字' | length }}", "a,é,字,3"),
        ("{% for x in [1, 2, 3, 4] if x is even %}{{ x }}{{ loop.last }}{% else %}none{% endfor %}", "2False4True"),
        ("{% for x in [1, 2] %}{{ x }}{% break %}{% else %}none{% endfor %}", "1none"),
        ("{% for x in [1, 2] %}{{ x }}{% if x == 2 %}{% continue %}{% endif %}{% else %}none{% endfor %}", "12"),
        ("{{ 'a'" + " ~ 'b'" * 300 + " }}", "a" + "b" * 300),
    ],
)  # fmt: skip
def test_values_are_what_python_makes_of_them(template, text):
    assert ours(template, []) == jinja2(template, []) == text


def test_a_long_conversation_is_rendered():
    source = (TEMPLATES[0].parent / "thinking.jinja").read_text(encoding="utf-8")
    messages = [{"role": ("user", "assistant")[i % 2], "content": "some words " * 200} for i in range(501)]
    assert ours(source, messages) == jinja2(source, messages)


def test_spans_follow_the_words_of_their_message():
    template = (TEMPLATES[0].parent / "llama3.jinja").read_text(encoding="utf-8")
    render = chat.renderer(template, **TOKENS)
    line = {
        "id": "p",
        "messages": [{"role": "system", "content": "user"}, {"role": "user", "content": " ü needle in hay \n"}],
        "spans": [{"name": "needle", "message": 1, "start": 3, "end": 9}, {"name": "all", "message": 1, "start": 0, "end": 18}],
    }
    prompt = chat.apply(line, render)
    words = {span["name"]: prompt["prompt"][span["start"] : span["end"]] for span in prompt["spans"]}
    assert words == {"needle": "needle", "all": "ü needle in hay"}
    assert prompt["add_special_tokens"] is False and "messages" not in prompt


def test_followups_continue_the_conversation_after_the_answer():
    template = (TEMPLATES[0].parent / "chatml.jinja").read_text(encoding="utf-8")
    followups = [{"prompt": "why?", "answer": "so"}, {"prompt": "so?", "answer": "yes"}]
    line = {"id": "p", "messages": [{"role": "user", "content": "q"}], "answer": "because", "followups": followups}
    prompt = chat.apply(line, chat.renderer(template))
    between = "<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    assert [followup["prompt"] for followup in prompt["followups"]] == [between.format("why?"), between.format("so?")]


@pytest.fixture(scope="module")
def chat_model(model, tmp_path_factory):
    """The shipped model with a chat template."""
    directory = tmp_path_factory.mktemp("chat") / "model"
    directory.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copy(model / name, directory / name)
    shutil.copy(TEMPLATES[0].parent / "mistral.jinja", directory / "chat_template.jinja")
    (directory / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}}))
    return directory


LINES = [
    {"id": "talk", "messages": [{"role": "user", "content": "one two"}, {"role": "assistant", "content": " three "}, {"role": "user", "content": "four five"}], "answer": "six"},
    {"id": "plain", "prompt": "seven eight nine", "answer": "ten", "spans": [{"name": "context", "start": 0, "end": 5}]},
]


def record(evictlab_program, model, prompts, out, *options):
    return evictlab_program("record", "--model", model, "--prompts", prompts, "--out", out, "--window", "4", *options)


def recorded(path):
    trace = evictlab.Trace(path)
    return {prompt.id: (list(trace.tokens(prompt.id)), [tuple(span) for span in prompt.spans]) for prompt in trace.prompts}


def test_conversations_are_recorded_as_python_renders_them(evictlab_program, chat_model, tmp_path):
    prompts = tmp_path / "p.jsonl"
    prompts.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    done = record(evictlab_program, chat_model, prompts, tmp_path / "direct.h5", "--chat")
    assert done.code == 0, done.err
    command = [sys.executable, "-m", "evictlab.chat", chat_model, prompts, tmp_path / "rendered.jsonl", "--chat"]
    subprocess.run(command, check=True, capture_output=True)
    done = record(evictlab_program, chat_model, tmp_path / "rendered.jsonl", tmp_path / "rendered.h5")
    assert done.code == 0, done.err
    assert recorded(tmp_path / "direct.h5") == recorded(tmp_path / "rendered.h5")


@pytest.mark.parametrize(
    "line, options, says",
    [
        ({"messages": []}, [], "messages: is empty"),
        ({"messages": [{"role": "user"}]}, [], "messages[0]"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [{}]}]}, [], "messages[0].tool_calls: is not supported"),
        ({"messages": [{"role": "user", "content": "x"}], "tools": [{}]}, [], "tools: is not supported"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, [], 'must end with one of role "user"'),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "x"}]}, [], "Roles must alternate"),
        ({"messages": [{"role": "user", "content": "x"}], "prompt": "x"}, [], "must have one of"),
        ({"messages": [{"role": "user", "content": "x"}], "spans": [{"name": "s", "start": 0, "end": 2}]}, [], "outside the 1 characters"),
        ({"messages": [{"role": "user", "content": "x"}], "spans": [{"name": "s", "start": 0, "end": 1, "message": 4}]}, [], "is in message 4"),
        ({"tokens": [1, 2, 3]}, ["--chat"], "is token ids"),
        ({"prompt": "x y"}, ["--no-thinking"], "--no-thinking is for conversations"),
        ({"prompt": "x y"}, ["--chat", "--no-thinking"], "does not know of thinking"),
    ],
)
def test_a_conversation_that_cannot_be_written_is_refused(evictlab_program, chat_model, tmp_path, line, options, says):
    prompts = tmp_path / "p.jsonl"
    prompts.write_text(json.dumps(line) + "\n")
    done = record(evictlab_program, chat_model, prompts, tmp_path / "t.h5", *options)
    assert done.code == 2 and says in done.err and done.err.count("\n") == 1, done.err
    assert not (tmp_path / "t.h5").exists()


def test_a_model_without_a_template_says_so(evictlab_program, model, tmp_path):
    prompts = tmp_path / "p.jsonl"
    prompts.write_text(json.dumps(LINES[0]) + "\n")
    done = record(evictlab_program, model, prompts, tmp_path / "t.h5")
    assert done.code == 2 and "has no chat template" in done.err
