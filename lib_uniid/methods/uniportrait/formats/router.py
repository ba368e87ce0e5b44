"""``uniportrait-router_sd15.bin``: the router and the LoRA for several people.

The file carries more than is used, such as a frozen copy of the identity K/V; the rest is let pass.
"""

import re
from collections.abc import Collection

from lib_uniid.checkpoints.format import Format, Layout
from lib_uniid.methods.router_layers import router_layers
from lib_uniid.methods.uniportrait.formats.parts import SITES, lora

_GROUP = "faceid_adapter"


def _layout(_: Collection[str]) -> Layout:
    layout = lora(f"{_GROUP}.")
    for site in range(1, SITES, 2):
        name, width = f"{_GROUP}.{site}", f"width{site // 2}"
        layout |= router_layers(name, width, f"2*{width}")
    return layout


ROUTER = Format(
    name="router",
    title="UniPortrait router file",
    marks=frozenset({f"{_GROUP}.1.aggr_router.weight", f"{_GROUP}.1.to_q_router.0.weight"}),
    layout=_layout,
    # As in the official loader: what is neither LoRA nor router is not read.
    ignored=re.compile(rf"(?!{_GROUP}\.).*|(?!.*(?:lora|router)\.).*"),
    groups=(_GROUP,),
    remedy="get uniportrait-router_sd15.bin from Junjie96/UniPortrait again",
)
