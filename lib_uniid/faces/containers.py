"""Parsing of picture files without decoding, reduced to the parts that the first frame needs.

Pillow reads every comment, EXIF entry and text chunk when it opens a file, some of them in quadratic time or
with gigabytes of memory. It gets none of them: size, EXIF, XMP and colour profile are read here, with a limit
on each, and the rest is dropped.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAX_PARTS = 65_536
"""Chunks, segments or blocks before a file counts as hostile; a usual file of 64 MB has 8000."""
MAX_SCANS = 32
"""Scans of a progressive JPEG, each of which covers the whole picture; encoders write 10 to 14."""
MAX_PROFILE = 4 * 2**20
MAX_EXIF = 64 * 2**10
MAX_COMMENTS = 16 * 2**20
"""Bytes of a GIF before its first image, including comments."""
MAX_TIFF_VALUES = 2**20
"""Bytes of a TIFF's numbers, which become far larger objects; 50 megapixels in rows need 100 kB."""


class UnusualError(ValueError):
    """A file that may be valid, but is not opened because it costs too much time or memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A file of ``kind`` (Pillow's name of the format) as ``data`` that is safe for Pillow.

    ``size`` is (width, height) in pixels, if known without Pillow.
    """

    kind: str
    data: bytes
    size: tuple[int, int] | None = None
    exif: bytes = b""
    xmp: bytes = b""
    profile: bytes = b""

    @property
    def orientation(self) -> int:
        """1 to 8 as in EXIF; 1 (upright) if it is missing or damaged."""
        found = _orientation(self.exif.removeprefix(b"Exif\0\0"))
        written = re.search(rb"tiff:Orientation(?:=[\"']|>)([1-8])", self.xmp)
        return found or (int(written[1]) if written else 1)


def contained(data: bytes) -> Container | None:
    """The picture in a file's bytes; None if the format is not supported.

    Raises ``ValueError`` or ``struct.error`` for a damaged file, and ``UnusualError`` for one that costs too
    much time or memory.
    """
    for magic, read in _READERS:
        if magic.match(data):
            return read(data)
    return None


# --- PNG ---


def _png(data: bytes) -> Container:
    head, pixels = [data[:8]], []
    exif = xmp = profile = b""
    for kind, start, end in _png_chunks(data):
        if kind == b"IDAT":
            pixels.append(memoryview(data)[start:end])
        elif kind in (b"IHDR", b"PLTE", b"tRNS"):
            head.append(data[start - 8 : end + 4])
        elif kind == b"eXIf":
            exif = data[start : min(end, start + MAX_EXIF)]
        elif kind == b"iCCP":
            profile = _inflated(data[start:end].partition(b"\0")[2][1:])
        elif kind == b"iTXt" and data[start : start + 17] == b"XML:com.adobe.xmp":
            xmp = data[start : min(end, start + MAX_EXIF)]
    joined = b"".join(pixels)
    parts = [*head, _png_chunk(b"IDAT", joined), _png_chunk(b"IEND", b"")]
    size = struct.unpack_from(">II", data, 16)
    return Container(kind="PNG", data=b"".join(parts), size=size, exif=exif, xmp=xmp, profile=profile)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    place = 8
    for _ in range(MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"IEND":
            return
        if place + 12 + length > len(data):
            raise ValueError("the file ends early")
        yield kind, place + 8, place + 8 + length
        place += 12 + length
    raise UnusualError(f"it has more than {MAX_PARTS} chunks")


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def _inflated(data: bytes) -> bytes:
    """A colour profile; empty if it is damaged or too large."""
    try:
        profile = zlib.decompressobj().decompress(data, MAX_PROFILE + 1)
    except zlib.error:
        return b""
    return profile if len(profile) <= MAX_PROFILE else b""


# --- JPEG ---

_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_END = b"\xff\xd9"
_ICC, _XMP = b"ICC_PROFILE\0", b"http://ns.adobe.com/xap/1.0/\0"


def _jpeg(data: bytes) -> Container:
    kept, profiles = [data[:2]], {}
    exif = xmp = b""
    size = None
    for marker, start, end in _jpeg_segments(data):
        if marker == 0xE1 and not exif and data[start : start + 6] == b"Exif\0\0":
            exif = data[start:end]
        elif marker == 0xE1 and data.startswith(_XMP, start):
            xmp = data[start:end]
        elif marker == 0xE2 and data.startswith(_ICC, start):
            profiles[data[start + 12]] = data[start + 14 : end]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, start + 1)
            size = (width, height)
        if not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)):
            kept.append(data[start - 4 : end])
    profile = b"".join(part for _, part in sorted(profiles.items()))[: MAX_PROFILE + 1]
    return Container(
        kind="JPEG",
        data=b"".join(kept),
        size=size,
        exif=exif,
        xmp=xmp,
        profile=profile if len(profile) <= MAX_PROFILE else b"",
    )


