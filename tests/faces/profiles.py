"""Colour profiles made from their numbers: three primaries and a curve, as cameras and phones embed them."""

import struct

# SMPTE EG 432-1's primaries at D65, adapted to D50 as ICC profiles have them (columns: red, green, blue).
_P3_IN_XYZ = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
_D50 = (0.9642, 1.0, 0.8249)


def _fixed(value: float) -> int:
    return round(value * 65536)


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *map(_fixed, values))


def _curve() -> bytes:
    """Of sRGB, which Display P3 shares: parametric, type 3."""
    numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para\0\0\0\0" + struct.pack(">HHiiiii", 3, 0, *map(_fixed, numbers))


def _text(words: str) -> bytes:
    data = words.encode() + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(data)) + data + bytes(4 + 4 + 2 + 1 + 67)


def _profile(primaries: tuple[tuple[float, float, float], ...], words: str) -> bytes:
    red, green, blue = map(_xyz, primaries)
    curve = _curve()
    tags = {b"desc": _text(words), b"cprt": b"text\0\0\0\0none\0", b"wtpt": _xyz(_D50), b"rXYZ": red}
    tags |= {b"gXYZ": green, b"bXYZ": blue, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    table, data = b"", b""
    for name, value in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(value))
        data += value.ljust(-(-len(value) // 4) * 4, b"\0")
    size = 128 + 4 + len(table) + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"test", 0x02400000, b"mntr", b"RGB ", b"XYZ ") + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">iii", *map(_fixed, _D50)) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + data


DISPLAY_P3 = _profile(_P3_IN_XYZ, "Display P3")
