"""Safe decoding: any file a person may hand over becomes an RGB array, or one clear sentence.

Nothing is decoded before its size is known: the number of bytes comes from the file, the number of
pixels from the header that Pillow reads without decoding.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lib_uniid.errors import PictureError
from lib_uniid.typing import UInt8

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")

# What people hand over by mistake, by its first bytes.
_LOOKALIKES = (
    (b"%PDF", "a PDF document"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
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
    """Decode a picture into RGB, upright, first frame, on white where it is transparent.

    Args:
        source: a file, or the bytes of one.
        name: how to call bytes in a message; a file is called by its own name.

    Raises:
        PictureError: no such file, no picture, damaged, or beyond ``MAX_BYTES`` or ``MAX_PIXELS``.
    """
    if isinstance(source, Path):
        name, source = source.name, _read(source)
    if not source:
        raise PictureError(f"{name} is empty (0 bytes); choose another picture")
    _check_bytes(len(source), name)
    return _decode(source, name)


def _read(path: Path) -> bytes:
    """At most one byte more than allowed, so that a growing file or a device cannot fill the memory."""
    if not path.exists():
        raise PictureError(f"there is no file {path}; check the path")
    if not path.is_file():
        raise PictureError(f"{path.name} is not a file; choose a picture file")
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PictureError(f"{path.name} cannot be read ({error.strerror}); check its permissions") from error


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


def _decode(data: bytes, name: str) -> UInt8[np.ndarray, "height width 3"]:
    with warnings.catch_warnings():
        # Our own cap is lower than the one Pillow warns at; damaged EXIF is no reason to refuse a picture.
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_pixels(image.size, name)
                image.load()
                return np.asarray(_to_rgb(_upright(image)))
        except UnidentifiedImageError as error:
            raise PictureError(
                f"{name} is not a picture that can be opened: it {_resembles(data)}; {_REMEDY}"
            ) from error
        except Image.DecompressionBombError as error:
            raise PictureError(
                f"{name} declares more than {MAX_PIXELS // 10**6} megapixels; save a smaller copy"
            ) from error
        except (
            OSError,
            SyntaxError,
            ValueError,
            EOFError,
            MemoryError,
        ) as error:  # Pillow's decoders raise all of these
            raise PictureError(
                f"{name} is damaged or incomplete ({error}); copy or download it again"
            ) from error


def _upright(image: Image.Image) -> Image.Image:
    """Turn the picture as its EXIF orientation says; broken EXIF leaves it as stored."""
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError):
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip it to 8 bits instead of scaling
        grey = np.clip(np.asarray(image, dtype=np.float64) / 257.0, 0.0, 255.0)
        return Image.fromarray(np.round(grey).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        return opaque.convert("RGB")
    return image.convert("RGB")


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
