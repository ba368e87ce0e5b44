"""What the recipes trained, kept in half precision in few files, and read again."""

import shutil
from pathlib import Path

import torch
from torch import Tensor

State = dict[str, Tensor]

MOST = 7_000_000
"""Values in one file of a result."""


def save(state: State, folder: Path, name: str) -> None:
    """In half precision, in as many numbered files as it takes."""
    parts: list[State] = [{}]
    for key, tensor in state.items():
        if sum(one.numel() for one in parts[-1].values()) > MOST:
            parts.append({})
        parts[-1][key] = tensor.half().cpu() if tensor.is_floating_point() else tensor.cpu()
    for number, part in enumerate(parts):
        torch.save(part, folder / f"{name}-{number}.pt")


def exists(folder: Path, name: str) -> bool:
    """Whether the result is there."""
    return (folder / f"{name}-0.pt").exists()


def copy(begin: Path, out: Path) -> None:
    """All results of one folder into another."""
    for path in begin.glob("*-[0-9].pt"):
        shutil.copyfile(path, out / path.name)


def load(folder: Path, name: str) -> State:
    """A result, in single precision."""
    state: State = {}
    for path in sorted(folder.glob(f"{name}-[0-9].pt")):
        state |= torch.load(path, weights_only=True)
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
