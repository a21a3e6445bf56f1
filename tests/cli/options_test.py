"""Every option of every command: it has an effect that can be seen where it applies, and is refused where it does not.

OPTIONS has a row for each option that `evictlab COMMAND --help` lists; a new option without a row fails."""

import dataclasses
import json
import pathlib
import random
import re

import h5py
import numpy
import pytest

from conftest import MODEL, ROOT
from option_effects import Run, differs, holds, lacks_files, same, says, table_content

TINY = ROOT / "tests" / "data" / "checkpoints" / "gqa-f32"  # token ids only
COMMANDS = ("record", "info", "verify", "import", "synth", "replay", "sweep", "advise", "validate", "policies", "analyze", "fit",
            "plot", "report", "demo")


def ids(count, seed):
    draw = random.Random(seed)
    return [draw.randrange(3, 93) for _ in range(count)]


def text(sentences, seed):
    draw = random.Random(seed)
    words = ["tide", "ferry", "lighthouse", "invoice", "orchard", "promise", "compiler", "rain"]
    return " ".join(f"The {draw.choice(words)} waits for the {draw.choice(words)}." for _ in range(sentences))


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


class Work:
    """The inputs that commands are given, made once."""

    def __init__(self, directory, evictlab):
        self.directory, self.evictlab = directory, evictlab
        self.prompts = write_lines(directory / "prompts.jsonl", [
            {"id": f"p{i}", "task": "t", "tokens": ids(48, i), "answer_tokens": ids(4, 50 + i),
             "spans": [{"name": "context", "start": 1, "end": 36}, {"name": "needle", "start": 5, "end": 9}]}
            for i in range(2)])
        self.one_prompt = write_lines(directory / "one.jsonl", [{"id": "p9", "task": "t", "tokens": ids(48, 9)}])
        self.document = directory / "document.txt"
        self.document.write_text(text(6, 1))
        self.talk = write_lines(directory / "talk.jsonl", [
            {"id": f"talk{i}", "task": "t", "prompt": text(12, 20 + i), "answer": " The rain waits."} for i in range(4)])
        self.haystack = directory / "haystack.txt"
        self.haystack.write_text(text(40, 2))
        self.template = directory / "template.txt"
        self.template.write_text("Q: {question}\n{context}\nA:\n")
        self.benchmark = write_lines(directory / "benchmark.jsonl", [
            {"context": text(8, 3), "input": "What waits?", "answers": ["rain"], "dataset": "qasper", "_id": "b0"}])
        numpy.save(directory / "attention.npy", self.attention())
        self.array = directory / "attention.npy"
        self.adding = self.model_that_adds_a_token()
        self.trace = self.made("trace.h5", "synth", "--length", 120, "--layers", 4, "--prompts", 2, "--future", 4)
        self.single = self.made("single.h5", "synth", "--length", 64, "--layers", 2, "--prompts", 1, "--future", 4)
        self.summary = self.made("summary.h5", "synth", "--length", 120, "--layers", 4, "--prompts", 2, "--tier", "summary")
        self.partial = self.made("partial.h5", "record", "--model", MODEL, "--text", self.document, "--layers", "0,2",
                                 "--future", 2)
        self.tables = directory / "tables"
        self.calibration = directory / "calibration.json"
        made_for = json.loads(evictlab("info", self.trace, "--json").out)["model"]["fingerprint"]
        learned = {
            "format": "evictlab-calibration", "format_version": 1, "model": "synthetic", "model_fingerprint": made_for,
            "measure": "squared_error", "map": {"log_scale": 0.5, "saturation": None, "exponent": 1.0},
            "confidence": 0.9, "prompt_factor": None, "mean_factors": [], "held_out": {},
            "covers": {"prompts": 9, "documents": 9, "prompt_length": [1, 9], "slots": [1, 9], "share": [0.1, 0.9], "window": 8,
                       "tasks": [], "policies": [], "budgets": []}}
        self.calibration.write_text(json.dumps(learned))
        self.default_calibration = directory / "default.json"  # of another model, by a measure without unit
        self.default_calibration.write_text(json.dumps(learned | {"measure": "relative_squared_error"}))
        self.run("replay", self.trace, "--policy", "snapkv,h2o,random", "--budget", "0.5,48KiB", "--out",
                 self.tables / "replay.csv", "--kept", directory / "kept.h5")
        self.kept = directory / "kept.h5"
        self.scores = directory / "scores.h5"
        with h5py.File(self.scores, "w") as file:
            for prompt in range(2):
                for layer in range(4):
                    file[f"prompts/synth-{prompt:03}/layers/{layer}/scores"] = numpy.random.default_rng(layer).random((2, 120))
        self.run("advise", self.trace, "--bytes", "48KiB", "--policy", "snapkv", "--out", directory / "budgets.json")
        self.budgets = directory / "budgets.json"
        self.live_replay = directory / "live" / "replay.csv"
        self.run("validate", "--model", TINY, "--prompts", self.prompts, "--policy", "snapkv(window=8)", "--budget", "24",
                 "--window", 16, "--out", directory / "live")

    def run(self, *arguments):
        done = self.evictlab(*arguments)
        assert done.code == 0, done.err
        return done

    def made(self, name, *arguments):
        self.run(*arguments, "--out", self.directory / name)
        return self.directory / name

    def model_that_adds_a_token(self):
        """The shipped model with a tokenizer that puts <bos> before a prompt, and a chat template, which its own lacks."""
        copy = self.directory / "model"
        copy.mkdir()
        for path in MODEL.iterdir():
            if path.suffix in (".json", ".safetensors"):
                (copy / path.name).symlink_to(path)
        tokenizer = json.loads((MODEL / "tokenizer.json").read_text())
        tokenizer["post_processor"] = {
            "type": "TemplateProcessing", "pair": [],
            "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [1], "tokens": ["<bos>"]}}}
        (copy / "chat_template.jinja").write_text(
            "{% for message in messages %}{{ message.role }} says: {{ message.content }}\n{% endfor %}"
            "{{ 'So:' if enable_thinking is defined and enable_thinking is false else 'Well.' }}")
        (copy / "tokenizer.json").unlink()
        (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
        return copy

    @staticmethod
    def attention():
        """[2 layers, 2 heads, 40, 40] causal rows."""
        logits = numpy.random.default_rng(1).standard_normal((2, 2, 40, 40))
        logits[:, :, numpy.triu_indices(40, 1)[0], numpy.triu_indices(40, 1)[1]] = -numpy.inf
        weights = numpy.exp(logits)
        return (weights / weights.sum(axis=-1, keepdims=True)).astype(numpy.float32)


@pytest.fixture(scope="module")
def work(tmp_path_factory, evictlab):
    return Work(tmp_path_factory.mktemp("work"), evictlab)


# --- rows -------------------------------------------------------------------------------------------


def replaced(without, with_):
    """Of --force: the same command a second time is refused without it (rows give the option to both runs)."""
    assert with_.done.code == 0


@dataclasses.dataclass
class Row:
    """`given`: the option and its value, beside `beside`, which both runs have. `refused`: arguments that must be refused
    with a line that holds the text, instead of or beside the command's usual arguments, which `base` replaces."""

    given: tuple = ()
    sees: object = differs
    beside: tuple = ()
    base: tuple | None = None
    refused: tuple = ()  # of (arguments, text), or of (arguments, text, what to give beside them)


FORCE = "force"  # checked for all commands alike
HELP = "help"
NEEDED = "needed"  # without it the command says that it is missing


def base_of(work):
    return {
        "record": ("--model", TINY, "--prompts", work.prompts, "--window", 16, "--out", "OUT/t.h5"),
        "info": (work.trace,),
        "verify": (work.trace,),
        "import": (work.array, "--prompt-length", 32, "--out", "OUT/t.h5"),
        "synth": ("--length", 32, "--layers", 2, "--prompts", 1, "--future", 2, "--window", 8, "--out", "OUT/t.h5"),
        "replay": (work.trace, "--policy", "snapkv,pyramidkv", "--budget", "50", "--out", "OUT/replay.csv"),
        "sweep": (work.trace, "--policy", "snapkv,pyramidkv", "--budget", "40,50", "--out", "OUT/s"),
        "advise": (work.trace, "--policy", "snapkv,h2o", "--bytes", "48KiB"),
        "validate": ("--model", TINY, "--prompts", work.prompts, "--policy", "snapkv(window=8),h2o(window=8)", "--budget",
                     "24", "--window", 16, "--out", "OUT/v"),
        "policies": ("snapkv",),
        "analyze": (work.trace, "--policy", "snapkv,h2o", "--out", "OUT/a"),
        "fit": (work.trace, "--policy", "h2o,snapkv", "--budget", "24,40", "--out", "OUT/f"),
        "plot": (work.tables, "--out", "OUT/p"),
        "report": (work.tables, "--out", "OUT/r.html"),
        "demo": (),
    }


def rows_of(work):
    """COMMAND → option → rows."""
    demo = ("--model", MODEL, "--future", 2, "--out", "OUT/t.h5")  # a model with a tokenizer
    adding = ("--model", work.adding, *demo[2:])
    needle = (*demo, "--needle", work.haystack, "--needle-lengths", 96, "--needle-depths", 0.5)
    hot = ("--future", 6, "--temperature", 5)
    prompts = {
        "model": NEEDED,
        "prompts": Row(("--prompts", work.one_prompt)),
        "text": Row(("--text", work.document), base=needle),
        "template": Row(("--template", work.template), base=(*demo, "--prompts", work.benchmark),
                        refused=((("--template", work.template), "none of the prompts takes it", (*demo, "--text", work.document)),)),
        "needle": Row(("--needle", work.haystack, "--needle-lengths", 96, "--needle-depths", 0.5),
                      base=(*demo, "--text", work.document)),
        "needle-lengths": Row(("--needle-lengths", 128), base=needle,
                              refused=((("--needle-lengths", 80), "needs --needle"),)),
        "needle-depths": Row(("--needle-depths", 0), base=needle,
                             refused=((("--needle-depths", 0), "needs --needle"),)),
        "limit": Row(("--limit", 1)),
        "only": Row(("--only", "p1"), refused=((("--only", "p1,p8"), "--only p8: there is no prompt of this id; known: p0, p1"),)),
        "future": Row(("--future", 2)),
        "max-positions": Row(("--max-positions", 40)),
        "evict-at": Row(("--evict-at", "context"), refused=((("--evict-at", "end"), "takes one of"),)),
        "no-special-tokens": Row(("--no-special-tokens",), base=(*adding, "--text", work.document)),
        "chat": Row(("--chat",), base=(*adding, "--text", work.document),
                    refused=((("--chat",), "has no chat template", (*demo, "--text", work.document)),)),
        "no-thinking": Row(("--no-thinking",), base=(*adding, "--text", work.document, "--chat"),
                           refused=((("--no-thinking",), "is for conversations", (*adding, "--text", work.document)),)),
    }
    live = ("--model", MODEL, "--future", 2, "--policy", "snapkv(window=8)", "--budget", "32", "--window", 16, "--out",
            "OUT/v")
    talking = ("--model", work.adding, *live[2:])
    live_prompts = {
        "model": NEEDED,
        "prompts": Row(("--prompts", work.one_prompt)),
        "text": Row(("--text", work.document), base=(*live, "--prompts", work.benchmark)),
        "template": Row(("--template", work.template), base=(*live, "--prompts", work.benchmark)),
        "needle": Row(("--needle", work.haystack, "--needle-lengths", 96, "--needle-depths", 0.5),
                      base=(*live, "--text", work.document)),
        "needle-lengths": Row(refused=((("--needle-lengths", 80), "needs --needle"),)),
        "needle-depths": Row(refused=((("--needle-depths", 1), "needs --needle"),)),
        "limit": Row(("--limit", 1)),
        "only": Row(("--only", "p1")),
        "future": Row(("--future", 2)),
        "max-positions": Row(("--max-positions", 40)),
        "evict-at": Row(("--evict-at", "context")),
        "no-special-tokens": Row(("--no-special-tokens",), base=(*talking, "--text", work.document)),
        "chat": Row(("--chat",), base=(*talking, "--text", work.document)),
        "no-thinking": Row(("--no-thinking",), base=(*talking, "--text", work.document, "--chat")),
    }
    protect = Row(("--protect", "sinks=2,window=40"), refused=(
        (("--protect", "sinks=4,sinks=5"), "sinks is given twice"), (("--protect", "sinks"), "must be sinks=<number>")))
    variant = Row(("--variant", "kvcache-factory"), refused=(
        (("--variant", "nonsense"), "there are own, kvpress, adakv"), (("--variant", ""), "--variant is missing")))
    measures = Row(("--measures", "summary"), refused=(
        (("--measures", "some"), "--measures takes one of all, summary"),
        (("--measures", "summary", "--calibration", work.calibration), "--measures summary leaves out squared_error")))
    calibration = Row(("--calibration", work.calibration), refused=(
        (("--calibration", work.budgets), "is no calibration, which evictlab validate writes"),))
    given = "needs imported scores, which evictlab replay takes"
    budget = Row(("--budget", "0.4"), refused=((("--budget", "4q"), "budget '4q'"),))
    return {
        "record": {
            **prompts,
            "out": NEEDED,
            "tier": Row(("--tier", "full")),
            "dtype": Row(("--dtype", "float32"), beside=("--tier", "full"),
                         refused=((("--dtype", "float32"), "only --tier full records"),)),
            "gradients": Row(("--gradients", 2), beside=("--tier", "full"),
                             refused=((("--gradients", 2), "needs --tier full"),
                                      (("--tier", "full", "--gradients", "some"), "--gradients takes a whole number"))),
            "window": Row(("--window", 8)),
            "repeat-context": Row(("--repeat-context", 16), refused=(
                (("--repeat-context", "x"), "--repeat-context takes a whole number"),)),
            "layers": Row(("--layers", "0")),
            "temperature": Row(("--temperature", 5), beside=("--future", 6)),
            "top-k": Row(("--top-k", 1), beside=hot, refused=((("--top-k", 2), "needs a --temperature above 0"),)),
            "top-p": Row(("--top-p", 0.01), beside=hot, refused=((("--top-p", 0.5), "needs a --temperature above 0"),)),
            "seed": Row(("--seed", 7), beside=hot, refused=((("--seed", 2), "needs a --temperature above 0"),)),
            "threads": Row(("--threads", 1), same, refused=((("--threads", "x"), "--threads takes a whole number"),)),
            "append": Row(refused=((("--append", "--force"), "give one of them"),)),
            "force": FORCE,
            "keep-parts": Row(("--keep-parts",), holds("t.h5.parts")),
            "dry-run": Row(("--dry-run",), lacks_files),
            "any-memory": Row(("--any-memory",), same),
        },
        "info": {"json": Row(("--json",)), "datasets": Row(("--datasets",))},
        "verify": {},
        "import": {
            "out": NEEDED,
            "prompt-length": Row(("--prompt-length", 30)),
            "future": Row(("--future", 6), base=(work.array, "--future", 8, "--out", "OUT/t.h5"),
                          refused=((("--future", 4), "--future"),)),
            "window": Row(("--window", 8)),
            "kv-heads": Row(("--kv-heads", 1)),
            "head-dim": Row(("--head-dim", 64)),
            "model": Row(("--model", "mine")),
            "task": Row(("--task", "needle")),
            "append": Row(refused=((("--append", "--force"), "give one of them"),)),
            "force": FORCE,
            "threads": Row(("--threads", 1), same),
        },
        "synth": {
            "out": NEEDED,
            "seed": Row(("--seed", 9)),
            "prompts": Row(("--prompts", 2)),
            "layers": Row(("--layers", 3)),
            "query-heads": Row(("--query-heads", 6)),
            "kv-heads": Row(("--kv-heads", 4)),
            "head-dim": Row(("--head-dim", 8)),
            "hidden-size": Row(("--hidden-size", 24)),
            "length": Row(("--length", 40)),
            "future": Row(("--future", 3)),
            "window": Row(("--window", 9)),
            "sliding-window": Row(("--sliding-window", 12)),
            "heads": Row(("--heads", "sink,local")),
            "tier": Row(("--tier", "summary")),
            "dtype": Row(("--dtype", "float16"),
                         refused=((("--tier", "summary", "--dtype", "float16"), "only --tier full records"),)),
            "threads": Row(("--threads", 1), same),
            "force": FORCE,
        },
        "replay": {
            "policy": Row(("--policy", "h2o")),
            "budget": budget,
            "protect": protect,
            "variant": variant,
            "out": NEEDED,
            "constrain": Row(("--constrain", "share=layer"), holds("constraints.csv"), refused=(
                (("--constrain", ""), "--constrain is missing"), (("--constrain", " "), "at least one of"),
                (("--constrain", "kernel=3"), "is none of protect"),
                (("--constrain", "layers=uniform", "--policy", "snapkv(layers=uniform)"), "changes none of the policies"))),
            "scores": Row(("--scores", work.scores), base=(work.trace, "--policy", "compose(scorer=given)", "--budget", "50",
                                                           "--out", "OUT/replay.csv"),
                          refused=((("--scores", work.scores), "no policy uses --scores"),
                                   (("--policy", "compose(scorer=given)"), given))),
            "budgets": Row(("--budgets", work.budgets), base=(work.trace, "--policy", "compose(allocator=given)", "--budget",
                                                              "50", "--out", "OUT/replay.csv"),
                           refused=((("--budgets", work.budgets), "no policy uses --budgets"),)),
            "kept": Row(("--kept", "OUT/kept.h5"), holds("kept.h5")),
            "measures": measures,
            "calibration": calibration,
            "threads": Row(("--threads", 1), same),
            "force": FORCE,
        },
        "sweep": {
            "policy": Row(("--policy", "h2o"), refused=((("--policy", "compose(scorer=given)"), given),)),
            "budget": budget,
            "protect": protect,
            "variant": variant,
            "out": NEEDED,
            "matrix": Row(("--matrix",), base=(work.single, "--policy", "snapkv", "--budget", "40", "--out", "OUT/s"),
                          beside=("--headroom", "no")),
            "tune": Row(("--tune", "kernel=3|5"), says("Held-out gain"), refused=(
                (("--tune", "kernal=3|5"), "no policy has all parameters"),)),
            "layers": Row(("--layers",), holds("budgets.csv", "trajectory.csv")),
            "measures": measures,
            "calibration": calibration,
            "headroom": Row(("--headroom", "no"), refused=((("--headroom", "maybe"), "takes one of yes, no"),)),
            "threads": Row(("--threads", 1), same),
            "force": FORCE,
        },
        "advise": {
            "loss": Row(("--loss", 0.5), base=(work.trace, "--policy", "snapkv,h2o"),
                        refused=((("--loss", 0.5), "give --loss or --bytes"),)),
            "kl": Row(("--kl", 100), base=(work.trace, "--policy", "snapkv,h2o"), beside=calibration.given,
                      refused=((("--kl", 0.5), "give --loss or --bytes"),)),
            "calibration": calibration,
            "bytes": Row(("--bytes", "60KiB"), refused=((("--bytes", "128"), "must be a size"),)),
            "measure": Row(("--measure", "output"), refused=((("--measure", "speed"), "takes one of"),)),
            "policy": Row(("--policy", "tova"), refused=((("--policy", "compose(scorer=given)"), given),)),
            "protect": protect,
            "variant": variant,
            "out": Row(("--out", "OUT/b.json"), holds("b.json")),
            "threads": Row(("--threads", 1), same),
            "force": FORCE,
        },
        "validate": {
            **live_prompts,
            "policy": Row(("--policy", "tova"), refused=((("--policy", "compose(scorer=given)"), given),)),
            "budget": budget,
            "protect": Row(("--protect", "sinks=2,window=12"), refused=protect.refused),
            "variant": Row(("--variant", "kvcache-factory"), beside=("--policy", "ada-snapkv(window=8)"),
                           refused=variant.refused),
            "out": NEEDED,
            "window": Row(("--window", 4)),  # too few for snapkv(window=8), which is left out
            "dtype": Row(("--dtype", "float16"), beside=("--policy", "knorm,keydiff"), refused=(
                (("--dtype", "bfloat16"), "--dtype takes one of"),)),
            "gradients": Row(("--gradients", 2), refused=((("--gradients", "x"), "--gradients takes a whole number"),)),
            "max-tokens": Row(("--max-tokens", 1), refused=(
                (("--max-tokens", 1, "--teacher-forced"), "--teacher-forced has none"),)),
            "teacher-forced": Row(("--teacher-forced",)),
            "sensitivity": Row(("--sensitivity", "heads"), holds("sensitivity.csv", "sensitivity_summary.csv",
                                                                 "sensitivity_agreement.csv"), refused=(
                (("--sensitivity", "tokens"), "--sensitivity takes one of layers, heads"),
                (("--sensitivity", "layers", "--max-tokens", 1), "does not apply to --sensitivity"),
                (("--sensitivity", "layers", "--replay", work.live_replay), "does not apply to --sensitivity"))),
            "undecided": Row(("--undecided", "--calibration", work.default_calibration), holds("race.csv"), refused=(
                (("--undecided",), "--undecided needs --calibration"),
                (("--undecided", "--calibration", work.default_calibration, "--replay", work.live_replay), "does not apply to --undecided"),
                (("--undecided", "--calibration", work.default_calibration, "--sensitivity", "layers"), "does not apply to --undecided"))),
            "calibration": Row(("--undecided", "--calibration", work.default_calibration), holds("race.csv"), refused=(
                (("--calibration", work.default_calibration), "--calibration applies to --undecided"),
                (("--undecided", "--calibration", work.budgets), "is no calibration, which evictlab validate writes"))),
            "replay": Row(("--replay", work.live_replay), says(
                "has no rows of h2o(window=8): the calibration leaves it out"), refused=(
                (("--replay", work.live_replay, "--policy", "tova"), "has no rows of any policy and budget asked for"),)),
            "threads": Row(("--threads", 1), same),
            "force": FORCE,
        },
        "policies": {"json": Row(("--json",))},
        "analyze": {
            "out": NEEDED,
            "sinks": Row(("--sinks", 9)),
            "recent": Row(("--recent", 9)),
            "top": Row(("--top", 0.2)),
            "window": Row(("--window", 8), refused=((("--window", 0), "--window takes a whole number"),)),
            "tau1": Row(("--tau1", 2)),
            "tau2": Row(("--tau2", 2)),
            "policy": Row(("--policy", "snapkv,compose(scorer=given)"), says(given)),
            "sensitivity": Row(("--sensitivity", "snapkv@50"), holds("sensitivity.csv"), refused=(
                (("--sensitivity", "snapkv"), "must be policies@counts"),
                (("--sensitivity", "snapkv@50"), "recorded in the summary tier", (work.summary, "--out", "OUT/a")),
                (("--sensitivity", "windowkv@50"), "cannot evict in one place only"))),
            "threads": Row(("--threads", 1), same),
            "json": Row(("--json",)),
            "force": FORCE,
        },
        "fit": {
            "model": Row(base=("--model", MODEL, "--prompts", work.talk, "--policy", "h2o", "--budget", "24", "--out",
                               "OUT/f"), refused=((("--model", MODEL), "give a trace, or --model and --prompts, not both"),
                                                  (("--model", MODEL, "--only", "a"), "does not apply to --model",
                                                   ("--prompts", work.talk, "--out", "OUT/f")))),
            "prompts": Row(refused=((("--prompts", work.talk), "needs --model"),)),
            "out": NEEDED,
            "only": Row(("--only", "synth-001"), says("nothing was held out"), refused=(
                (("--only", "synth-009"), "no such prompt was recorded"),)),
            "policy": Row(("--policy", "tova"), refused=(
                (("--policy", "protect-only"), "has no scorer"), (("--policy", "oracle"), "reads the future"))),
            "budget": Row(("--budget", "30"), refused=((("--budget", "0.5"), "must be a number of slots"),)),
            "unit": Row(("--unit", "mass"), refused=(
                (("--unit", "kl"), "takes one of"),
                (("--unit", "fisher"), "lacks output_gradients"),
                (("--unit", "output"), "fit with --unit mass", (work.summary, "--policy", "h2o", "--out", "OUT/f")))),
            "scores-from": Row(("--scores-from", "window"), says("which --scores-from window leaves out"), refused=(
                (("--scores-from", "keys", "--policy", "h2o"), "which --scores-from keys leaves out"),)),
            "bytes-as": Row(("--bytes-as", "padded"), refused=((("--bytes-as", "free"), "takes one of"),)),
            "tasks": Row(("--tasks", "mean"), same, refused=((("--tasks", "best"), "takes one of"),)),
            "threads": Row(("--threads", 1), same),
            "force": FORCE,
        },
        "plot": {
            "out": Row(refused=((("--terminal",), "--out does not go with --terminal"),)),
            "terminal": Row(("--terminal",), lacks_files, base=(work.tables,),
                            refused=((("--terminal",), "does not go with --terminal"),)),
            "force": FORCE,
        },
        "report": {
            "out": NEEDED,
            "model": Row(("--model", MODEL), says("")),
            "policy": Row(("--policy", "snapkv"), base=(work.single, "--budget", "40", "--out", "OUT/r.html"),
                          refused=((("--policy", "snapkv"), "--policy is for a trace"),)),
            "budget": Row(("--budget", "0.5"), says(""), base=(work.single, "--policy", "snapkv,h2o", "--out", "OUT/r.html"),
                          refused=((("--budget", "64"), "--budget is for a trace"),)),
            "calibration": Row(calibration.given, base=(work.trace, "--policy", "snapkv,h2o", "--budget", "40", "--out", "OUT/r.html"),
                               refused=calibration.refused),
            "protect": Row(refused=((("--protect", "sinks=4"), "--protect is for a trace"),)),
            "variant": Row(refused=((("--variant", "kvpress"), "--variant is for a trace"),)),
            "threads": Row(("--threads", 1), same),
            "force": FORCE,
        },
        # The demo takes its time; tests/cli/demo_test.py runs it.
        "demo": {"model": Row(refused=((("--model", work.directory / "none", "--out", "OUT/d"), "none"),)),
                 "prompts": Row(refused=((("--prompts", work.directory / "none.jsonl", "--out", "OUT/d"), "none.jsonl"),)),
                 "no-keep-trace": Row(refused=((("--no-keep-trace", "--out", work.prompts), "cannot make the directory"),)),
                 "out": Row(refused=((("--out", work.prompts), "cannot make the directory"),)),
                 "prompts-per-task": Row(refused=((("--out", "OUT/d", "--prompts-per-task", "0"), "whole number, 1 to"),)),
                 "force": Row(refused=((("--force", "--out", work.prompts), "cannot make the directory"),))},
    }


@pytest.fixture(scope="module")
def table(work):
    return rows_of(work)


def replaced_option(arguments, given):
    """`arguments` without the option that `given` begins with, as it can be given once."""
    rest = list(arguments)
    for option in [one for one in given if str(one).startswith("--")]:
        value = given[given.index(option) + 1] if given.index(option) + 1 < len(given) else None
        if option in rest and not (option in ("--prompts", "--text", "--needle") and isinstance(value, pathlib.Path)):
            at = rest.index(option)
            del rest[at:at + 2]
    return rest


def assert_refused(done, saying):
    assert done.code == 2, (done.code, done.out, done.err)
    lines = [line for line in done.err.splitlines() if line[:2] not in ("", "# ", "$ ")]  # the demo says what it runs
    assert len(lines) == 1 and lines[0].startswith("evictlab: ") and saying in lines[0], (saying, done.err)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_row(evictlab, table, command):
    listed = re.findall(r"^  --([a-z0-9-]+)", evictlab(command, "--help").out, flags=re.M)
    assert set(listed) - {"help"} == set(table[command])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_does_something_or_is_refused(work, table, tmp_path, command):
    known = {}
    problems = []

    def run(arguments):
        key = tuple(map(str, arguments))
        if key not in known:
            known[key] = Run(work, tmp_path / str(len(known)), command, arguments)
        return known[key]

    def check(option, row):
        base = base_of(work)[command]
        if row == NEEDED:
            assert_refused(run(replaced_option(base, (f"--{option}",))).done, f"--{option} is missing")
            return
        if row == FORCE:
            where = base if "--out" in base else (*base, "--out", "OUT/b.json")
            first = Run(work, tmp_path / "force", command, where)
            assert first.done.code == 0, first.done.err
            again = Run(work, tmp_path / "force", command, where)
            assert again.done.code == 2 and again.files == first.files, again.done.err
            forced = Run(work, tmp_path / "force", command, (*where, "--force"))
            assert forced.done.code == 0 and forced.files == first.files, forced.done.err
            return
        for arguments, saying, *beside in row.refused:
            assert_refused(run((*replaced_option(beside[0] if beside else base, arguments), *arguments)).done, saying)
        if row.given:
            shared = (*replaced_option(row.base or base, row.beside), *row.beside)
            with_ = run((*replaced_option(shared, row.given), *row.given))
            assert with_.done.code == 0, with_.done.err
            row.sees(run(shared), with_)

    for option, row in table[command].items():
        try:
            check(option, row)
        except AssertionError as error:
            problems.append(f"--{option}: {str(error)[:600]}")
    assert not problems, "\n".join(problems)


# --- what options say together ----------------------------------------------------------------------


def test_layers_recorded_in_part_serve_what_does_not_need_the_others(evictlab, work, tmp_path):
    done = evictlab("replay", work.partial, "--policy", "snapkv(window=8),cake(window=8),windowkv", "--budget", 24, "--out",
                    tmp_path / "replay.csv")
    assert done.code == 0, done.err
    assert {row["policy"] for row in table_content(tmp_path / "replay.csv")} == {"snapkv"}
    for name in ("cake", "windowkv"):
        line, = (one for one in done.err.splitlines() if f"policy '{name}" in one)
        assert line.startswith("left out: ") and "recorded 2 of" in line


def test_a_policy_that_is_free_and_constrained_is_replayed_once(evictlab, work, tmp_path):
    done = evictlab("replay", work.trace, "--policy", "snapkv(share=layer),snapkv", "--budget", 60, "--constrain",
                    "share=layer", "--out", tmp_path / "replay.csv")
    assert done.code == 0, done.err
    rows = table_content(tmp_path / "replay.csv")
    assert len(rows) == 2 * 2 * 5, "two policies of two prompts, four layers and all"
    cost, = table_content(tmp_path / "constraints.csv")
    mean = {"share=layer" in row["parameters"]: [] for row in rows}
    for row in rows:
        if row["layer"] == "all":
            mean["share=layer" in row["parameters"]].append(float(row["retained_mass"]))
    assert float(cost["constrained_retained_mass"]) == pytest.approx(sum(mean[True]) / 2)
    assert float(cost["retained_mass"]) == pytest.approx(sum(mean[False]) / 2)
    assert "snapkv(share=layer)" in done.out, "it is ranked, as it was asked for"


def test_judging_kept_sets_takes_no_settings_of_policies(evictlab, work, tmp_path):
    out = ("--kept", work.kept, "--out", tmp_path / "replay.csv")
    for setting in (("--budget", "64"), ("--constrain", "share=layer"), ("--protect", "sinks=4"), ("--variant", "kvpress")):
        assert_refused(evictlab("replay", work.trace, *out, *setting), f"{setting[0]} does not apply to kept positions")
    assert list(tmp_path.iterdir()) == []
    done = evictlab("replay", work.trace, *out)
    assert done.code == 0, done.err
    assert not (tmp_path / "constraints.csv").exists() and table_content(tmp_path / "kept_overlap.csv")


def test_no_table_without_rows_is_left(evictlab, work, tmp_path):
    arguments = ("replay", work.trace, "--budget", 60, "--out", tmp_path / "replay.csv")
    assert evictlab(*arguments, "--policy", "snapkv,h2o").code == 0
    assert (tmp_path / "kept_overlap.csv").exists()
    done = evictlab(*arguments, "--policy", "snapkv", "--force")
    assert done.code == 0, done.err
    assert not (tmp_path / "kept_overlap.csv").exists(), "the one of two policies is not of this replay"
    assert "kept_overlap.csv" not in done.err
    assert all(table_content(path) for path in tmp_path.glob("*.csv"))


def test_the_report_answers_at_budgets_in_every_unit(evictlab, work, tmp_path):
    done = evictlab("report", work.tables, "--out", tmp_path / "r.html")
    assert done.code == 0, done.err
    page = (tmp_path / "r.html").read_text()
    assert re.search(r"At 0.5 of the prompt \([0-9.]+ slots\), ", page) and re.search(r"At 48KiB \([0-9.]+ slots\), ", page)


def test_tuning_needs_prompts_to_hold_out(evictlab, work, tmp_path):
    assert_refused(evictlab("sweep", work.single, "--policy", "snapkv", "--budget", 40, "--tune", "kernel=3|5", "--out",
                            tmp_path / "s"), "no task has two prompts")
    assert not (tmp_path / "s").exists()


def test_a_window_beyond_the_recorded_one_is_said(evictlab, work, tmp_path):
    done = evictlab("analyze", work.trace, "--window", 100, "--out", tmp_path / "a")
    assert done.code == 0, done.err
    line, = (one for one in done.err.splitlines() if one.startswith("note: "))
    assert "recorded its last 32 queries" in line and "not over the 100 of --window" in line
