"""Colour profiles: conversion to sRGB, which the networks were trained with."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
_CLASSES = frozenset({"mntr", "scnr", "prtr", "spac"})
_SAME = 2
"""Grey levels by which a profile may differ from sRGB and still count as sRGB; rounding causes one."""

ToSRGB = Callable[[Image.Image], Image.Image]


def to_srgb(profile: bytes, mode: str) -> ToSRGB | None:
    """The conversion of pictures of ``mode`` (RGB, L or CMYK) with this ICC profile to sRGB.

    None if no conversion is needed: without a profile, with sRGB's, and with one that is damaged or belongs
    to another mode.
    """
    if not profile or mode not in _SPACES:
        return None
    try:
        convert = _transform(profile, mode)
    except Exception:  # littleCMS's errors have no other common base, and a damaged profile is ignored
        return None
    if convert is None or (mode == "RGB" and _is_same(convert)):
        return None
    return convert


def _transform(profile: bytes, mode: str) -> ToSRGB | None:
    from PIL import ImageCms

    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    described: Any = given.profile
    if described.xcolor_space != _SPACES[mode] or described.device_class not in _CLASSES:
        return None
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    transform: Any = ImageCms.buildTransform(given, srgb, mode, "RGB")

    def convert(picture: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(picture, transform)
        assert converted is not None, "without inPlace the result is a new picture"
        return converted

    convert(Image.new(mode, (1, 1)))
    return convert


def _is_same(convert: ToSRGB) -> bool:
    """Whether a conversion leaves all colours of a grid unchanged."""
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 9, 3)
    converted = np.asarray(convert(Image.fromarray(grid))).astype(int)
    return bool(np.abs(converted - grid).max() <= _SAME)
