"""Parts of layouts that several formats share."""

from collections.abc import Collection


def norm(name: str, width: str) -> dict[str, str]:
    """Weight and bias of a norm."""
    return {f"{name}.weight": width, f"{name}.bias": width}


def linear(name: str, shape: str) -> dict[str, str]:
    """Weight and bias of a linear layer; ``shape`` is "out in"."""
    return {f"{name}.weight": shape, f"{name}.bias": shape.split()[0]}


def count(names: Collection[str], prefix: str) -> int:
    """The number of numbered parts under ``prefix``, at least one."""
    numbers = {name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)}
    return max(1, sum(number.isdecimal() for number in numbers))
