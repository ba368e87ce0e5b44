"""The tensors of a trained router at one site, as the router files of several methods name them."""

from lib_uniid.checkpoints.format import Layout
from lib_uniid.checkpoints.parts import linear


def router_layers(name: str, width: str, inner: str) -> Layout:
    """Of the site ``name``, for image tokens of ``width`` channels with ``inner`` between their layers."""
    return {
        **linear(f"{name}.to_q_router.0", f"{inner} {width}"),
        f"{name}.to_q_router.2.weight": f"{width} {inner}",
        **linear(f"{name}.to_k_router.0", "2*context context"),
        f"{name}.to_k_router.2.weight": f"{width} 2*context",
        **linear(f"{name}.aggr_router", "1 tokens"),
    }
