"""Our variants keep what kvpress keeps on a live model; its scores are judged here, our budgets run there."""

import numpy
import pytest

pytestmark = pytest.mark.full
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
kvpress = pytest.importorskip("kvpress")
evictlab = pytest.importorskip("evictlab")
recording = pytest.importorskip("evictlab.transformers")
bridge = pytest.importorskip("evictlab.kvpress")

LENGTH, KEPT = 256, 128


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=8,
                                      num_key_value_heads=4, max_position_embeddings=512, attn_implementation="sdpa")
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():  # attention that differs between positions
        for layer in model.model.layers:
            layer.self_attn.q_proj.weight *= 20
            layer.self_attn.k_proj.weight *= 20
    return model


@pytest.fixture(scope="module")
def trace(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("kvpress") / "t.h5"
    generator = numpy.random.default_rng(1)
    prompts = [{"id": f"p{i}", "tokens": generator.integers(3, 96, LENGTH).tolist(), "answer_tokens": [5, 6, 7]} for i in range(3)]
    recording.record(model, None, prompts, path, tier="full", dtype="float32", progress=False)
    return evictlab.Trace(path)


class Watching:
    """What a press leaves of each layer and head, as sets of positions."""

    def __init__(self, press):
        self.press, self.kept = press, {}
        compress = press.compress

        def watched(module, hidden_states, keys, values, attentions, kwargs):
            module.masked_key_indices = None
            left, other = compress(module, hidden_states, keys, values, attentions, kwargs)
            dropped = module.masked_key_indices
            sets = []
            for head in range(keys.shape[1]):
                if dropped is not None:
                    gone = dropped[2][dropped[1] == head].tolist()
                    sets.append(set(range(keys.shape[2])) - set(gone))
                else:
                    same = (left[0, head][:, None] == keys[0, head][None]).all(-1)
                    assert (same.sum(1) == 1).all(), "keys are unlike one another"
                    sets.append(set(same.float().argmax(1).tolist()))
            self.kept[module.layer_idx] = sets
            return left, other

        press.compress = watched


PRESSES = {
    "snapkv": lambda ratio: kvpress.SnapKVPress(compression_ratio=ratio),
    "ada-snapkv": lambda ratio: kvpress.AdaKVPress(kvpress.SnapKVPress(compression_ratio=ratio)),
    "pyramidkv": lambda ratio: kvpress.PyramidKVPress(compression_ratio=ratio),
}


@pytest.mark.parametrize("policy", PRESSES)
def test_the_kvpress_variant_keeps_what_kvpress_keeps(model, trace, policy):
    """Position for position, but where two scores lie so close that the halves of recorded attention cannot tell them apart."""
    ours = evictlab.kept(trace, policy, KEPT, variant="kvpress")
    sets = alike = 0
    for place, prompt in enumerate(trace):
        press = PRESSES[policy](1 - KEPT / LENGTH)
        watching = Watching(press)
        scored = bridge._Collecting(kvpress.SnapKVPress())
        ids = torch.tensor(trace.tokens(place)[None, :LENGTH].astype("int64"))
        with torch.no_grad():
            with scored(model):
                model(input_ids=ids, use_cache=True)
            with press(model):
                model(input_ids=ids, use_cache=True)
        for layer, kept in enumerate(ours[prompt.id]):
            mine, theirs = ({(head, position) for head, one in enumerate(sets) for position in one}
                            for sets in (kept, watching.kept[layer]))
            assert len(mine) == len(theirs)
            scores = scored.scores[layer].numpy()
            for one, other in zip(sorted(mine - theirs, key=lambda at: scores[at]), sorted(theirs - mine, key=lambda at: scores[at])):
                assert abs(scores[one] - scores[other]) <= 2**-10 * scores[other], (prompt.id, layer, one, other)
            sets += 1
            alike += mine == theirs
    print(policy, alike, sets)
    assert alike >= 0.7 * sets


def test_a_presss_scores_are_judged_like_ours(model, trace):
    theirs = bridge.press_policy(model, kvpress.SnapKVPress(), trace, name="press")
    result = evictlab.replay(trace, [theirs, "oracle,random"], KEPT)
    ours = evictlab.replay(trace, "snapkv", KEPT, variant="kvpress")
    one = result.replay[result.replay["policy"] == "press"]["retained_mass"].to_numpy()
    other = ours.replay["retained_mass"].to_numpy()
    numpy.testing.assert_allclose(one, other, rtol=1e-6)
    knorm = bridge.press_policy(model, kvpress.KnormPress(), trace, allocator="adaptive")
    assert knorm.name == "KnormPress" and evictlab.replay(trace, knorm, KEPT).replay["status"].eq("ok").all()


def test_budgets_found_here_run_as_a_press(model, trace):
    advice = evictlab.advise(trace, loss=0.3, policies="ada-snapkv,pyramidkv")
    press = bridge.BudgetPress(kvpress.SnapKVPress(), advice.budgets)
    watching = Watching(press)
    ids = torch.tensor(trace.tokens(0)[None, :LENGTH].astype("int64"))
    with torch.no_grad(), press(model):
        cache = model(input_ids=ids, use_cache=True).past_key_values
        model(input_ids=torch.tensor([[7]]), past_key_values=cache)
    for (layer, head), row in advice.budgets.set_index(["layer", "head"]).iterrows():
        assert len(watching.kept[layer][head]) == min(row["positions"], LENGTH)


def test_uniform_budgets_make_the_cache_smaller(model, trace):
    import pandas

    budgets = pandas.DataFrame([{"layer": layer, "head": 0, "positions": 70 + layer} for layer in range(4)])
    press = bridge.BudgetPress(kvpress.KnormPress(), budgets)
    ids = torch.tensor(trace.tokens(0)[None, :LENGTH].astype("int64"))
    with torch.no_grad(), press(model):
        cache = model(input_ids=ids, use_cache=True).past_key_values
    assert [layer.keys.shape[2] for layer in cache.layers] == [70, 71, 72, 73]


def test_what_does_not_fit_is_refused(model, trace):
    import pandas

    with pytest.raises(evictlab.Error, match="is no ScorerPress"):
        bridge.press_policy(model, kvpress.AdaKVPress(kvpress.SnapKVPress()), trace)
    with pytest.raises(evictlab.Error, match="lack head, positions"):
        bridge.BudgetPress(kvpress.SnapKVPress(), pandas.DataFrame({"layer": [0]}))
    short = bridge.BudgetPress(kvpress.SnapKVPress(), pandas.DataFrame({"layer": [0], "head": [0], "positions": [9]}))
    with pytest.raises(evictlab.Error, match="budgets are for 1 layers"), short(model):
        pass
