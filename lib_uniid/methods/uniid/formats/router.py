"""``uniid-router_sdxl.safetensors``: a router for several people, this project's own format.

No such file is published with UniID. Its layers are those of UniPortrait's router, one set for each
transformer of the UNet, by the number of the transformer's first cross-attention layer. Channels between the
layers that read the picture may be any number: these layers stay on the device while sampling.
"""

from collections.abc import Collection

from lib_uniid.bases import SDXL
from lib_uniid.checkpoints.format import Format, Layout, Names
from lib_uniid.methods.router_layers import router_layers

MODULES = "router_modules."


def _layout(_: Collection[str]) -> Layout:
    layout: dict[str, str] = {}
    for leader in SDXL.unet_leaders:
        channels = SDXL.unet.widths[leader]
        name, width, inner = f"{MODULES}{2 * leader + 1}", f"width{channels}", f"inner{channels}"
        layout |= router_layers(name, width, inner)
    return layout


ROUTER = Format(
    name="uniid_router",
    title="UniID router file",
    marks=frozenset({f"{MODULES}1.aggr_router.weight", f"{MODULES}1.to_q_router.0.weight"}),
    layout=_layout,
    fragments=Names(r"router_modules\."),
    remedy="train it again, or remove it: people are then routed without a trained router",
)
