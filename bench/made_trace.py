"""A summary-tier trace of one prompt, made with h5py as docs/trace-format.md has it: the heads of an 8B model, causal
rows of log-normal attention without ties, in which a few positions are liked by window and future alike."""

import h5py
import numpy as np
import xxhash

QUERY_HEADS, KV_HEADS, HEAD_DIM, LAYERS, WINDOW, FUTURE = 32, 8, 128, 2, 64, 32
SCALE = 32768.0


def texts(node, values):
    digest = xxhash.xxh3_128()
    for name, value in sorted(values.items()):
        node.attrs[name] = value
        digest.update(name.encode() + b"\0" + value.encode() + b"\0")
    node.attrs["texts_hash"] = "xxh3-128:" + digest.hexdigest()


def array(group, name, data, axes, unit):
    stored = group.create_dataset(name, data=data)
    stored.attrs["axes"], stored.attrs["unit"] = axes, unit
    stored.attrs["hash"] = "xxh3-128:" + xxhash.xxh3_128_hexdigest(np.ascontiguousarray(data).tobytes())
    return stored


def write_trace(path, length):
    random = np.random.default_rng(1)

    def log_normal(sigma, *shape):
        return np.exp(sigma * random.standard_normal(shape, dtype=np.float32))

    def shares(liking, total):
        noisy = liking * log_normal(1.0, *liking.shape)
        return noisy * (np.float32(total) / noisy.sum(axis=-1, keepdims=True))

    with h5py.File(path, "w", libver=("earliest", "v108")) as file:
        texts(file, {"format": "evictlab-trace", "writer": "against_kvpress.py", "command": "", "model": "made",
                     "architecture": "made", "position_encoding": "none", "fingerprint": "made"})
        file.attrs.update({"format_version": 1, "layers": LAYERS, "query_heads": QUERY_HEADS, "kv_heads": KV_HEADS,
                           "head_dim": HEAD_DIM, "hidden_size": QUERY_HEADS * HEAD_DIM, "cache_element_bytes": 2,
                           "attention_scale": HEAD_DIM**-0.5, "sliding_windows": np.zeros(LAYERS, np.int64)})
        prompt = file.create_group("prompts/made")
        texts(prompt, {"id": "made", "task": "", "source": "made", "future_kind": "teacher-forced", "tier": "summary"})
        prompt.attrs.update({"index": 0, "prompt_length": length, "future_length": FUTURE, "window": WINDOW,
                             "layers": np.arange(LAYERS), "complete": 1})
        array(prompt, "tokens", np.zeros(length + FUTURE, np.int32), "position", "token id")
        columns = [("name", h5py.string_dtype("utf-8", 16)), ("begin", "<i8"), ("end", "<i8")]
        array(prompt, "spans", np.zeros(0, columns), "span", "position")
        for l in range(LAYERS):
            liking = log_normal(2.0, QUERY_HEADS, length + FUTURE)
            rows = np.empty((QUERY_HEADS, WINDOW, length), np.float16)
            for h in range(QUERY_HEADS):
                seen = np.tril(np.broadcast_to(liking[h, :length], (WINDOW, length)), length - WINDOW)
                rows[h] = SCALE * shares(seen, 1.0)
            layer = prompt.create_group(f"layers/{l}")
            stored = array(layer, "window_attention", rows, "query_head, window_query, position", "probability")
            stored.attrs["scale"] = SCALE
            queries = np.arange(length, 0, -1, dtype=np.float32)  # that see each position
            for name, data in (("attention_mass", shares(liking[:, :length] * queries, length)),
                               ("future_mass", shares(liking, FUTURE)),
                               ("output_norms", log_normal(1.0, QUERY_HEADS, length + FUTURE))):
                array(layer, name, data.astype(np.float32), "query_head, position", "probability")
