"""Traces recorded through transformers: the same as our runtime's where both know the architecture, and what
output_attentions gives where transformers alone does."""

import json
import pathlib
import subprocess

import numpy
import pytest

pytestmark = pytest.mark.full
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
evictlab = pytest.importorskip("evictlab")
recording = pytest.importorskip("evictlab.transformers")

from conftest import PROGRAM, ROOT  # noqa: E402

CHECKPOINTS = ROOT / "tests" / "data" / "checkpoints"
# What both can load; lengths that their positions allow.
LENGTHS = {
    "gqa-f32": 150,
    "llama-dynamic-f16": 30,
    "llama-linear-bf16": 30,
    "llama3-rope-tied-f16-sharded": 150,
    "mha-biases-bf16": 150,
    "mistral-default-f16": 150,
    "qwen2-gqa-tied-bf16": 150,
    "qwen2-yarn-bf16": 150,
    "qwen3-dynamic-f32": 30,
}
COMMON = {"vocab_size": 96, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
          "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
OTHERS = {
    "Phi3": {},
    "Gemma2": {"head_dim": 12, "sliding_window": 24, "attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 12},
    "Gemma3Text": {"head_dim": 12, "sliding_window": 24, "layer_types": ["sliding_attention", "full_attention"]},
    "Mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "Qwen2Moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 40, "shared_expert_intermediate_size": 40},
}


def tokens(count, seed=0, vocabulary=90):
    return [int(token) for token in numpy.random.default_rng(seed).integers(3, vocabulary, count)]


def worst(ours, theirs):
    return float(numpy.abs(ours - theirs).max() / numpy.abs(theirs).max())


def agree(one, other, names):
    for layer in one.prompts[0].layers:
        for name in names:
            difference = worst(one.array(0, layer, name), other.array(0, layer, name))
            # Window attention is stored in halves, and what lies between two of them can go either way: half a unit more.
            assert difference <= (1e-4 + 2**-11 if name == "window_attention" else 1e-4), (name, layer, difference)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("checkpoint", LENGTHS)
def test_both_recorders_agree(tmp_path, checkpoint, implementation):
    directory = CHECKPOINTS / checkpoint
    model = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation=implementation)
    prompt = {"id": "p", "tokens": tokens(LENGTHS[checkpoint]), "answer_tokens": tokens(7, 1)}
    (tmp_path / "prompts.jsonl").write_text(json.dumps(prompt) + "\n")
    subprocess.run([PROGRAM, "record", "--model", directory, "--prompts", tmp_path / "prompts.jsonl", "--tier", "full",
                    "--dtype", "float32", "--window", "16", "--out", tmp_path / "ours.h5"], check=True)
    recording.record(model, None, [prompt], tmp_path / "theirs.h5", tier="full", dtype="float32", window=16, progress=False)
    ours, theirs = evictlab.Trace(tmp_path / "ours.h5"), evictlab.Trace(tmp_path / "theirs.h5")
    assert evictlab.verify(theirs.path) == []
    agree(ours, theirs, ours.prompts[0].arrays)
    for name in ("layers", "query_heads", "kv_heads", "head_dim", "hidden_size", "sliding_windows"):
        assert ours.model[name] == theirs.model[name]
    assert ours.prompts[0].future_length == theirs.prompts[0].future_length == 7


def test_text_answers_and_generated_futures_of_the_shipped_model_agree(tmp_path):
    directory = ROOT / "models" / "demo"
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    prompts = [json.loads((directory / "prompts" / f"{task}-512.jsonl").read_text().splitlines()[0]) for task in ("kv", "map")]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    for name, options, more in (("answers", {}, []), ("generated", {"future": 9}, ["--future", "9"]),
                                ("context", {"evict_at": "context"}, ["--evict-at", "context"])):
        subprocess.run([PROGRAM, "record", "--model", directory, "--prompts", tmp_path / "prompts.jsonl", *more, "--out",
                        tmp_path / f"{name}-ours.h5"], check=True)
        recording.record(model, tokenizer, prompts, tmp_path / f"{name}-theirs.h5", progress=False, **options)
        ours, theirs = evictlab.Trace(tmp_path / f"{name}-ours.h5"), evictlab.Trace(tmp_path / f"{name}-theirs.h5")
        for one, other in zip(ours.prompts, theirs.prompts, strict=True):
            assert (one.id, one.prompt_length, one.future_length, one.task) == (other.id, other.prompt_length, other.future_length, other.task)
            assert list(ours.tokens(one.id)) == list(theirs.tokens(one.id))
            assert set(other.spans) <= set(one.spans) and {"context", "needle"} <= {span[0] for span in other.spans} | {"needle"}
        agree(ours, theirs, ours.prompts[0].arrays)


