"""Hostile weights files and models folders. The entry point is the search of every Refresh of the panel."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.corpus import Case
from lib_uniid.checkpoints.folder import ModelFolder

Data = Callable[[], bytes]


def see(root: Path) -> object:
    """The full report on a models folder."""
    folder = ModelFolder(root, also=())
    return folder.report(), folder.unused()


def cases() -> Iterator[Case]:
    """Single files, bare and as the pickle of a zip archive, then whole folders."""
    for name, data in PICKLES.items():
        yield Case(name=name, entry_point=see, write=_file(data))
        yield Case(name=f"{name}-zipped", entry_point=see, write=_file(lambda data=data: zipped(data())))
    for name, data in FILES.items():
        yield Case(name=name, entry_point=see, write=_file(data), quick=name not in SLOW)
    for name, write in FOLDERS.items():
        yield Case(name=name, entry_point=see, write=write)


def _file(data: Data) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "uniid").mkdir()
        (folder / "uniid" / "hostile.pt").write_bytes(data())
        return folder

    return write


# --- pickles ---


def zipped(pickled: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """A PyTorch file with this pickle in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("archive/data.pkl", pickled)
    return buffer.getvalue()


def _doubled(levels: int) -> bytes:
    """Nested pairs of the same tuple as the key of a dictionary: hashing takes 2 ** levels steps."""
    pairs = b"".join(bytes([*b"q", n, *b"h", n, 0x86]) for n in range(levels))
    return b"\x80\x02})" + pairs + b"Ns."


def _nested_dictionaries(levels: int) -> bytes:
    return b"\x80\x02" + b"}X\x01\x00\x00\x00a" * levels + b"}" + b"s" * levels + b"."


def _shared(levels: int) -> bytes:
    """Dictionaries that expand to 100 ** levels entries."""
    content: dict[str, object] = {}
    for _ in range(levels):
        content = {str(number): content for number in range(100)}
    return pickle.dumps(content, protocol=2)


def _tensor(side: int, strides: str = "K\x01\x85") -> bytes:
    """A tensor whose stated side is far larger than the file."""
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    size = b"\x8a\x08" + struct.pack("<q", side)
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage[1:] + size + b"tQK\x00" + size + b"\x85"
    return b"\x80\x02}X\x01\x00\x00\x00a" + rebuilt + strides.encode("latin-1") + b"\x89}tRs."


PICKLES: dict[str, Data] = {
    "9-bytes-of-memo": lambda: b"\x80\x02Nr\xff\xff\xff\x1f.",
    "pairs-of-pairs-as-a-key": lambda: _doubled(31),
    "tuples-nested-200000-deep": lambda: b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
    "lists-nested-200000-deep": lambda: b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "dictionaries-nested-20000-deep": lambda: _nested_dictionaries(20_000),
    "dictionaries-that-unfold": lambda: _shared(6),
    "a-number-of-a-million-digits": lambda: b"\x80\x02}L" + b"9" * 1_000_000 + b"L\nNs.",
    "a-text-longer-than-the-file": lambda: b"\x80\x02}X\xff\xff\xff\x7fabc.",
    "a-long-longer-than-the-file": lambda: b"\x80\x02\x8b\xff\xff\xff\x7f1.",
    "a-frame-of-exabytes": lambda: b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x0f}.",
    "bytes-of-exabytes": lambda: b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x0f}.",
    "two-million-marks": lambda: b"\x80\x02" + b"(" * 2_000_000 + b".",
    "a-million-empty-dictionaries": lambda: b"\x80\x02](" + b"}" * 1_000_000 + b"e.",
    "one-key-of-8-megabytes-in-100000-dictionaries": lambda: (
        b"\x80\x02}(X"
        + struct.pack("<I", 8 * 2**20)
        + b"k" * (8 * 2**20)
        + b"q\x00}h\x00N"
        + b"s"
        + b"".join(b"J" + struct.pack("<i", n) + b"}h\x00Ns" for n in range(100_000))
        + b"u."
    ),
    "one-text-made-a-tuple-100-times": lambda: (
        b"\x80\x02](X"
        + struct.pack("<I", 2**20)
        + b"k" * 2**20
        + b"q\x00"
        + b"ctorch\nSize\nh\x00\x85R" * 100
        + b"e."
    ),
    "eval": lambda: b"\x80\x02c__builtin__\neval\nX\x08\x00\x00\x001/0 or 1\x85R.",
    "os-system": lambda: b"cos\nsystem\n(S'true'\ntR.",
    "bytes-of-a-loader": lambda: b"\x80\x02ctorch.storage\n_load_from_bytes\nC\x01x\x85R.",
    "a-tensor-of-exabytes": lambda: _tensor(2**60),
    "a-tensor-of-minus-one": lambda: _tensor(-1),
    "nothing-on-the-stack": lambda: b"\x80\x02.",
    "no-end": lambda: b"\x80\x02}",
    "a-name-that-is-not-utf-8": lambda: b"\x80\x02}X\x02\x00\x00\x00\xff\xfeNs.",
}


