"""Tests of safe decoding."""

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from benchmarks.corpus import pictures as corpus
from lib_uniid.errors import PictureError
from lib_uniid.faces import picture as decoding
from lib_uniid.faces.containers import contained
from lib_uniid.faces.picture import load_mask, load_picture
from tests.faces.profiles import DISPLAY_P3

RED, WHITE = (255, 0, 0), (255, 255, 255)
P3_IN_SRGB = (83, 152, 205)
"""(100, 150, 200) of Display P3, by the matrix between both spaces (SMPTE EG 432-1, IEC 61966-2-1)."""


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_every_allowed_format_is_read_as_rgb(kind: str):
    picture = load_picture(encoded(Image.new("RGB", (6, 4), RED), kind))
    assert picture.shape == (4, 6, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_allclose(picture[0, 0], RED, atol=3)


def test_a_single_pixel_is_a_picture():
    assert load_picture(encoded(Image.new("RGB", (1, 1), RED))).tolist() == [[[255, 0, 0]]]


def test_a_file_is_read_under_any_name(tmp_path: Path):
    path = tmp_path / "face.jpg"
    path.write_bytes(encoded(Image.new("RGB", (3, 2), RED), "PNG"))
    assert load_picture(path).shape == (2, 3, 3)


def test_exif_orientation_turns_the_picture_upright():
    image = Image.new("RGB", (8, 4), WHITE)
    image.paste(RED, (0, 0, 4, 4))  # left half
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    picture = load_picture(encoded(image, "PNG", exif=exif))
    assert picture.shape == (8, 4, 3)
    assert tuple(picture[0, 0]) == RED
    assert tuple(picture[-1, 0]) == WHITE


def test_transparency_becomes_white():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 0))
    assert load_picture(encoded(image)).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_a_transparent_palette_colour_becomes_white():
    image = Image.new("P", (1, 1))
    image.putpalette([10, 20, 30])
    assert load_picture(encoded(image, transparency=0)).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize(("mode", "grey"), [("L", 100), ("1", 255), ("LA", 100)])
def test_grey_fills_all_three_channels(mode: str, grey: int):
    image = Image.new("L", (2, 2), grey).convert(mode)
    assert load_picture(encoded(image))[0, 0].tolist() == [grey] * 3


def test_sixteen_bits_are_scaled_to_eight():
    image = Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16))
    assert load_picture(encoded(image))[0, :, 0].tolist() == [0, 128, 255]


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, WHITE)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert tuple(load_picture(data)[0, 0]) == RED


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"dear reader,\nthis is text", "text"),
        (b"<html>not found</html>", "text"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (bytes(range(200, 256)), "bytes"),
    ],
)
def test_the_message_for_another_file_type_names_that_type(tmp_path: Path, data: bytes, says: str):
    path = tmp_path / "face.png"
    path.write_bytes(data)
    with pytest.raises(PictureError, match=says) as raised:
        load_picture(path)
    assert "face.png" in str(raised.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_refused(kind: str, kept: float):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(PictureError):
        load_picture(data[: int(len(data) * kept)])


@pytest.mark.parametrize("size", [(7072, 7072), (20000, 20000), (2**31 - 1, 2**31 - 1)])
def test_too_many_pixels_are_refused_before_decoding(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]):
    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "load", decode)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    with pytest.raises(PictureError, match="megapixels"):
        load_picture(png_header(*size))


def test_too_many_bytes_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(decoding, "MAX_BYTES", 2**20)
    path = tmp_path / "large.png"
    path.write_bytes(b"\x89PNG" + bytes(2**20))
    with pytest.raises(PictureError, match=r"large\.png is larger than 1 MB"):
        load_picture(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path):
    with pytest.raises(PictureError, match="not found"):
        load_picture(tmp_path / "none.png")
    with pytest.raises(PictureError, match="is not a file"):
        load_picture(tmp_path)


def test_broken_exif_does_not_cost_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encoded(Image.new("RGB", (4, 4), RED), "JPEG", exif=exif)
    broken = data.replace(b"Exif\0\0", b"Exif\0\0" + b"\xff" * 4, 1)
    assert load_picture(broken).shape == (4, 4, 3)


UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_orientation_of_every_format_is_turned_upright(kind: str, orientation: int):
    noise = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = Image.fromarray(load_picture(encoded(Image.fromarray(noise), kind, **options)))
    upright = stored.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else stored
    turned = load_picture(encoded(Image.fromarray(noise), kind, exif=exif, **options))
    np.testing.assert_array_equal(turned, np.asarray(upright))


