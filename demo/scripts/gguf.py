"""As much of the GGUF format as the demo base needs: F32 and F16 tensors, and the metadata types below."""

import struct

import numpy as np

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
FORMATS = {U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}
DTYPES = {0: np.dtype(np.float32), 1: np.dtype(np.float16)}
ALIGNMENT = 32


def pack_string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def pack_value(kind, value):
    return pack_string(value) if kind == STRING else struct.pack(FORMATS[kind], value)


def pack_pair(key, kind, value):
    if isinstance(value, list):
        head = struct.pack("<IIQ", ARRAY, kind, len(value))
        return pack_string(key) + head + b"".join(pack_value(kind, item) for item in value)
    return pack_string(key) + struct.pack("<I", kind) + pack_value(kind, value)


def pad(data):
    return data + b"\0" * (-len(data) % ALIGNMENT)


def write(path, metadata, tensors):
    """metadata: (key, type, value or list of values); tensors: (name, numpy array). Returns the bytes written."""
    infos, data = b"", b""
    for name, array in tensors:
        kind = next(number for number, dtype in DTYPES.items() if dtype == array.dtype)
        infos += pack_string(name) + struct.pack(f"<I{array.ndim}Q", array.ndim, *array.shape[::-1])
        infos += struct.pack("<IQ", kind, len(data))
        data += pad(array.tobytes())
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    file = pad(head + b"".join(pack_pair(*pair) for pair in metadata) + infos) + data
    with open(path, "wb") as f:
        f.write(file)
    return len(file)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def unpack(self, layout):
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return values if len(values) > 1 else values[0]

    def string(self):
        n = self.unpack("<Q")
        self.at += n
        return self.data[self.at - n : self.at].decode()

    def value(self, kind):
        return self.string() if kind == STRING else self.unpack(FORMATS[kind])


def read(path):
    """The tensors of a file: {name: array}, in the file's types. The metadata is read over."""
    with open(path, "rb") as f:
        reader = Reader(f.read())
    magic, version, n_tensors, n_pairs = reader.unpack("<4sIQQ")
    if magic != b"GGUF" or version != 3:
        raise ValueError(f"{path} is not a GGUF file of version 3")
    for _ in range(n_pairs):
        reader.string()
        kind = reader.unpack("<I")
        if kind == ARRAY:
            kind, n = reader.unpack("<IQ")
            for _ in range(n):
                reader.value(kind)
        else:
            reader.value(kind)
    infos = []
    for _ in range(n_tensors):
        name, dims = reader.string(), reader.unpack("<I")
        shape = [reader.unpack("<Q") for _ in range(dims)][::-1]
        infos.append((name, shape, *reader.unpack("<IQ")))
    start = reader.at + -reader.at % ALIGNMENT
    return {
        name: np.frombuffer(reader.data, DTYPES[kind], int(np.prod(shape)), start + offset).reshape(shape).copy()
        for name, shape, kind, offset in infos
    }
