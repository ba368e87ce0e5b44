"""``glint360k_curricular_face_r101_backbone.bin``: the face recogniser IR-101."""

from collections.abc import Collection

from lib_uniid.checkpoints.format import Format, Layout
from lib_uniid.checkpoints.parts import batch_norm, count, linear, statistics


def _layout(names: Collection[str]) -> Layout:
    names = set(names)
    layout = {"input_layer.0.weight": "stem 3 3 3", **batch_norm("input_layer.1", "stem")}
    layout["input_layer.2.weight"] = "stem"
    width = "stem"
    for block in range(count(names, "body.")):
        name, width_in = f"body.{block}", width
        # A convolution in the shortcut means that the width changes here.
        if f"{name}.shortcut_layer.0.weight" in names:
            width = f"width{block}"
            layout[f"{name}.shortcut_layer.0.weight"] = f"{width} {width_in} 1 1"
            layout |= batch_norm(f"{name}.shortcut_layer.1", width)
        layout |= _residual(f"{name}.res_layer", width_in, width)
    return {
        **layout,
        **batch_norm("output_layer.0", width),
        **linear("output_layer.3", f"embedding positions*{width}"),
        **statistics("output_layer.4", "embedding"),
    }


def _residual(name: str, width_in: str, width: str) -> dict[str, str]:
    return {
        **batch_norm(f"{name}.0", width_in),
        f"{name}.1.weight": f"{width} {width_in} 3 3",
        **batch_norm(f"{name}.2", width),
        f"{name}.3.weight": width,
        f"{name}.4.weight": f"{width} {width} 3 3",
        **batch_norm(f"{name}.5", width),
    }


CURRICULARFACE = Format(
    name="curricularface",
    title="CurricularFace IR-101 recogniser",
    marks=frozenset({"input_layer.0.weight", "body.0.res_layer.0.weight", "output_layer.3.weight"}),
    layout=_layout,
    remedy="get glint360k_curricular_face_r101_backbone.bin from Junjie96/UniPortrait again",
)
