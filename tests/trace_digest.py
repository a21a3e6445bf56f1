"""The digests of a trace's groups as docs/trace-format.md defines them, for tests that change a trace."""

import ctypes

import h5py
import numpy


class _Hash(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


_xxhash = ctypes.CDLL("libxxhash.so.0")
_xxhash.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_xxhash.XXH3_128bits.restype = _Hash


def content_hash(data):
    """What xxhash.xxh3_128_hexdigest gives, with its prefix."""
    found = _xxhash.XXH3_128bits(data, len(data))
    return f"xxh3-128:{found.high:016x}{found.low:016x}"


def _value(value):
    if isinstance(value, str):
        return "text", value.encode()
    array = numpy.asarray(value)
    if array.dtype.kind in "iub":
        return "integers", array.astype("<i8").tobytes()
    if array.dtype.kind == "f":
        return "numbers", array.astype("<f8").tobytes()
    return "other", b""


def _joined(*texts):
    return b"".join(text.encode() + b"\0" for text in texts)


def _attributes(item):
    data = b""
    for name in sorted(item.attrs, key=str.encode):
        if name != "digest":
            kind, value = _value(item.attrs[name])
            data += _joined(name, kind, str(len(value))) + value
    return content_hash(data)


def _type(dataset):
    name = "table" if dataset.dtype.names else dataset.dtype.name
    return f"{name}({dataset.dtype.itemsize})"


def digest(group):
    data = _joined(_attributes(group))
    for name in sorted(group, key=str.encode):
        item = group[name]
        if isinstance(item, h5py.Group):
            data += _joined(name, "group", item.attrs.get("digest", ""))
        else:
            data += _joined(name, _type(item), str(list(item.shape)), _attributes(item))
    return content_hash(data)


def seal(group):
    """Writes the digests of a group and of all groups in it."""
    for item in group.values():
        if isinstance(item, h5py.Group):
            seal(item)
    group.attrs["digest"] = digest(group)


def set_values(dataset, values):
    """Writes other elements, with their hash."""
    dataset[...] = values
    dataset.attrs["hash"] = content_hash(dataset[()].tobytes())
