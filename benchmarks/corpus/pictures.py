"""Hostile pictures: slow, large, referring to other programs, or not pictures, for every entry point."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.corpus import Case
from lib_uniid.api.identities import check_pictures
from lib_uniid.api.request import parse_json
from lib_uniid.faces.picture import from_base64, load_mask, load_picture
from lib_uniid.ui.form_request import mask_text
from lib_uniid.ui.pasting import form_of

SIDE = 7000
"""Pixels; side of the largest square pictures, 49 megapixels."""


def cases() -> Iterator[Case]:
    """Every file of this corpus, through every entry point for pictures."""
    for name, make in FILES.items():
        yield Case(name=name, entry_point=load_picture, write=_writing(make), quick=name not in LARGE)
        if name not in LONG:
            for entry_point, (opens, wrapped) in ENTRY_POINTS.items():
                writes = _writing(lambda make=make, wrapped=wrapped: wrapped(make()))
                yield Case(
                    name=f"{name}/{entry_point}", entry_point=opens, write=writes, quick=name not in LARGE
                )
    for count in (16, 4):
        name = f"request_of_{count}_times_49_megapixels"
        yield Case(
            name=name, entry_point=_ask, write=_writing(lambda count=count: _request(count)), quick=False
        )
    yield Case(name="request_of_base64_and_blanks", entry_point=_ask, write=_writing(_blanks), quick=False)


def _writing(make: Callable[[], bytes]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "picture"
        path.write_bytes(make())
        return path

    return write


def _paste(path: Path) -> None:
    form_of(parse_json(path.read_text()), lambda _: None)


def _ask(path: Path) -> None:
    """Read the pictures of each person, one after another, as a generation does first."""
    request = parse_json(path.read_text())
    check_pictures(request)
    for person in request.people:
        for reference in person.references:
            assert isinstance(reference.picture, str), "JSON has no bytes"
            load_picture(from_base64(reference.picture, "the reference"))


def _same(data: bytes) -> bytes:
    return data


def _pasted(data: bytes) -> bytes:
    text = base64.b64encode(data).decode()
    person = {"name": "Anna", "mask": text}
    return json.dumps({"version": 1, "people": [person], "style": {"picture": text}}).encode()


ENTRY_POINTS: Mapping[str, tuple[Callable[[Path], object], Callable[[bytes], bytes]]] = {
    "mask": (load_mask, _same),
    "drawn": (lambda path: mask_text({"composite": path}), _same),
    "infotext": (_paste, _pasted),
}
"""Further functions that read a picture, and the encoding of a picture for each."""


def _request(count: int) -> bytes:
    return _asked([base64.b64encode(flat_png(SIDE, SIDE)).decode()] * count)


def _blanks() -> bytes:
    return _asked(["A " * 40_000_000])


def _asked(references: Sequence[str]) -> bytes:
    return json.dumps({"version": 1, "people": [{"references": references}]}).encode()


# --- PNG ---


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *before: bytes, pixels: bytes = b"", colour: int = 2) -> bytes:
    """A PNG with these chunks before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    parts = (
        b"\x89PNG\r\n\x1a\n",
        header,
        *before,
        chunk(b"IDAT", zlib.compress(pixels)),
        chunk(b"IEND", b""),
    )
    return b"".join(parts)


def flat_png(width: int, height: int, channels: int = 4) -> bytes:
    """A valid PNG in one colour, with few bytes for its size."""
    colour = {1: 0, 3: 2, 4: 6}[channels]
    return png(width, height, pixels=bytes((1 + channels * width) * height), colour=colour)


def _small_png(*before: bytes) -> bytes:
    return png(8, 8, *before, pixels=bytes(25 * 8))


def directory(entries: int, size: int) -> bytes:
    """A TIFF or EXIF whose every entry refers to the whole file."""
    rows = b"".join(struct.pack("<HHII", tag, 7, size, 8) for tag in range(1, entries + 1))
    return (b"II*\0" + struct.pack("<IH", 8, entries) + rows).ljust(size + 16, b"\0")


def _profile_bomb() -> bytes:
    return _small_png(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2**30))))


