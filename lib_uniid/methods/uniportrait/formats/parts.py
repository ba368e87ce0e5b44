"""What both files share: parts at every attention layer; even layers are self, odd ones cross."""

from lib_uniid.bases import SD15

SITES = 2 * len(SD15.unet.widths)


def lora(prefix: str) -> dict[str, str]:
    """LoRA on the four projections of every layer; ``width<n>`` is that of the n-th transformer block."""
    layout: dict[str, str] = {}
    for site in range(SITES):
        width = f"width{site // 2}"
        for projection in ("q", "k", "v", "out"):
            source = "context" if site % 2 and projection in "kv" else width
            name = f"{prefix}{site}.to_{projection}_lora"
            layout[f"{name}.down.weight"] = f"rank {source}"
            layout[f"{name}.up.weight"] = f"{width} rank"
    return layout


def keys_and_values(prefix: str) -> dict[str, str]:
    """The key and value projections of identity tokens in every cross-attention layer."""
    return {
        f"{prefix}{site}.to_{projection}_faceid.weight": f"width{site // 2} context"
        for site in range(1, SITES, 2)
        for projection in "kv"
    }
