"""A trace is read by stock HDF5 alone: h5py finds the documented layout and the numbers mean what it says."""

import pytest

h5py = pytest.importorskip("h5py")
np = pytest.importorskip("numpy")

H, G, D, N, T, W, LAYERS = 6, 2, 10, 70, 7, 9, 3


@pytest.fixture(scope="module")
def trace(tmp_path_factory, evictlab):
    path = tmp_path_factory.mktemp("trace") / "synthetic.h5"
    done = evictlab("synth", "--out", path, "--seed", 3, "--prompts", 2, "--layers", LAYERS, "--query-heads", H,
                    "--kv-heads", G, "--head-dim", D, "--length", N, "--future", T, "--window", W, "--tier", "full")
    assert done.code == 0, done.err
    with h5py.File(path, "r") as file:
        yield file


def test_the_root_says_what_the_file_is(trace):
    assert trace.attrs["format"] == "evictlab-trace"
    assert trace.attrs["format_version"] == 2
    assert trace.attrs["writer"].startswith("evictlab ")
    assert "synth" in trace.attrs["command"]


def test_the_model_is_described(trace):
    model = trace.attrs
    assert (model["layers"], model["query_heads"], model["kv_heads"], model["head_dim"]) == (LAYERS, H, G, D)
    assert list(model["sliding_windows"]) == [0] * LAYERS
    assert model["attention_scale"] > 0
    assert isinstance(model["fingerprint"], str)


def test_prompts_have_an_order_and_sizes(trace):
    prompts = sorted(trace["prompts"].values(), key=lambda prompt: prompt.attrs["index"])
    assert [prompt.attrs["index"] for prompt in prompts] == [0, 1]
    for prompt in prompts:
        assert prompt.name == "/prompts/" + prompt.attrs["id"]
        assert (prompt.attrs["prompt_length"], prompt.attrs["future_length"], prompt.attrs["window"]) == (N, T, W)
        assert prompt.attrs["tier"] == "full" and prompt.attrs["complete"] == 1
        assert list(prompt.attrs["layers"]) == list(range(LAYERS))
        assert prompt["tokens"].shape == (N + T,) and prompt["tokens"].dtype == np.int32
        assert prompt["spans"].dtype.names == ("name", "begin", "end")


def test_datasets_have_the_documented_shapes_and_types(trace):
    expected = {
        "window_attention": ((H, W, N), np.float16),
        "attention_mass": ((H, N), np.float32),
        "future_mass": ((H, N + T), np.float32),
        "output_norms": ((H, N + T), np.float32),
        "queries": ((H, W + T, D), np.float32),
        "keys": ((G, N + T, D), np.float32),
        "values": ((G, N + T, D), np.float32),
        "query_mean": ((H, D), np.float32),
        "query_covariance": ((H, D, D), np.float32),
    }
    for prompt in trace["prompts"].values():
        for layer in prompt["layers"].values():
            assert set(layer) == set(expected)
            for name, (shape, dtype) in expected.items():
                assert (layer[name].shape, layer[name].dtype) == (shape, dtype), name
                assert len(layer[name].attrs["axes"].split(", ")) == len(shape)
                assert layer[name].attrs["unit"]
                assert layer[name].attrs["hash"].startswith("xxh3-128:")
    for layer in range(LAYERS):
        assert trace[f"model/output_weight/{layer}"].shape == (H * D, trace.attrs["hidden_size"])


def test_window_attention_is_what_queries_and_keys_give(trace):
    """The axes are in the order that is said: softmax(q k^T * scale) of the recorded rows, computed here."""
    scale = trace.attrs["attention_scale"]
    for prompt in trace["prompts"].values():
        for layer in prompt["layers"].values():
            stored = layer["window_attention"]
            window = stored[()].astype(np.float64) / stored.attrs["scale"]
            queries, keys = (layer[name][()].astype(np.float64) for name in ("queries", "keys"))
            for head in range(H):
                for row in range(W):
                    position = N - W + row
                    logits = keys[head // (H // G), : position + 1] @ queries[head, row] * scale
                    weights = np.exp(logits - logits.max())
                    np.testing.assert_allclose(window[head, row, : position + 1], weights / weights.sum(), atol=5e-4)
                    assert not window[head, row, position + 1 :].any()


def test_masses_and_norms_are_sums_over_the_axes_that_are_said(trace):
    for prompt in trace["prompts"].values():
        for number, layer in prompt["layers"].items():
            np.testing.assert_allclose(layer["attention_mass"][()].sum(axis=1), N, rtol=1e-4)
            np.testing.assert_allclose(layer["future_mass"][()].sum(axis=1), T, rtol=1e-4)
            weight = trace[f"model/output_weight/{number}"][()].reshape(H, D, -1).astype(np.float64)
            values = layer["values"][()].astype(np.float64)
            for head in range(H):
                norms = np.abs(values[head // (H // G)] @ weight[head]).sum(axis=1)
                np.testing.assert_allclose(layer["output_norms"][head], norms, rtol=1e-4)


def test_spans_are_named_ranges(trace):
    for prompt in trace["prompts"].values():
        spans = {name.decode(): (begin, end) for name, begin, end in prompt["spans"][()]}
        assert {"context", "needle", "question"} <= set(spans)
        assert all(0 <= begin <= end <= N + T for begin, end in spans.values())


def test_a_flipped_bit_found_by_verify(trace, tmp_path, evictlab):
    copy = tmp_path / "copy.h5"
    with open(trace.filename, "rb") as file:
        damaged = bytearray(file.read())
    damaged[trace["prompts"][list(trace["prompts"])[0]]["layers/1/keys"].id.get_offset() + 5] ^= 1
    copy.write_bytes(damaged)
    assert evictlab("verify", trace.filename).code == 0
    done = evictlab("verify", copy)
    assert done.code == 2 and done.err.count("\n") == 1 and "layers/1/keys: damaged" in done.err


def test_a_trace_that_somebody_compressed_reads_the_same(small_trace, tmp_path, evictlab):
    # Compressed arrays cannot be used in the mapped file: they are read.
    copy = tmp_path / "copy.h5"
    copy.write_bytes(small_trace.read_bytes())
    compressed = 0
    with h5py.File(copy, "r+") as file:
        arrays = []
        file.visititems(lambda name, item: arrays.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in arrays:
            item = file[name]
            if item.ndim < 2:
                continue
            elements, texts = item[()], dict(item.attrs)
            del file[name]
            file.create_dataset(name, data=elements, compression="gzip", shuffle=True).attrs.update(texts)
            compressed += 1
    assert compressed == 2 + 2 * 2 * 9  # output weights, and two prompts of two layers of nine fields
    done = evictlab("verify", copy)
    assert done.code == 0, done.err
    for trace in (small_trace, copy):
        done = evictlab("replay", trace, "--policy", "snapkv,keydiff,oracle", "--budget", 64, "--out",
                        tmp_path / trace.stem / "replay.csv")
        assert done.code == 0, done.err
    assert (tmp_path / "small/replay.csv").read_bytes() == (tmp_path / "copy/replay.csv").read_bytes()