def _text_bomb() -> bytes:
    return _small_png(*[chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(2**26)))] * 200)


# --- JPEG ---


def jpeg(width: int = 8, height: int = 8, **options: object) -> bytes:
    """A valid grey JPEG."""
    return _saved(Image.new("RGB", (width, height), "grey"), "JPEG", **options)


def _scans(scans: int) -> bytes:
    """A progressive JPEG that repeats its last scan."""
    data = jpeg(SIDE, SIDE, progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + b"\xff\xd9"


def _after_start(data: bytes, segments: bytes) -> bytes:
    return data[:2] + segments + data[2:]


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _exif_bomb() -> bytes:
    exif, most = directory(65_000, 8 * 2**20), 65_000
    parts = (exif[place : place + most] for place in range(0, len(exif), most))
    return _after_start(jpeg(), b"".join(_segment(0xE1, b"Exif\0\0" + part) for part in parts))


# --- GIF ---


def gif(*before: bytes) -> bytes:
    """A valid GIF with these blocks before its image."""
    data = _saved(Image.new("P", (8, 8)), "GIF")
    place = 13 + 3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 13
    return data[:place] + b"".join(before) + data[place:]


def comments(size: int, block: int) -> bytes:
    """A comment of a GIF in blocks of this size."""
    return b"\x21\xfe" + (bytes([block]) + b"c" * block) * (size // (block + 1)) + b"\0"


# --- the others ---


def _webp_canvas() -> bytes:
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\xff" * 2
    return b"RIFF" + struct.pack("<I", 4 + len(canvas)) + b"WEBP" + canvas


def _webp_chunks() -> bytes:
    data = _saved(Image.new("RGB", (8, 8)), "WEBP", lossless=True)
    body = data[12:] + b"JUNK\0\0\0\0" * 3_000_000
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _bmp_runs() -> bytes:
    pixels = b"\x01\x01" * 15_000_000
    header = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + header + bytes(1024) + pixels


def _bmp_size(width: int, height: int) -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 0, 0, 0, 54)
        + struct.pack("<IiiHHI", 40, width, height, 1, 24, 0)
        + bytes(20)
    )


def tiff(*entries: tuple[int, int, int, int], size: int = 4096) -> bytes:
    """A directory of (tag, type, count, value or place) alone, in a file of this size."""
    rows = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return (b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows).ljust(size, b"\0")


def _tiff_of(width: int, height: int, *further: tuple[int, int, int, int], size: int = 4096) -> bytes:
    usual = ((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1))
    return tiff(*usual, *further, size=size)


def _tiff_directories() -> bytes:
    """Directories that Pillow follows after decoding; each refers many times to the whole file."""
    inner = directory(60_000, 8 * 2**20)[8:]
    head = _tiff_of(
        8,
        8,
        (259, 3, 1, 1),
        (273, 4, 1, 512),
        (278, 4, 1, 8),
        (279, 4, 1, 64),
        (34665, 4, 1, 4096),
        size=4096,
    )
    return head + inner


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def _noise(kind: str, **options: object) -> bytes:
    """49 megapixels of repeated noise rows that compress badly."""
    rows = np.random.default_rng(0).integers(0, 256, (70, SIDE, 3), dtype=np.uint8)
    return _saved(Image.fromarray(np.tile(rows, (100, 1, 1))), kind, **options)


EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(%pipe%id) (r) file\nshowpage\n%%EOF\n"
)