# --- other files ---


def _safetensors(header: bytes, rest: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + rest


def _many_tensors(count: int) -> bytes:
    row = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return _safetensors(json.dumps({f"t{number}": row for number in range(count)}).encode())


def _crowded_zip(entries: int) -> bytes:
    """A zip archive whose directory has far more entries than weights do."""
    name = b"a/1"
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), *[0] * 6) + name
    size = len(entry) * entries
    locator = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, 30)
    end = struct.pack("<4sIQI", b"PK\x06\x07", 0, 30 + size, 1)
    end += struct.pack("<4s4H2IH", b"PK\x05\x06", 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return b"PK\x03\x04".ljust(30, b"\0") + entry * entries + locator + end


FILES: dict[str, Data] = {
    "a-deflated-pickle-of-a-gigabyte": lambda: zipped(b"\x80\x02" + bytes(2**30), zipfile.ZIP_DEFLATED),
    "a-zip-of-two-million-entries": lambda: _crowded_zip(2_000_000),
    "a-safetensors-header-of-exabytes": lambda: struct.pack("<Q", 2**62) + b'{"a":1}',
    "a-safetensors-header-nested-100000-deep": lambda: _safetensors(b'{"a":' + b"[" * 100_000),
    "a-safetensors-file-of-a-million-tensors": lambda: _many_tensors(1_000_000),
    "a-safetensors-shape-of-exabytes": lambda: _safetensors(
        b'{"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]}}', bytes(4)
    ),
    "a-safetensors-header-that-is-a-list": lambda: _safetensors(b'{"a":[]}'),
    "a-safetensors-header-of-wrong-types": lambda: _safetensors(
        b'{"a":{"dtype":1,"shape":"x","data_offsets":null},"__metadata__":[1]}'
    ),
}
SLOW = frozenset(
    {
        "a-deflated-pickle-of-a-gigabyte",
        "a-zip-of-two-million-entries",
        "a-safetensors-file-of-a-million-tensors",
    }
)


# --- folders ---


def _loops(folder: Path) -> Path:
    """Links to the parent folders, so that every path continues without end."""
    for name in "abcdefgh":
        (folder / "uniid" / name).mkdir(parents=True)
        for other in "abcdefgh":
            (folder / "uniid" / name / f"to-{other}").symlink_to(folder / "uniid", target_is_directory=True)
    return folder


def _many_files(folder: Path) -> Path:
    for number in range(20_000):
        (folder / f"{number}.pt").touch()
    return folder


def _many_pickles(folder: Path) -> Path:
    """Many pickles, each within the limits of one file."""
    data = b"\x80\x02](" + b"}" * 400_000 + b"e."
    for number in range(60):
        (folder / f"{number}.pt").write_bytes(data)
    return folder


def _onnx(data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        pack = folder / "insightface" / "models" / "pack"
        pack.mkdir(parents=True)
        (pack / "a.onnx").write_bytes(data)
        return folder

    return write


def _onnx_graph(content: bytes) -> bytes:
    return b"\x08\x07\x3a" + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    data = b""
    while value > 0x7F:
        data, value = data + bytes([value & 0x7F | 0x80]), value >> 7
    return data + bytes([value])


def _index(data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "pipeline").mkdir()
        (folder / "pipeline" / "model_index.json").write_bytes(data)
        return folder

    return write


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "waits-for-ever.pt")
    return folder


def _flipped_bits(folder: Path) -> Path:
    """A small LoRA file, once for every bit."""
    import torch

    buffer = io.BytesIO()
    torch.save({"lora_unet_a.lora_down.weight": torch.zeros(1)}, buffer)
    data = buffer.getvalue()
    for place in range(0, len(data) * 8, 7):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        (folder / f"{place}.pt").write_bytes(flipped)
    return folder


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "links-in-loops": _loops,
    "20000-files": _many_files,
    "60-files-of-400000-dictionaries": _many_pickles,
    "a-pipe": _pipe,
    "a-lora-with-one-bit-flipped": _flipped_bits,
    "an-onnx-file-of-two-million-fields": _onnx(_onnx_graph(b"\x08\x00" * 2_000_000)),
    "an-onnx-file-of-two-million-weights": _onnx(_onnx_graph(b"\x2a\x03\x42\x01a" * 2_000_000)),
    "an-onnx-field-without-end": _onnx(b"\x08" + b"\xff" * 1_000_000),
    "a-diffusers-index-nested-100000-deep": _index(b'{"a":' * 100_000),
    "a-diffusers-index-of-200-megabytes": _index(b'{"a":"' + b"x" * 200_000_000),
}
