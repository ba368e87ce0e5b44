"""Names that several layouts share; even attention layers are self, odd ones cross."""

from collections.abc import Collection

from lib_uniid.bases import SD15

SITES = SD15.sites


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


def keys_and_values(prefix: str, kind: str) -> dict[str, str]:
    """A second pair of key and value projections in every cross-attention layer."""
    return {
        f"{prefix}{site}.to_{projection}_{kind}.weight": f"width{site // 2} context"
        for site in range(1, SITES, 2)
        for projection in "kv"
    }


def norm(name: str, width: str) -> dict[str, str]:
    """Weight and bias of a norm."""
    return {f"{name}.weight": width, f"{name}.bias": width}


def linear(name: str, shape: str) -> dict[str, str]:
    """Weight and bias of a linear layer; ``shape`` is "out in"."""
    return {f"{name}.weight": shape, f"{name}.bias": shape.split()[0]}


def count(names: Collection[str], prefix: str) -> int:
    """How many numbered parts there are under ``prefix``, at least one."""
    numbers = {name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)}
    return max(1, sum(number.isdecimal() for number in numbers))