FILES: Mapping[str, Callable[[], bytes]] = {
    "eps": lambda: EPS,
    "eps_in_dos_header": lambda: (
        b"\xc5\xd0\xd3\xc6" + struct.pack("<IIIIII", 32, len(EPS), 0, 0, 0, 0) + bytes(4) + EPS
    ),
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "pdf": lambda: b"%PDF-1.7\n",
    "zip": lambda: b"PK\x03\x04" + bytes(2**20),
    "zeros": lambda: bytes(2**20),
    "too_many_bytes": lambda: b"\x89PNG\r\n\x1a\n" + bytes(65 * 2**20),
    "png/169_megapixels": lambda: flat_png(13_000, 13_000, 1),
    "png/largest_size": lambda: png(2**31 - 1, 2**31 - 1),
    "png/no_size": lambda: png(0, 0),
    "png/49_megapixels_and_alpha": lambda: flat_png(SIDE, SIDE),
    "png/a_million_chunks": lambda: _small_png(*[chunk(b"teXt", b"")] * 1_000_000),
    "png/a_million_chunks_of_pixels": lambda: _small_png(*[chunk(b"IDAT", b"")] * 1_000_000),
    "png/texts": _text_bomb,
    "png/profile": _profile_bomb,
    "png/profile_of_noise": lambda: _small_png(
        chunk(b"iCCP", b"x\0\0" + zlib.compress(np.random.default_rng(0).bytes(4096)))
    ),
    "png/exif": lambda: _small_png(chunk(b"eXIf", directory(65_000, 8 * 2**20))),
    "png/cut": lambda: flat_png(64, 64)[:60],
    "jpeg/49_megapixels": lambda: jpeg(SIDE, SIDE),
    "jpeg/49_megapixels_of_noise": lambda: _noise("JPEG", quality=60, progressive=True),
    "jpeg/1000_scans": lambda: _scans(1000),
    "jpeg/a_million_segments": lambda: _after_start(jpeg(), _segment(0xE5, b"") * 1_000_000),
    "jpeg/exif": _exif_bomb,
    "jpeg/segment_without_length": lambda: _after_start(jpeg(), b"\xff\xe1\0\0"),
    "jpeg/cut": lambda: jpeg(64, 64)[:300],
    "gif/10_mb_of_comments": lambda: gif(comments(10 * 2**20, 255)),
    "gif/40_mb_of_short_comments": lambda: gif(comments(40 * 2**20, 1)),
    "gif/a_million_comments": lambda: gif(b"\x21\xfe\x01c\0" * 1_000_000),
    "gif/image_beyond_the_screen": lambda: gif(
        b"\x2c" + struct.pack("<HHHH", 65535, 65535, 65535, 65535) + b"\0\x02\0"
    ),
    "gif/49_megapixels": lambda: _saved(Image.new("P", (SIDE, SIDE)), "GIF"),
    "webp/canvas": _webp_canvas,
    "webp/3_million_chunks": _webp_chunks,
    "webp/49_megapixels": lambda: _saved(Image.new("RGBA", (SIDE, SIDE)), "WEBP", lossless=True, method=0),
    "bmp/runs": _bmp_runs,
    "bmp/largest_size": lambda: _bmp_size(2**31 - 1, -(2**31)),
    "tiff/49_megapixels": lambda: _saved(Image.new("RGB", (SIDE, SIDE)), "TIFF", compression="tiff_deflate"),
    "tiff/65000_entries": lambda: directory(65_000, 8 * 2**20),
    "tiff/numbers": lambda: _tiff_of(8, 8, (273, 4, 2**21, 200), size=2**24),
    "tiff/directories": _tiff_directories,
    "tiff/large_tile": lambda: _tiff_of(
        8, 8, (259, 3, 1, 5), (322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 512), (325, 4, 1, 512)
    ),
    "tiff/itself": lambda: _tiff_of(8, 8, (330, 4, 1, 8), (34665, 4, 1, 8)),
    "tiff/compression": lambda: _tiff_of(8, 8, (259, 3, 1, 50_000)),
}
"""The makers of the files; the large ones take a second or two."""

LONG = frozenset(
    {
        "too_many_bytes",
        "png/a_million_chunks",
        "png/a_million_chunks_of_pixels",
        "png/texts",
        "jpeg/a_million_segments",
        "gif/40_mb_of_short_comments",
        "webp/3_million_chunks",
        "bmp/runs",
    }
)
"""Files with too many bytes for an infotext."""

LARGE = (
    {name for name in FILES if "49_megapixels" in name}
    | (LONG - {"too_many_bytes"})
    | {
        "png/profile",
        "jpeg/1000_scans",
    }
)
"""Files that take half a second or more to make."""
