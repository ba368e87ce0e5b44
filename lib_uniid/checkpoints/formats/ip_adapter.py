"""``ip-adapter_sd15.bin``: one picture as a prompt, optional beside the people (spec section 8)."""

from collections.abc import Collection

from lib_uniid.checkpoints.format import Format, Layout
from lib_uniid.checkpoints.formats.parts import keys_and_values, linear, norm


def _layout(_: Collection[str]) -> Layout:
    return {
        **norm("image_proj.norm", "context"),
        **linear("image_proj.proj", "image_tokens*context projection"),
        **keys_and_values("ip_adapter.", "ip"),
    }


IP_ADAPTER = Format(
    name="ip_adapter",
    title="IP-Adapter for SD1.5",
    marks=frozenset({"image_proj.proj.weight", "image_proj.norm.weight", "ip_adapter.1.to_k_ip.weight"}),
    excluded=frozenset({"ip_adapter.33.to_k_ip.weight"}),  # SDXL has more layers
    layout=_layout,
    groups=("image_proj", "ip_adapter"),
    remedy="get models/ip-adapter_sd15.bin from h94/IP-Adapter again",
)