_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of frame headers, which hold a JPEG's coding and size."""


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment's contents; a scan's header includes its entropy-coded data."""
    place, scans = 2, 0
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, place)
        if found is None:
            return
        if found[0] == _END:
            yield _END[1], found.end() + 2, found.end()
            return
        marker, start = found[0][1], found.end() + 2
        end = start - 2 + int.from_bytes(data[start - 2 : start], "big")
        if end < start:
            raise ValueError("a segment's length is wrong")
        if marker == 0xDA:
            scans += 1
            following = _MARKER.search(data, end)
            end = len(data) if following is None else following.start()
        yield marker, start, end
        place = end
        if scans > MAX_SCANS:
            raise UnusualError(f"it has more than {MAX_SCANS} scans")
    raise UnusualError(f"it has more than {MAX_PARTS} segments")


# --- GIF ---


def _gif(data: bytes) -> Container:
    """The header, the palette, the last graphic control and the first image."""
    place = 13 + _palette(data[10])
    control = b""
    for _ in range(MAX_PARTS):
        if data[place] == 0x2C:
            size = _gif_size(data, place)
            kept = data[: 13 + _palette(data[10])] + control + _gif_image(data, place) + b";"
            return Container(kind="GIF", data=kept, size=size)
        if data[place] != 0x21:
            raise ValueError("it contains no image")
        if place > MAX_COMMENTS:
            raise UnusualError(f"it has more than {MAX_COMMENTS // 2**20} MB of comments")
        end = _after_blocks(data, place + 2)
        if data[place + 1] == 0xF9:
            control = data[place:end]
        place = end
    raise UnusualError(f"it has more than {MAX_PARTS} extensions")


def _palette(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_size(data: bytes, place: int) -> tuple[int, int]:
    """Size of the screen, or of the image if that is larger, as in Pillow."""
    screen = struct.unpack_from("<HH", data, 6)
    left, top, width, height = struct.unpack_from("<HHHH", data, place + 1)
    return max(screen[0], left + width), max(screen[1], top + height)


def _gif_image(data: bytes, place: int) -> bytes:
    start = place + 10 + _palette(data[place + 9]) + 1
    return data[place : _after_blocks(data, start)]


def _after_blocks(data: bytes, place: int) -> int:
    """The end of a chain of blocks of up to 255 bytes; an empty block ends it."""
    for _ in range(8 * MAX_PARTS):
        length = data[place]
        place += 1 + length
        if not length:
            return place
    raise UnusualError(f"it has more than {8 * MAX_PARTS} blocks in one part")


# --- WebP ---


def _webp(data: bytes) -> Container:
    """The whole file: Pillow does not parse its metadata, but allocates the canvas, so the size is read."""
    return Container(kind="WEBP", data=data, size=_webp_size(data), **_webp_metadata(data))


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        wide, high = (int.from_bytes(data[place : place + 3], "little") for place in (24, 27))
        return wide + 1, high + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        wide, high = struct.unpack_from("<HH", data, 26)
        return wide & 0x3FFF, high & 0x3FFF
    raise ValueError(f"it begins with {kind!r}")


def _webp_metadata(data: bytes) -> dict[str, bytes]:
    names = {b"ICCP": ("profile", MAX_PROFILE), b"EXIF": ("exif", MAX_EXIF), b"XMP ": ("xmp", MAX_EXIF)}
    found: dict[str, bytes] = {}
    place = 12
    for _ in range(MAX_PARTS):
        if place + 8 > len(data):
            return found
        kind, length = struct.unpack_from("<4sI", data, place)
        if kind in names:
            name, most = names[kind]
            found[name] = data[place + 8 : place + 8 + min(length, most)]
        place += 8 + length + length % 2
    raise UnusualError(f"it has more than {MAX_PARTS} chunks")


# --- BMP ---


def _bmp(data: bytes) -> Container:
    """BMP files except run-length coded ones, which Pillow decodes byte by byte."""
    (header,) = struct.unpack_from("<I", data, 14)
    if header < 40:
        width, height = struct.unpack_from("<HH", data, 18)
        return Container(kind="BMP", data=data, size=(width, height))
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in (1, 2):
        raise UnusualError("it is a run-length coded BMP")
    return Container(kind="BMP", data=data, size=(abs(width), abs(height)))


# --- TIFF ---

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_BYTES = frozenset({1, 2, 6, 7})
_COMPRESSIONS = frozenset({1, 5, 7, 8, 32773, 32946})
"""None, LZW, JPEG, Deflate (two numbers) and PackBits."""
_WIDTH, _HEIGHT, _COMPRESSION, _ORIENTATION, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 259, 274, 322, 323
_PROFILE = 34675
_REMOVED = frozenset({330, 34665, 34853, 40965, _ORIENTATION})
"""Entries for further directories, which Pillow would read completely, and the orientation, by which
some versions of Pillow rotate a TIFF."""


def _tiff(data: bytes) -> Container:
    """A TIFF with only its first directory, after a check that its values fit the file."""
    order = "<" if data[:2] == b"II" else ">"
    entries = list(_entries(data, order))
    _check_values(entries, len(data))
    number = {entry.tag: _number(data, order, entry) for entry in entries}
    if number.get(_COMPRESSION, 1) not in _COMPRESSIONS:
        raise UnusualError(f"it is a TIFF with compression {number[_COMPRESSION]}")
    size = (number.get(_WIDTH, 0), number.get(_HEIGHT, 0))
    tile = (number.get(_TILE_WIDTH, 0), number.get(_TILE_HEIGHT, 0))
    if tile[0] * tile[1] > max(size[0] * size[1], 2**20):
        raise UnusualError(f"it is a TIFF with tiles of {tile[0]} x {tile[1]} pixels")
    profile = next((data[e.place : e.place + e.values] for e in entries if e.tag == _PROFILE), b"")
    return Container(
        kind="TIFF",
        data=_without_removed(data, order, entries),
        size=size,
        exif=data,
        profile=profile if len(profile) <= MAX_PROFILE else b"",
    )


class _Entry(NamedTuple):
    """An entry of a TIFF's directory: ``values`` of a type, at an offset in the file."""

    tag: int
    kind: int
    values: int
    place: int
    at: int
    """The offset of the entry itself."""

    @property
    def size(self) -> int:
        return _SIZES.get(self.kind, 0) * self.values