def random_model(name, implementation="eager"):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**COMMON, **OTHERS[name]})
    config._attn_implementation = implementation
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_recorded_is_what_output_attentions_gives(tmp_path, name):
    model = random_model(name)
    prompt, answer = tokens(100), tokens(6, 1)
    recording.record(model, None, [{"tokens": prompt, "answer_tokens": answer}], tmp_path / "t.h5", window=16, progress=False)
    with torch.no_grad():
        attentions = model(torch.tensor([prompt + answer]), output_attentions=True).attentions
    trace = evictlab.Trace(tmp_path / "t.h5")
    assert evictlab.verify(trace.path) == []
    for layer, full in enumerate(attentions):
        full = full[0].float().numpy()  # [H, n+T, n+T]
        n = len(prompt)
        assert numpy.abs(trace.array(0, layer, "window_attention") - full[:, n - 16 : n, :n]).max() <= 2**-11
        assert worst(trace.array(0, layer, "attention_mass"), full[:, :n, :n].sum(1)) <= 1e-4
        assert worst(trace.array(0, layer, "future_mass"), full[:, n:].sum(1)) <= 1e-4


def test_a_padded_batch_becomes_its_prompts(tmp_path):
    model = random_model("Mixtral", "sdpa")
    model.generation_config.eos_token_id = None
    prompts = [tokens(40, 1), tokens(60, 2), tokens(33, 3)]
    padded = torch.tensor([[0] * (60 - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (60 - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    with recording.Recorder(model, tmp_path / "batch.h5", ids=["a", "b", "c"], window=16, tier="full", dtype="float32"):
        written = model.generate(input_ids=padded, attention_mask=mask, max_new_tokens=6, do_sample=False)
    batch = evictlab.Trace(tmp_path / "batch.h5")
    assert evictlab.verify(batch.path) == []
    for item, prompt in enumerate(prompts):
        # The last token written was not read.
        future = written[item, 60:-1].tolist()
        recording.record(model, None, [{"id": "x", "tokens": prompt, "answer_tokens": future}], tmp_path / "one.h5", window=16,
                         tier="full", dtype="float32", force=True, progress=False)
        one = evictlab.Trace(tmp_path / "one.h5")
        assert list(batch.tokens(item)) == prompt + future
        for layer in (0, 1):
            for name in one.prompts[0].arrays:
                assert worst(batch.array(item, layer, name), one.array(0, layer, name)) <= 2e-3, name


def test_the_model_is_as_it_was_afterwards(tmp_path):
    model = random_model("Phi3", "sdpa")
    ids = torch.tensor([tokens(50)])
    with torch.no_grad():
        before = model(ids).logits
    recording.record(model, None, [tokens(50)], tmp_path / "t.h5", window=16, future=3, tier="full", progress=False)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, before)
    assert not model._forward_pre_hooks


def test_what_cannot_be_recorded_is_refused_in_one_sentence(tmp_path):
    model = random_model("Mixtral")
    def refused(match, *arguments, **options):
        with pytest.raises(evictlab.Error, match=match) as error:
            recording.record(*arguments, tmp_path / "t.h5", progress=False, **options)
        assert "\n" not in str(error.value)
        assert list(tmp_path.glob("t.h5")) == []
    refused("fewer than the observation window of 64", model, None, [tokens(40)])
    refused("has 256", model, None, [tokens(300)])
    refused("token 500, the model has 0..95", model, None, [[500] * 80])
    refused("there is no tokenizer", model, None, ["text"])
    refused("no span \"context\"", model, None, [tokens(80)], evict_at="context")
    refused("tier 'half'", model, None, [tokens(80)], tier="half")
    refused("same id", model, None, [{"id": "a", "tokens": tokens(80)}, {"id": "a", "tokens": tokens(80)}])
    gpt = transformers.BloomForCausalLM(transformers.BloomConfig(vocab_size=96, hidden_size=16, n_layer=2, n_head=2))
    refused("BloomForCausalLM: its attention does not go through", gpt, None, [tokens(80)])


def test_attention_that_is_not_finite_is_refused_and_finished_prompts_stay(tmp_path):
    model = random_model("Mixtral")
    prompts = [{"id": "good", "tokens": tokens(80)}, {"id": "bad", "tokens": [95] * 80}]
    with torch.no_grad():
        model.get_input_embeddings().weight[95] = float("nan")
    with pytest.raises(evictlab.Error, match="prompt 'bad', layer 0: attention that is not finite"):
        recording.record(model, None, prompts, tmp_path / "t.h5", future=2, progress=False)
    assert [prompt.id for prompt in evictlab.Trace(tmp_path / "t.h5")] == ["good"]
    recording.record(model, None, [prompts[0], {"id": "other", "tokens": tokens(80, 4)}], tmp_path / "t.h5", future=2,
                     append=True, progress=False)
    assert [prompt.id for prompt in evictlab.Trace(tmp_path / "t.h5")] == ["good", "other"]
