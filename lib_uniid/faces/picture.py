"""Safe decoding: any file of a user becomes an RGB array or a mask, or raises an error with one sentence.

Picture files are opened only here. Nothing is decoded before its size is known: the number of bytes comes
from the file, the number of pixels from :mod:`lib_uniid.faces.containers`, which also drops all data that
Pillow does not need.
"""

import base64
import struct
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from lib_uniid.errors import PictureError
from lib_uniid.faces.colour import to_srgb
from lib_uniid.faces.containers import Container, UnusualError, contained
from lib_uniid.typing import Float32, UInt8

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
MAX_MASK_SIDE = 2048
"""Pixels; larger masks are reduced when read, because the latent is far smaller."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")

_BAND = 2_000_000
"""Pixels that are converted at a time, which keeps intermediate copies small."""

# Common wrong files, by their first bytes.
_LOOKALIKES = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript file"),
    (b"8BPS", "a Photoshop file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1aE\xdf\xa3", "a video"),
)
_ISO_MEDIA = {
    b"heic": "a HEIC picture",
    b"heix": "a HEIC picture",
    b"mif1": "a HEIC picture",
    b"avif": "an AVIF picture",
}
_REMEDY = f"use one of {', '.join(FORMATS)}"


def load_picture(source: Path | bytes, name: str = "the picture") -> UInt8[np.ndarray, "height width 3"]:
    """Decode a picture into sRGB, upright, first frame, with transparency on white.

    Args:
        source: a file, or the bytes of one.
        name: the name of bytes in a message; for a file its own name is used.

    Raises:
        PictureError: missing, not a picture, damaged, or larger than ``MAX_BYTES`` or ``MAX_PIXELS``.
    """
    return _decode(source, name, _rgb_of)


def load_mask(source: Path | bytes, name: str = "the mask") -> Float32[np.ndarray, "height width"]:
    """Decode a mask: 1 where it is white, or in a picture with transparency, where it is opaque.

    A side has at most ``MAX_MASK_SIDE`` pixels; larger masks are reduced. Arguments and errors as in
    :func:`load_picture`.
    """
    grey = _decode(source, name, _painted_of)
    height, width = grey.shape[:2]
    scale = MAX_MASK_SIDE / max(height, width)
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return grey.reshape(grey.shape[:2]).astype(np.float32) / 255.0


def check_picture(source: Path | bytes, name: str = "the picture") -> int:
    """The number of pixels; raises ``PictureError`` for problems that are visible without decoding."""
    width, height = _contained(source, name)[0].size or (0, 0)
    return width * height


def from_base64(text: str, name: str) -> bytes:
    """The bytes of base64 text or of a data URL; ``PictureError`` if the text is neither."""
    head, comma, tail = text.partition(",")
    encoded = tail if comma and head.startswith("data:") else text
    try:
        return base64.b64decode(encoded.encode("ascii").translate(None, b" \t\r\n"), validate=True)
    except ValueError as error:
        shown = f"{text[:40]!r} ({len(text)} characters)"
        raise PictureError(f"{name} must be a picture in base64, got {shown}") from error


def read_picture(path: Path) -> bytes:
    """A file's bytes, undecoded; ``PictureError`` if it cannot be read or is larger than ``MAX_BYTES``.

    At most one byte more is read, so that a growing file or a device cannot fill the memory.
    """
    if not path.exists():
        raise PictureError(f"file {path} not found; check the path")
    if not path.is_file():
        raise PictureError(f"{path.name} is not a file; choose a picture file")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PictureError(f"{path.name} cannot be read ({error.strerror}); check its permissions") from error
    _check_bytes(len(data), path.name)
    return data


def _check_bytes(size: int, name: str) -> None:
    if size > MAX_BYTES:
        raise PictureError(f"{name} is larger than {MAX_BYTES // 2**20} MB; save a smaller copy")


def _check_pixels(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"{name} has {width} x {height} pixels, more than {MAX_PIXELS // 10**6} megapixels; "
            "save a smaller copy"
        )


def _contained(source: Path | bytes, name: str) -> tuple[Container, str]:
    """The file's container and its name for messages."""
    if isinstance(source, Path):
        name, source = source.name, read_picture(source)
    if not source:
        raise PictureError(f"{name} is empty (0 bytes); choose another picture")
    _check_bytes(len(source), name)
    try:
        container = contained(source)
    except UnusualError as error:
        raise PictureError(f"{name} cannot be opened safely: {error}; save a copy as PNG") from error
    except (LookupError, struct.error) as error:
        raise _damaged(name, "the file ends early") from error
    except ValueError as error:
        raise _damaged(name, error) from error
    if container is None:
        raise PictureError(f"{name} is not a picture that can be opened: it {_resembles(source)}; {_REMEDY}")
    if container.size is not None:
        _check_pixels(container.size, name)
    return container, name


