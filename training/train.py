"""Trains a model of models/: curriculum, optimisers, checkpoints and the log its learning curve is drawn from.

Everything random follows from the seed, the step and the shard, so a run can be stopped and continued at any
checkpoint, and the number of processes does not change what is read.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import random
import time

import torch
import torch.distributed
import torch.multiprocessing
import torch.nn.functional as functional
from evaluate import accuracy_table, score_prompts
from model import Model, ModelConfig
from prompts import make_prompts
from tasks import ANSWER, FILLER, Source, row
from text import Corpus, Encoder, Words

SHARDS = 2  # parts of a step's batch; a process works through one or both
SHARD_TOKENS = 4096
CHECKPOINT_SECONDS = 600
MUON_RATE, ADAM_RATE = 0.02, 3e-3

CONFIGS = {
    "demo": ModelConfig("LlamaForCausalLM", 8, 256, 8, 4, 32, 512, tie_word_embeddings=False),
    "demo-qwen2": ModelConfig("Qwen2ForCausalLM", 6, 192, 6, 2, 32, 384, tie_word_embeddings=True),
}


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of the curriculum; the rates go linearly from the first to the last factor."""

    steps: int
    lengths: dict[int, float]  # sequence length -> share of the steps
    tasks: dict[str, float]  # task -> share of the sequences
    filler: float  # weight of the filler text in the loss
    rate: tuple[float, float] = (1.0, 1.0)


# Recall emerges from dense, short sequences; counting and rules need a phase of their own; each length must be trained.
RECALL = {
    "needle": 2, "multi-needle": 2, "kv": 2, "map": 1, "associations": 3, "copy": 0.5, "echo": 1, "text": 0.2
}  # fmt: skip
PATTERNS = {
    "needle": 1, "multi-needle": 1.5, "kv": 1, "map": 0.5, "rule": 2, "count": 4, "frequent": 1.5, "copy": 1,
    "associations": 0.5, "echo": 0.5, "text": 0.3,
}  # fmt: skip
MIXED = {
    "needle": 2, "multi-needle": 2.5, "kv": 2, "map": 0.7, "rule": 1, "count": 2, "frequent": 1.2, "copy": 1.5,
    "associations": 0.3, "echo": 0.3, "text": 0.8,
}  # fmt: skip
COUNTING = {"count": 8, "frequent": 1, "needle": 1, "multi-needle": 1, "kv": 1, "rule": 2, "copy": 1}

CURRICULA = {
    "demo": [
        Phase(400, {64: 1}, RECALL, 0.1),
        Phase(300, {128: 1}, RECALL | {"rule": 1, "count": 1}, 0.1),
        Phase(700, {128: 1, 256: 1}, PATTERNS, 0.1),
        Phase(236, {256: 1, 512: 1.5}, MIXED, 0.2, (0.9, 0.85575)),
        Phase(500, {128: 1, 256: 0.7}, COUNTING, 0.1, (0.85, 0.85)),
        Phase(600, {256: 1, 512: 1.5}, MIXED, 0.2, (0.85, 0.75)),
        Phase(1400, {256: 0.5, 512: 1, 1024: 1.5}, MIXED, 0.3, (0.75, 0.45)),
        Phase(1700, {512: 0.7, 1024: 1, 2304: 1.3}, MIXED, 0.4, (0.45, 0.02)),
    ],
    "demo-qwen2": [
        Phase(400, {64: 1}, RECALL, 0.1),
        Phase(200, {128: 1}, RECALL | {"rule": 1, "count": 1}, 0.1),
        Phase(400, {128: 1, 256: 1}, PATTERNS, 0.1),
        Phase(300, {256: 1, 512: 1.5}, MIXED, 0.2, (0.9, 0.75)),
        Phase(500, {256: 0.5, 512: 1, 1024: 1.5}, MIXED, 0.3, (0.75, 0.45)),
        Phase(600, {512: 0.7, 1024: 1, 2304: 1.3}, MIXED, 0.4, (0.45, 0.02)),
    ],
}


def source(arguments, encode, words, corpus, step: int, shard: int) -> Source:
    return Source(random.Random(f"{arguments.seed}/{step}/{shard}"), encode, corpus, words, test=False)


