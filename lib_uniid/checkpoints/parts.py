"""Parts of layouts that several formats share."""

from collections.abc import Collection


def norm(name: str, width: str) -> dict[str, str]:
    """Weight and bias of a norm."""
    return {f"{name}.weight": width, f"{name}.bias": width}


def linear(name: str, shape: str) -> dict[str, str]:
    """Weight and bias of a linear layer; ``shape`` is "out in"."""
    return {f"{name}.weight": shape, f"{name}.bias": shape.split()[0]}


def batch_norm(name: str, width: str) -> dict[str, str]:
    """A batch norm with weight and bias."""
    return {**norm(name, width), **statistics(name, width)}


def statistics(name: str, width: str) -> dict[str, str]:
    """What a batch norm has measured."""
    return {f"{name}.running_mean": width, f"{name}.running_var": width, f"{name}.num_batches_tracked": ""}


def perceiver_attention(name: str, inner: str, dim: str) -> dict[str, str]:
    """The attention of a resampler: latents of the width ``dim`` read features and themselves."""
    return {
        **norm(f"{name}.norm1", dim),
        **norm(f"{name}.norm2", dim),
        f"{name}.to_q.weight": f"{inner} {dim}",
        f"{name}.to_kv.weight": f"2*{inner} {dim}",
        f"{name}.to_out.weight": f"{dim} {inner}",
    }


def feed_forward(name: str, dim: str) -> dict[str, str]:
    """The feed-forward part of a resampler's layer."""
    return {
        **norm(f"{name}.0", dim),
        f"{name}.1.weight": f"mult*{dim} {dim}",
        f"{name}.3.weight": f"{dim} mult*{dim}",
    }


def count(names: Collection[str], prefix: str) -> int:
    """The number of numbered parts under ``prefix``, at least one."""
    numbers = {name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)}
    return max(1, sum(number.isdecimal() for number in numbers))