def _entries(data: bytes, order: str) -> Iterator[_Entry]:
    """All entries of the first directory."""
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, values, offset = struct.unpack_from(f"{order}HHII", data, at)
        entry = _Entry(tag, kind, values, offset, at)
        yield entry if entry.size > 4 else entry._replace(place=at + 8)


def _check_values(entries: Sequence[_Entry], most: int) -> None:
    numbers = sum(entry.size for entry in entries if entry.kind not in _BYTES)
    if numbers > MAX_TIFF_VALUES or sum(entry.size for entry in entries) > most:
        raise UnusualError("it is a TIFF whose directory describes more data than the file has")


def _without_removed(data: bytes, order: str, entries: Sequence[_Entry]) -> bytes:
    """The same file with type 0 for the removed entries, which Pillow ignores."""
    changed = bytearray(data)
    for entry in entries:
        if entry.tag in _REMOVED:
            struct.pack_into(f"{order}H", changed, entry.at + 2, 0)
    return bytes(changed)


def _number(data: bytes, order: str, entry: _Entry) -> int:
    """The first value of an integer entry; 0 for other types."""
    code = {1: "B", 3: "H", 4: "I"}.get(entry.kind)
    return struct.unpack_from(order + code, data, entry.place)[0] if code and entry.values else 0


def _orientation(tiff: bytes) -> int | None:
    """The orientation tag of EXIF, which is a TIFF; None if it is missing or unreadable."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return None
    try:
        number = next((_number(tiff, order, e) for e in _entries(tiff, order) if e.tag == _ORIENTATION), 0)
    except struct.error:
        return None
    return number if 1 <= number <= 8 else None


_READERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], Container]], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    (re.compile(rb"\xff\xd8\xff"), _jpeg),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp),
    (re.compile(rb"BM"), _bmp),
    (re.compile(rb"GIF8[79]a"), _gif),
    (re.compile(rb"II\*\0|MM\0\*"), _tiff),
)