def phase_at(curriculum: list[Phase], step: int) -> tuple[Phase, float]:
    """The phase of a step and how far through it the step is, 0..1."""
    for phase in curriculum:
        if step < phase.steps:
            return phase, step / phase.steps
        step -= phase.steps
    raise IndexError(step)


def batch(phase: Phase, step: int, draw: Source, seed: int) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """Tasks [B], token ids and kinds [B, T] of one shard; all shards of a step have the same length."""
    length = random.Random(f"{seed}/{step}").choices(list(phase.lengths), list(phase.lengths.values()))[0]
    names = draw.random.choices(list(phase.tasks), list(phase.tasks.values()), k=max(2, SHARD_TOKENS // length))
    rows = [row(draw, name, length) for name in names]
    return names, torch.tensor([ids for ids, _ in rows]), torch.tensor([kinds for _, kinds in rows])


def loss_of(model: Model, ids: torch.Tensor, kinds: torch.Tensor, filler: float) -> tuple[torch.Tensor, list[float]]:
    """Cross-entropy on answers plus `filler` times that on filler text, and each sequence's share of right answers.

    A sequence with n answer tokens counts sqrt(n): one count of five digits is not drowned by a list of forty values.
    """
    with torch.autocast(ids.device.type, torch.bfloat16):
        logits = model.logits(model(ids[:, :-1]))
    losses = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view_as(ids[:, 1:])
    answers, text = (kinds[:, 1:] == ANSWER).float(), (kinds[:, 1:] == FILLER).float()
    asked = answers.sum(1, keepdim=True)
    right = ((logits.argmax(-1) == ids[:, 1:]) * answers).sum(1) / asked[:, 0]  # nan where nothing is asked
    answers = answers * asked.clamp(min=1).rsqrt()
    loss = (losses * answers).sum() / answers.sum().clamp(min=1)
    return loss + filler * (losses * text).sum() / text.sum().clamp(min=1), right.tolist()


def optimizers(model: Model) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices of the layers, AdamW for embeddings, head, norms and biases."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and ".layers." in name]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or ".layers." not in name]
    vectors = [p for p in others if p.dim() == 1]
    tables = [p for p in others if p.dim() == 2]
    muon = torch.optim.Muon(
        matrices, lr=MUON_RATE, momentum=0.95, nesterov=True, weight_decay=0.05, adjust_lr_fn="original"
    )
    groups = [{"params": tables, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    return [muon, torch.optim.AdamW(groups, lr=ADAM_RATE, betas=(0.9, 0.98))]


class Averages:
    """Means by name of what was added since they were last taken; nan is left out."""

    def __init__(self):
        self.values: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        if not math.isnan(value):
            self.values.setdefault(name, []).append(value)

    def take(self) -> dict[str, float]:
        means = {name: round(sum(values) / len(values), 4) for name, values in sorted(self.values.items())}
        self.values.clear()
        return means


class Run:
    """One training run in its folder: checkpoint.pt, log.jsonl."""

    def __init__(self, arguments, rank: int, processes: int):
        self.arguments, self.rank, self.processes = arguments, rank, processes
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.encode = Encoder(arguments.tokenizer)
        self.words = Words(arguments.corpus, self.encode, held_out=False)
        self.corpus = Corpus(arguments.corpus, held_out=False)
        torch.manual_seed(arguments.seed)
        self.model = Model(CONFIGS[arguments.model]).to(self.device)
        self.parameters = list(self.model.parameters())
        for layer in self.model.model.layers:
            layer.before_attention = torch.compile(layer.before_attention, dynamic=False)
            layer.after_attention = torch.compile(layer.after_attention, dynamic=False)
        self.optimizers = optimizers(self.model)
        self.curriculum = CURRICULA[arguments.model]
        self.steps = sum(phase.steps for phase in self.curriculum)
        self.step, self.seconds, self.tokens = 0, 0.0, 0
        self.checkpoint = arguments.out / "checkpoint.pt"
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, map_location=self.device)
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.step, self.seconds, self.tokens = state["step"], state["seconds"], state["tokens"]
            if rank == 0:
                self.forget_what_will_be_done_again()

    def forget_what_will_be_done_again(self) -> None:
        log = self.arguments.out / "log.jsonl"
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        log.write_text("".join(line for line in lines if json.loads(line)["step"] <= self.step))

    def save(self) -> None:
        if self.rank != 0:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "tokens": self.tokens,
        }
        torch.save(state, self.checkpoint.with_suffix(".tmp"))
        os.replace(self.checkpoint.with_suffix(".tmp"), self.checkpoint)

    def log(self, **entry) -> None:
        if self.rank == 0:
            line = {"step": self.step, "tokens": self.tokens, "seconds": round(self.seconds, 1), **entry}
            with open(self.arguments.out / "log.jsonl", "a") as file:
                file.write(json.dumps(line) + "\n")

    def evaluate(self, length: int, count: int = 16) -> None:
        prompts = make_prompts(self.arguments.corpus, self.encode, [length], count, seed="validation")
        with torch.compiler.set_stance("force_eager"):  # every prompt has a length of its own
            table = accuracy_table(score_prompts(self.model, self.encode, prompts[self.rank :: self.processes]))
        gathered = [table]
        if self.processes > 1:
            gathered = [None] * self.processes
            torch.distributed.all_gather_object(gathered, table)
        exact = {task: sum(part[task][length].exact for part in gathered) / self.processes for task in table}
        self.log(length=length, exact=exact)

    def train(self) -> None:
        saved = logged = started = time.monotonic()
        recent = Averages()
        while self.step < self.steps:
            phase, progress = phase_at(self.curriculum, self.step)
            first, last = phase.rate
            rate = (first + (last - first) * progress) * min(1.0, (self.step + 1) / 40)
            for optimizer, base in zip(self.optimizers, (MUON_RATE, ADAM_RATE), strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = rate * base
            for shard in range(self.rank, SHARDS, self.processes):
                draw = source(self.arguments, self.encode, self.words, self.corpus, self.step, shard)
                names, ids, kinds = batch(phase, self.step, draw, self.arguments.seed)
                loss, right = loss_of(self.model, ids.to(self.device), kinds.to(self.device), phase.filler)
                (loss / SHARDS).backward()
                recent.add("loss", loss.item())
                for name, share in zip(names, right, strict=True):
                    recent.add(name, share)
            self.share_gradients()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            self.step += 1
            self.tokens += SHARDS * ids.numel()
            now = time.monotonic()
            self.seconds += now - started
            started = now
            if self.step % 50 == 0:
                self.log(rate=round(rate, 4), train=recent.take())
            if (self.step % 300 == 0 and max(phase.lengths) >= 256) or self.step == self.steps:
                self.evaluate(min(1024, max(phase.lengths)))
            if time.monotonic() - saved > CHECKPOINT_SECONDS or self.step == self.steps:
                saved = time.monotonic()
                self.save()
                self.model.export(self.arguments.out, self.encode)

    def share_gradients(self) -> None:
        if self.processes == 1:
            return
        flat = torch.cat([parameter.grad.flatten() for parameter in self.parameters])
        torch.distributed.all_reduce(flat)
        offset = 0
        for parameter in self.parameters:
            parameter.grad.copy_(flat[offset : offset + parameter.numel()].view_as(parameter))
            offset += parameter.numel()


def run(rank: int, arguments, processes: int) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    if processes > 1:
        address = f"file://{arguments.out.resolve()}/rendezvous"
        torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=processes)
    Run(arguments, rank, processes).train()
    if processes > 1:
        torch.distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=CONFIGS, required=True)
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True, help="folder of tokenizer.json")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the run; continued if there is one")
    parser.add_argument("--seed", type=int, default=0)
    processes = 1 if torch.cuda.is_available() else SHARDS
    parser.add_argument("--processes", type=int, choices=(1, SHARDS), default=processes)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "rendezvous").unlink(missing_ok=True)
    # Large buffers are reused instead of being given back and faulted in again: twice as fast.
    os.environ["MALLOC_TOP_PAD_"] = str(1 << 28)
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(1 << 32)
    os.environ["MALLOC_TRIM_THRESHOLD_"] = str(1 << 33)
    if arguments.processes == 1:
        run(0, arguments, 1)
    else:
        torch.multiprocessing.spawn(run, (arguments, arguments.processes), nprocs=arguments.processes)


if __name__ == "__main__":
    main()
