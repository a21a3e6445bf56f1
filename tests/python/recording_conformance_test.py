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
from random_models import OTHERS, random_model, tokens, worst  # noqa: E402

CHECKPOINTS = ROOT / "tests" / "data" / "checkpoints"
# What both can load; lengths that their positions allow, of linear and dynamic ones beyond max_position_embeddings (40).
LENGTHS = {
    "gqa-f32": 150,
    "llama-dynamic-f16": 90,
    "llama-linear-bf16": 150,
    "llama3-rope-tied-f16-sharded": 150,
    "mha-biases-bf16": 150,
    "mistral-default-f16": 150,
    "qwen2-gqa-tied-bf16": 150,
    "qwen2-yarn-bf16": 150,
    "qwen3-dynamic-f32": 90,
}

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


def test_residual_norms_are_of_the_hidden_states_where_the_attention_output_is_added_to_them(tmp_path):
    prompt, answer = tokens(60), tokens(6, 1)
    for name, added in (("Mixtral", True), ("Phi3", True), ("Gemma2", False), ("Gemma3Text", False)):
        model = random_model(name)
        recording.record(model, None, [{"tokens": prompt, "answer_tokens": answer}], tmp_path / f"{name}.h5", window=16, tier="full",
                         dtype="float32", progress=False)
        trace = evictlab.Trace(tmp_path / f"{name}.h5")
        assert evictlab.verify(trace.path) == []
        assert ("residual_norms" in trace.prompts[0].arrays) == added, name
        if not added:
            continue
        with torch.no_grad():
            states = model(torch.tensor([prompt + answer]), output_hidden_states=True).hidden_states
        for layer in trace.prompts[0].layers:
            expected = states[layer][0, len(prompt) :].float().norm(dim=-1).numpy()
            assert worst(trace.array(0, layer, "residual_norms")[0], expected) <= 1e-4


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
    refused("4 positions; the full tier needs more than 4", model, None, [tokens(4)], tier="full")
    refused("has 256", model, None, [tokens(300)])
    refused("token 500, the model has 0..95", model, None, [[500] * 80])
    refused("there is no tokenizer", model, None, ["text"])
    refused("no span \"context\"", model, None, [tokens(80)], evict_at="context")
    refused("tier 'half'", model, None, [tokens(80)], tier="half")
    refused("same id", model, None, [{"id": "a", "tokens": tokens(80)}, {"id": "a", "tokens": tokens(80)}])
    gpt = transformers.BloomForCausalLM(transformers.BloomConfig(vocab_size=96, hidden_size=16, n_layer=2, n_head=2))
    refused("BloomForCausalLM: its attention does not go through", gpt, None, [tokens(80)])


def test_the_full_tier_is_recorded_or_refused_for_its_reason(tmp_path):
    def record(name):
        recording.record(random_model(name), None, [{"tokens": tokens(60), "answer_tokens": tokens(4, 1)}], tmp_path / f"{name}.h5",
                         window=16, tier="full", progress=False)
        return evictlab.Trace(tmp_path / f"{name}.h5")

    exaone = record("Exaone4")
    assert exaone.model["sliding_windows"] == [24, 24, 24, 0]
    assert exaone.model["position_encoding"] == "rope(theta=10000,type=default,in some layers)"
    with pytest.raises(evictlab.Error, match="DiffLlamaForCausalLM: its layers attend several times .* only the summary tier"):
        record("DiffLlama")
    with pytest.raises(evictlab.Error, match="its keys have 24 dimensions and its values 12; .* only the summary tier"):
        record("DeepseekV3")


def test_scaled_rope_lengthens_what_both_recorders_read(tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    for checkpoint, most in (("llama-linear-bf16", 160), ("llama-dynamic-f16", 120), ("qwen2-yarn-bf16", 160)):
        model = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINTS / checkpoint, dtype=torch.float32)
        for length, records in ((most - 7, True), (most - 6, False)):
            prompt = {"id": "p", "tokens": tokens(length), "answer_tokens": tokens(7, 1)}
            prompts.write_text(json.dumps(prompt) + "\n")
            done = subprocess.run([PROGRAM, "record", "--model", CHECKPOINTS / checkpoint, "--prompts", prompts, "--force", "--out", tmp_path / "ours.h5"])
            assert (done.returncode == 0) == records, checkpoint
            if records:
                recording.record(model, None, [prompt], tmp_path / "theirs.h5", force=True, progress=False)
            else:
                with pytest.raises(evictlab.Error, match=f"the model has {most}"):
                    recording.record(model, None, [prompt], tmp_path / "theirs.h5", force=True, progress=False)


