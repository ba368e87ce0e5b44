"""Curves of one figure over another as a PNG, with Pillow alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIZE, MARGIN, SCALE = (720, 480), 70, 2
COLOURS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189))
GREY, INK = (222, 222, 222), (40, 40, 40)

Point = tuple[float, float, str]
"""Across, up, and what is written beside it."""


def draw(curves: Mapping[str, Sequence[Point]], across: str, up: str, path: Path) -> None:
    """Write one picture with a line for each curve; the axes span all points, in steps of a tenth."""
    points = [point for curve in curves.values() for point in curve]
    spans = _span([x for x, _, _ in points]), _span([y for _, y, _ in points])
    low, high = zip(*spans, strict=True)
    width, height = (side * SCALE for side in SIZE)
    margin = MARGIN * SCALE
    picture = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(15 * SCALE)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            margin + (x - low[0]) / (high[0] - low[0]) * (width - 2 * margin),
            height - margin - (y - low[1]) / (high[1] - low[1]) * (height - 2 * margin),
        )

    for tick in _ticks(low[0], high[0]):
        pen.line([place(tick, low[1]), place(tick, high[1])], GREY, SCALE)
        pen.text(place(tick, low[1]), f"{tick:.1f}", INK, font, "ma")
    for tick in _ticks(low[1], high[1]):
        pen.line([place(low[0], tick), place(high[0], tick)], GREY, SCALE)
        x, y = place(low[0], tick)
        pen.text((x - 6 * SCALE, y), f"{tick:.1f}", INK, font, "rm")
    pen.text((width / 2, height - margin / 2), across, INK, font, "ma")
    pen.text((margin, margin / 2), up, INK, font, "lm")
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        pen.line([place(x, y) for x, y, _ in curve], colour, 2 * SCALE)
        for x, y, beside in curve:
            at = place(x, y)
            pen.circle(at, 4 * SCALE, colour)
            pen.text((at[0] + 7 * SCALE, at[1] - 5 * SCALE), beside, colour, font, "ls")
        pen.text((width - margin, margin * 0.4 + number * 20 * SCALE), name, colour, font, "rm")
    picture.resize(SIZE, Image.Resampling.LANCZOS).save(path, optimize=True)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The tenths around all values, at least two tenths apart."""
    low, high = int(min(values) * 10 // 1), -int(-max(values) * 10 // 1)
    return low / 10, max(high, low + 2) / 10


def _ticks(low: float, high: float) -> list[float]:
    return [tenth / 10 for tenth in range(round(low * 10), round(high * 10) + 1)]
