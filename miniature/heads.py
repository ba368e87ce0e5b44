"""One head, drawn: skin, hair, eyes, mouth and all, from an identity and a look.

Coordinates: the head's own frame, x to the right and y down, the face's half height is 1 (chin at +1).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lib_uniid.typing import Float
from miniature.characters import HAIR_STYLES, Looks, choice_of, trait
from miniature.drawing import box, cover, ellipse, paint, stroke

SKIN = torch.tensor([[0.34, 0.21, 0.15], [0.99, 0.84, 0.72]])
IRIS = torch.tensor([[0.28, 0.15, 0.06], [0.22, 0.50, 0.20], [0.18, 0.45, 0.85]])
HAIR = torch.tensor(
    [[0.07, 0.06, 0.07], [0.38, 0.21, 0.10], [0.93, 0.78, 0.38], [0.72, 0.24, 0.08], [0.15, 0.30, 0.85]]
)
GREY = torch.tensor([0.80, 0.80, 0.82])
INK = torch.tensor([0.08, 0.07, 0.09])


@dataclass(frozen=True, slots=True)
class Placement:
    """Where heads stand in the picture, in pixels; every field is ``[n]``."""

    x: Tensor
    y: Tensor
    half_height: Tensor

    def __getitem__(self, index: Tensor | slice) -> "Placement":
        return Placement(self.x[index], self.y[index], self.half_height[index])


@dataclass(frozen=True, slots=True)
class _Geometry:
    """The measures that drawing and landmarks share; every field is ``[n]``."""

    half_width: Tensor
    eye_x: Tensor
    eye_y: Tensor
    nose_y: Tensor
    mouth_y: Tensor
    mouth_half_width: Tensor
    smile_bow: Tensor
    turn: Tensor


def _geometry(who: Tensor, looks: Looks) -> _Geometry:
    return _Geometry(
        half_width=0.75 + 0.13 * trait(who, "face_width"),
        eye_x=0.35 + 0.065 * trait(who, "eye_spacing"),
        eye_y=-0.10 + 0.07 * trait(who, "eye_height"),
        nose_y=0.24 + 0.08 * trait(who, "nose_length"),
        mouth_y=0.56 + 0.06 * trait(who, "mouth_height"),
        mouth_half_width=0.27 + 0.07 * trait(who, "mouth_width") + 0.06 * looks.smile.clamp(min=0),
        smile_bow=0.17 * looks.smile,
        turn=0.20 * looks.yaw,
    )


def landmarks(who: Tensor, looks: Looks, place: Placement) -> Float[Tensor, "n 5 2"]:
    """The five points of insightface (eyes, nose, mouth corners) in picture pixels."""
    g = _geometry(who, looks)
    xs = torch.stack(
        [
            g.turn - g.eye_x,
            g.turn + g.eye_x,
            g.turn * 1.5,
            g.turn - g.mouth_half_width,
            g.turn + g.mouth_half_width,
        ],
        dim=1,
    )
    ys = torch.stack([g.eye_y, g.eye_y, g.nose_y, g.mouth_y, g.mouth_y], dim=1)
    cos, sin = looks.roll.cos()[:, None], looks.roll.sin()[:, None]
    scale = place.half_height[:, None]
    return torch.stack(
        [place.x[:, None] + scale * (cos * xs - sin * ys), place.y[:, None] + scale * (sin * xs + cos * ys)],
        dim=2,
    )


def boxes(who: Tensor, place: Placement) -> Float[Tensor, "n 4"]:
    """Face boxes (left, top, right, bottom) in picture pixels."""
    wide = _half_width(who) * place.half_height
    return torch.stack(
        [place.x - wide, place.y - place.half_height, place.x + wide, place.y + place.half_height], dim=1
    )


def _half_width(who: Tensor) -> Tensor:
    return 0.75 + 0.13 * trait(who, "face_width")


class HeadPainter:
    """Draws a batch of heads onto a batch of canvases, back to front."""

    def __init__(
        self, canvas: Float[Tensor, "n 3 height width"], who: Tensor, looks: Looks, place: Placement
    ):
        height, width = canvas.shape[2:]
        rows = torch.arange(height, dtype=torch.float32)[None, :, None] + 0.5 - place.y[:, None, None]
        columns = torch.arange(width, dtype=torch.float32)[None, None, :] + 0.5 - place.x[:, None, None]
        cos, sin = looks.roll.cos()[:, None, None], looks.roll.sin()[:, None, None]
        self.scale = place.half_height[:, None, None]
        self.x = (cos * columns + sin * rows) / self.scale
        self.y = (cos * rows - sin * columns) / self.scale
        self.canvas, self.who, self.looks = canvas, who, looks
        self.g = _geometry(who, looks)
        self.style = choice_of(trait(who, "hair_style"), len(HAIR_STYLES))
        tone = (trait(who, "skin")[:, None] + 1) / 2
        dark, light = SKIN.to(canvas)
        self.skin = dark + (light - dark) * tone
        self.skin = self.skin + trait(who, "skin_warmth")[:, None] * torch.tensor([0.02, -0.01, -0.05])
        greying = (looks.age[:, None] * (looks.hair[:, None] < 4)).clamp(0, 0.85)
        hair = HAIR.to(canvas)[looks.hair]
        self.hair = hair + (GREY.to(canvas) - hair) * greying
        self.face = self._face_shape()

    def draw(self) -> Float[Tensor, "n 3 height width"]:
        """The canvases with the heads on them."""
        self._back_hair()
        self._neck_and_ears()
        self._face()
        self._wrinkles()
        self._beard()
        self._eyes()
        self._nose()
        self._mouth()
        self._mole()
        self._front_hair()
        self._glasses()
        return self.canvas

    def _t(self, name: str) -> Tensor:
        return trait(self.who, name)[:, None, None]

    def _m(self, measure: Tensor) -> Tensor:
        return measure[:, None, None]

    def _lay(self, colour: Tensor, distance: Tensor, alpha: Tensor | float = 1.0) -> None:
        if colour.dim() == 1:
            colour = colour.to(self.canvas).expand(len(self.canvas), 3)
        self.canvas = paint(self.canvas, colour, cover(distance, self.scale) * alpha)

    def _is(self, *styles: str) -> Tensor:
        numbers = torch.tensor([HAIR_STYLES.index(style) for style in styles])
        return torch.isin(self.style, numbers)[:, None, None].float()

    def _face_shape(self) -> Tensor:
        """Superellipse that narrows towards the chin, less so for a strong jaw."""
        jaw = self._t("jaw")
        narrowing = (0.30 - 0.22 * jaw) * self.y.clamp(0, 1)
        half_width = self._m(self.g.half_width) * (1 - narrowing)
        power = 2.4 + 0.6 * jaw
        reach = (self.x.abs() / half_width) ** power + self.y.abs() ** power
        return ((reach + 1e-9) ** (1 / power) - 1) * half_width

    def _back_hair(self) -> None:
        wide = self._m(self.g.half_width)
        self._lay(self.hair, ellipse(self.x, self.y - 0.30, wide * 1.32, 1.35), self._is("long"))
        self._lay(self.hair, ellipse(self.x, self.y + 0.35, wide * 1.62, 1.12), self._is("afro"))
        self._lay(self.hair, box(self.x, self.y + 0.05, wide * 1.22, 0.72), self._is("bob"))
        self._lay(self.hair, ellipse(self.x, self.y + 1.22, 0.36, 0.34), self._is("bun"))

    def _neck_and_ears(self) -> None:
        shade = self.skin * 0.82
        self._lay(shade, box(self.x, self.y - 1.1, 0.34, 0.5))
        for side in (-1, 1):
            at = side * self._m(self.g.half_width) * 0.98
            self._lay(shade, ellipse(self.x - at, self.y - 0.05, 0.12, 0.2))

    def _face(self) -> None:
        light = 1 - 0.16 * self.x * self._m(self.looks.light) - 0.10 * self.y.clamp(min=0) ** 2
        shaded = self.skin[:, :, None, None] * light[:, None]
        self.canvas = paint(self.canvas, shaded.clamp(0, 1), cover(self.face, self.scale))

    def _wrinkles(self) -> None:
        age = self._m(self.looks.age)
        line = self.skin * 0.62
        strength = ((age - 0.3) / 0.5).clamp(0, 1)
        x = self.x - self._m(self.g.turn)
        for height in (-0.56, -0.44):
            self._lay(line, stroke(x, self.y - height, 0.36, -0.03, 0.018), strength * 0.8)
        for side in (-1, 1):
            fold = stroke(self.y - 0.45, (x - side * 0.36) * side, 0.17, 0.07, 0.022)
            self._lay(line, fold, strength * 0.9)
            bag = stroke(
                x - side * self._m(self.g.eye_x), self.y - self._m(self.g.eye_y) - 0.2, 0.14, 0.04, 0.016
            )
            self._lay(line, bag, strength * 0.8)

    def _beard(self) -> None:
        beard = self._t("beard")
        mouth = self._m(self.g.mouth_y)
        colour = self.hair * 0.85
        full = (self.face + 0.02).maximum(0.30 - self.y + 0.35 * (1 - self.x.abs()))
        self._lay(colour, full, (beard > 0.55).float() * 0.92)
        moustache = stroke(self.x - self._m(self.g.turn), self.y - mouth + 0.155, 0.30, -0.04, 0.055)
        self._lay(colour, moustache, (beard > 0.2).float())

    def _eyes(self) -> None:
        size = self._t("eye_size")
        squint = 0.03 * self._m(self.looks.smile).clamp(min=0)
        palette = (self._t("iris") + 1)[:, 0]
        brown, green, blue = IRIS.to(palette)
        iris = torch.where(
            palette < 1, brown + (green - brown) * palette, green + (blue - green) * (palette - 1)
        )
        white, brow = torch.tensor([0.97, 0.97, 0.98]), self.hair * 0.7
        yaw = self._m(self.looks.yaw)
        for side in (-1, 1):
            x = self.x - self._m(self.g.turn) - side * self._m(self.g.eye_x)
            y = self.y - self._m(self.g.eye_y) - side * self._t("eye_tilt") * 0.22 * x
            half_width = (0.19 + 0.035 * size) * (1 - 0.15 * side * yaw)
            half_height = 0.125 + 0.03 * size - squint
            self._lay(self.skin * 0.5, ellipse(x, y, half_width + 0.03, half_height + 0.03))
            eye = ellipse(x, y, half_width, half_height)
            self._lay(white, eye)
            gaze = x - 0.06 * yaw
            self._lay(iris, ellipse(gaze, y, 0.10, 0.10).maximum(eye))
            self._lay(INK, ellipse(gaze, y, 0.048, 0.048).maximum(eye))
            lift = 0.25 + 0.05 * self._t("brow_height") + 0.02 * self._m(self.looks.smile)
            slant = side * (0.25 * self._t("brow_tilt") + 0.15 * self._m(self.looks.smile).clamp(max=0)) * x
            self._lay(
                brow, stroke(x, y + lift - slant, 0.23, -0.05, 0.048 + 0.028 * self._t("brow_thickness"))
            )

    def _nose(self) -> None:
        x = self.x - 1.5 * self._m(self.g.turn)
        y = self.y - self._m(self.g.nose_y)
        half_width = 0.135 + 0.05 * self._t("nose_width")
        self._lay(self.skin * 0.72, ellipse(x, y - 0.02, half_width, 0.085))
        self._lay((self.skin * 1.06).clamp(max=1), ellipse(x, y + 0.04, half_width * 0.8, 0.085))
        self._lay(
            self.skin * 0.78, stroke(y + 0.2, x - 0.06 * self._m(self.looks.light).sign(), 0.17, 0.0, 0.022)
        )

    def _mouth(self) -> None:
        wide, bow = self._m(self.g.mouth_half_width), self._m(self.g.smile_bow)
        x, y = self.x - self._m(self.g.turn), self.y - self._m(self.g.mouth_y) + bow / 2
        red = torch.tensor([0.75, 0.18, 0.22])
        warmth = 0.35 + 0.3 * (trait(self.who, "lip_colour")[:, None] + 1) / 2
        lip = self.skin * 0.75 + (red - self.skin * 0.75) * warmth
        thickness = 0.06 + 0.025 * self._t("lips")
        self._lay(lip, stroke(x, y, wide, bow, thickness))
        teeth = ((self._m(self.looks.smile) - 0.3) * 0.09).clamp(min=0)
        self._lay(torch.tensor([0.98, 0.98, 0.96]), stroke(x, y, wide * 0.85, bow * 0.95, teeth))
        self._lay(self.skin * 0.35, stroke(x, y, wide * 0.96, bow, 0.018), (teeth <= 0).float())

    def _mole(self) -> None:
        x = self.x - self._m(self.g.turn) - 0.42 * self._t("mole_x").sign()
        y = self.y - 0.32 - 0.12 * self._t("mole_y")
        self._lay(self.skin * 0.35, ellipse(x, y, 0.065, 0.065), (self._t("mole") > 0.1).float())

    def _front_hair(self) -> None:
        wide = self._m(self.g.half_width)
        line = -0.52 - 0.08 * self._t("hair_line")
        cap = ellipse(self.x, self.y + 0.12, wide * 1.10, 1.02)
        swept = cap.maximum(self.y - line - 0.55 * self.x**2)
        parted = cap.maximum(self.y - line - 0.9 * (self.x - 0.15) ** 2)
        fringe = cap.maximum(self.y - line - 0.18 - 0.2 * self.x**2)
        self._lay(self.hair, swept, self._is("short", "bun"))
        self._lay(self.hair, parted, self._is("long", "afro"))
        self._lay(self.hair, fringe, self._is("bob"))

    def _glasses(self) -> None:
        worn = self._m(self.looks.glasses)
        x0, y = self.x - self._m(self.g.turn), self.y - self._m(self.g.eye_y)
        for side in (-1, 1):
            rim = ellipse(x0 - side * self._m(self.g.eye_x), y, 0.27, 0.23)
            self._lay(INK, rim.abs() - 0.035, worn)
            temple = box(x0 - side * (self._m(self.g.eye_x) + 0.38), y + 0.03, 0.12, 0.03)
            self._lay(INK, temple, worn)
        self._lay(INK, box(x0, y + 0.03, 0.10, 0.03), worn)