def test_under_dynamic_rope_a_prompt_does_not_depend_on_longer_ones_before_it(tmp_path):
    model = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINTS / "llama-dynamic-f16", dtype=torch.float32)
    prompts = [{"id": "long", "tokens": tokens(100), "answer_tokens": [5, 6]}, {"id": "p", "tokens": tokens(60, 3), "answer_tokens": [7, 8]}]
    recording.record(model, None, prompts, tmp_path / "both.h5", progress=False)
    recording.record(model, None, prompts[1:], tmp_path / "alone.h5", progress=False)
    both, alone = evictlab.Trace(tmp_path / "both.h5"), evictlab.Trace(tmp_path / "alone.h5")
    for name in alone.prompts[0].arrays:
        assert worst(both.array("p", 1, name), alone.array("p", 1, name)) <= 1e-5, name


def test_of_a_prompt_shorter_than_the_window_all_queries_are_recorded(tmp_path):
    model = random_model("Mixtral")
    prompts = [{"id": "short", "tokens": tokens(9)}, {"id": "long", "tokens": tokens(80)}]
    for tier in ("summary", "full"):
        recording.record(model, None, prompts, tmp_path / f"{tier}.h5", future=2, tier=tier, progress=False)
        trace = evictlab.Trace(tmp_path / f"{tier}.h5")
        assert evictlab.verify(trace.path) == []
        assert [prompt.window for prompt in trace] == [9, 64]
    rows = evictlab.replay(trace, ["snapkv(window=16)", "random"], 24).replay
    status = rows[(rows["policy"] == "snapkv") & (rows["layer"] == "all")].set_index("prompt")["status"]
    assert dict(status) == {"short": "too-short", "long": "ok"}


def test_attention_that_is_not_finite_is_refused_and_finished_prompts_stay(tmp_path):
    model = random_model("Mixtral")
    prompts = [{"id": "good", "tokens": tokens(80)}, {"id": "bad", "tokens": [95] * 80}]
    with torch.no_grad():
        model.get_input_embeddings().weight[95] = float("nan")
    with pytest.raises(evictlab.Error, match="prompt 'bad', layer 0: attention that is not finite"):
        recording.record(model, None, prompts, tmp_path / "t.h5", future=2, progress=False)
    # An unfinished recording looks unfinished, and the next one to the same place resumes it.
    assert not (tmp_path / "t.h5").exists()
    assert [prompt.id for prompt in evictlab.Trace(tmp_path / "t.h5.parts")] == ["good"]
    read = []
    hook = model.register_forward_pre_hook(lambda module, given, options: read.append(options["input_ids"].shape[1]), with_kwargs=True)
    recording.record(model, None, [prompts[0], {"id": "other", "tokens": tokens(80, 4)}], tmp_path / "t.h5", future=2, progress=False)
    hook.remove()
    assert [prompt.id for prompt in evictlab.Trace(tmp_path / "t.h5")] == ["good", "other"]
    assert read.count(80) == 1, "and reads again only what is missing"
    with pytest.raises(evictlab.Error, match="prompt 'good'"):
        recording.record(model, None, [{"id": "good", "tokens": tokens(80, 7)}], tmp_path / "t.h5", future=2, append=True, progress=False)


def test_a_recording_over_the_models_own_files_is_refused(tmp_path):
    random_model("Phi3").save_pretrained(tmp_path / "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    before = weights.read_bytes()
    with pytest.raises(evictlab.Error, match="that is read here"):
        recording.record(model, None, [tokens(80)], weights, force=True, progress=False)
    assert weights.read_bytes() == before