def _damaged(name: str, error: object) -> PictureError:
    return PictureError(f"{name} is damaged or incomplete ({error}); copy or download it again")


_Pixels = Callable[[Image.Image, bytes], UInt8[np.ndarray, "height width c"]]
"""Takes an opened picture and its colour profile."""


def _decode(source: Path | bytes, name: str, pixels: _Pixels) -> UInt8[np.ndarray, "height width c"]:
    container, name = _contained(source, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # our limit on pixels is lower than the one at which Pillow warns
        try:
            with Image.open(BytesIO(container.data), formats=(container.kind,)) as image:
                _check_pixels(image.size, name)
                image.load()
                decoded = pixels(image, container.profile)
        except Image.DecompressionBombError as error:
            raise PictureError(
                f"{name} declares more than {MAX_PIXELS // 10**6} megapixels; save a smaller copy"
            ) from error
        except UnidentifiedImageError as error:
            raise _damaged(name, "its header is wrong") from error
        except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
            raise _damaged(name, error) from error  # Pillow's decoders raise all of these
    return _upright(decoded, container.orientation)


def _upright(
    decoded: UInt8[np.ndarray, "stored_height stored_width c"], orientation: int
) -> UInt8[np.ndarray, "height width c"]:
    """Rotate and mirror by the EXIF orientation."""
    turned = decoded.transpose(1, 0, 2) if orientation >= 5 else decoded
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return np.ascontiguousarray(turned)


def _rgb_of(image: Image.Image, profile: bytes) -> UInt8[np.ndarray, "height width 3"]:
    mode = {"RGBA": "RGB", "RGBX": "RGB", "P": "RGB", "PA": "RGB", "LA": "L", "1": "L"}.get(image.mode)
    convert = to_srgb(profile, mode or ("L" if image.mode.startswith("I") else image.mode))
    rgb = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for rows, band in _bands(image):
        opaque = band.convert("RGB") if convert is None else convert(_opaque(band, mode or band.mode))
        rgb[rows] = np.asarray(_on_white(opaque, _alpha(band)))
    return rgb


def _painted_of(image: Image.Image, profile: bytes) -> UInt8[np.ndarray, "height width 1"]:
    """The values of a mask: alpha in a picture with transparency, else brightness."""
    del profile  # a mask uses only brightness
    grey, alpha = (np.empty((image.height, image.width, 1), dtype=np.uint8) for _ in range(2))
    alpha[:] = 255
    for rows, band in _bands(image):
        # The mean of the channels; stored masks depend on it.
        grey[rows, :, 0] = np.rint(np.asarray(band.convert("RGB")).mean(axis=2, dtype=np.float32))
        if (covered := _alpha(band)) is not None:
            alpha[rows, :, 0] = np.asarray(covered)
    return alpha if alpha.min() < 128 else grey


def _bands(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """A picture from top to bottom in parts of ``_BAND`` pixels, reduced from 16 bits to 8."""
    if image.mode == "F":
        raise ValueError("its values are floating-point numbers")
    step = max(1, _BAND // image.width)
    for top in range(0, image.height, step):
        rows = slice(top, min(top + step, image.height))
        yield rows, _eight_bits(image.crop((0, rows.start, image.width, rows.stop)))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow would clip it."""
    if not image.mode.startswith("I"):
        return image
    grey = np.clip(np.asarray(image, dtype=np.float64) / 257.0, 0.0, 255.0)
    return Image.fromarray(np.round(grey).astype(np.uint8))


def _opaque(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _alpha(image: Image.Image) -> Image.Image | None:
    """The alpha channel of a picture; None without transparency."""
    if "A" in image.getbands():
        return image.getchannel("A")
    return image.convert("RGBA").getchannel("A") if "transparency" in image.info else None


def _on_white(image: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is None:
        return image
    image.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _resembles(data: bytes) -> str:
    for magic, what in _LOOKALIKES:
        if data.startswith(magic):
            return f"is {what}"
    if data[4:8] == b"ftyp":
        return f"is {_ISO_MEDIA.get(data[8:12], 'a video')}"
    if _is_text(data[:512]):
        return "holds text"
    return f"begins with the bytes {data[:8].hex(' ')}"


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", errors="replace")
    return (
        all(character.isprintable() or character.isspace() for character in text)
        and "\ufffd" not in text[:-1]
    )