def test_an_orientation_only_in_xmp_is_used():
    data, xmp = encoded(Image.new("RGB", (4, 2), RED), "JPEG"), b'<x tiff:Orientation="6"/>'
    packet = b"http://ns.adobe.com/xap/1.0/\0" + xmp
    segment = b"\xff\xe1" + struct.pack(">H", len(packet) + 2) + packet
    assert load_picture(data[:2] + segment + data[2:]).shape == (4, 2, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_large_picture_is_decoded_as_pillow_does(kind: str):
    noise = np.random.default_rng(0).integers(0, 256, (1400, 1500, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(load_picture(data), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("name", ["eps", "eps_in_dos_header", "svg", "pdf", "zip"])
def test_other_formats_never_reach_pillow(monkeypatch: pytest.MonkeyPatch, name: str):
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(Image, "open", opened)
    with pytest.raises(PictureError, match="use one of PNG"):
        load_picture(corpus.FILES[name]())


def test_what_pillow_reads_has_no_comments_and_no_exif():
    exif = Image.Exif()
    exif[0x010E] = "where it was taken"
    for kind in ("PNG", "JPEG", "GIF"):
        data = encoded(Image.new("RGB", (4, 4)), kind, exif=exif, comment=b"who took it")
        container = contained(data)
        assert container is not None
        assert b"taken" not in container.data
        assert b"who took it" not in container.data


def test_files_of_pictures_are_opened_in_one_place():
    root = Path(decoding.__file__).parents[1]
    openers = re.compile(r"Image\.open|\bimread|\bimdecode|imageio|decode_base64_to_image")
    opening = [path for path in root.rglob("*.py") if openers.search(path.read_text(encoding="utf-8"))]
    assert opening == [Path(decoding.__file__)]


# --- colour profiles ---


def profiled(image: Image.Image, profile: bytes, kind: str = "PNG") -> np.ndarray:
    return load_picture(encoded(image, kind, icc_profile=profile))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_colour_of_a_wider_space_becomes_that_of_srgb(kind: str):
    picture = profiled(Image.new("RGB", (64, 64), (100, 150, 200)), DISPLAY_P3, kind)
    np.testing.assert_allclose(picture[32, 32], P3_IN_SRGB, atol=3)


def test_a_picture_in_srgb_stays_as_it_is():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(profiled(Image.fromarray(noise), srgb), noise)


@pytest.mark.parametrize("profile", [b"no profile", DISPLAY_P3[:200], DISPLAY_P3[:132] + b"\xff" * 300])
def test_a_damaged_profile_is_ignored(profile: bytes):
    assert tuple(profiled(Image.new("RGB", (2, 2), RED), profile)[0, 0]) == RED


def test_a_profile_of_another_kind_of_picture_is_ignored():
    assert profiled(Image.new("L", (2, 2), 100), DISPLAY_P3)[0, 0].tolist() == [100] * 3


def test_transparency_stays_beside_a_profile():
    image = Image.new("RGBA", (2, 1), (100, 150, 200, 255))
    image.putpixel((1, 0), (100, 150, 200, 0))
    picture = profiled(image, DISPLAY_P3)
    np.testing.assert_allclose(picture[0], [P3_IN_SRGB, WHITE], atol=3)


def test_cmyk_becomes_rgb():
    picture = load_picture(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    np.testing.assert_allclose(picture[0, 0], RED, atol=3)


# --- masks ---


def test_a_mask_is_one_where_it_is_white():
    image = Image.new("L", (3, 1))
    image.putdata([0, 51, 255])
    np.testing.assert_allclose(load_mask(encoded(image)), [[0.0, 0.2, 1.0]])


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 30, 60)])
def test_the_painted_parts_count_in_a_mask_with_transparent_parts(colour: tuple[int, int, int]):
    image = Image.new("RGBA", (3, 1))
    image.putpixel((1, 0), (*colour, 255))
    image.putpixel((2, 0), (*colour, 51))
    np.testing.assert_allclose(load_mask(encoded(image)), [[0.0, 1.0, 0.2]])


def test_a_mask_whose_alpha_covers_all_is_read_by_its_brightness():
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (255, 255, 255, 255))
    np.testing.assert_allclose(load_mask(encoded(image)), [[0.0, 1.0]])


def test_a_large_mask_is_reduced_at_once():
    image = Image.new("L", (4096, 1024))
    image.paste(255, (2048, 0, 4096, 1024))
    mask = load_mask(encoded(image))
    assert mask.shape == (512, 2048)
    assert (mask[:, :1024] == 0).all()
    assert (mask[:, 1024:] == 1).all()
