"""The text branch, as the official training saves it."""

from collections.abc import Collection

from lib_uniid.checkpoints.format import Format, Layout, Names
from lib_uniid.checkpoints.parts import count, feed_forward, linear, norm, perceiver_attention

PREFIX = "text_branch."


def _layout(names: Collection[str]) -> Layout:
    layout: dict[str, str] = {}
    for encoder in (1, 2):
        width, inner, resampler = f"width{encoder}", f"inner{encoder}", f"text_resampler_{encoder}"
        layout |= {
            **linear(f"proj_{encoder}.proj.0", "hidden embedding"),
            **linear(f"proj_{encoder}.proj.2", f"tokens*{width} hidden"),
            **norm(f"norm_{encoder}", width),
            **linear(f"{resampler}.proj_in", f"{width} tap"),
            **linear(f"{resampler}.proj_out", f"{width} {width}"),
            **norm(f"{resampler}.norm_out", width),
        }
        for layer in range(count(names, f"{resampler}.layers.")):
            layout |= perceiver_attention(f"{resampler}.layers.{layer}.0", inner, width)
            layout |= feed_forward(f"{resampler}.layers.{layer}.1", width)
    return layout


TEXT_BRANCH = Format(
    name="text_branch",
    title="UniID text branch",
    marks=frozenset({"proj_1.proj.0.weight", "text_resampler_1.proj_in.weight"}),
    layout=_layout,
    prefix=PREFIX,
    fragments=Names(r"(text_branch\.)?text_resampler_\d\."),
    remedy="get text_branch_checkpoints/pytorch_model.bin from pangly/UniID again",
)
