"""Tests of what ships: each weight once, within a budget, described to doctor; training goes on from it."""

import hashlib
import json
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file

from lib_uniid.checkpoints.shipped import FILE
from miniature import MODELS, TRAINED
from miniature.assemble import shipped as described
from miniature.assemble import write_pack
from miniature.recipes.__main__ import take
from miniature.recipes.base import new_base
from miniature.recipes.kept import EXPORTED, kept_result, kept_results
from miniature.recipes.vae import WIDTHS, new_vae, pictures
from miniature.sdxl.assemble import complete
from miniature.widening import narrowed, widened

ROOT = Path(__file__).resolve().parents[2]
BUDGET = 70_000_000
"""Bytes of all weights; CONTRIBUTING names the number."""
LARGE = 1000
"""Numbers in a tensor that may stand once; small ones are often alike, as biases that are all zero."""


def shipped() -> list[Path]:
    """Every weights file that git tracks."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "*.safetensors", "*.onnx", "*.pt", "*.bin"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def tensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of the tensors in a safetensors or ONNX file."""
    if path.suffix == ".onnx":
        yield from ((one.name, numpy_helper.to_array(one)) for one in onnx.load(str(path)).graph.initializer)
    else:
        yield from load_file(path).items()


def stored_twice(paths: Iterable[Path]) -> list[list[str]]:
    """Groups of large tensors with the same numbers, whatever their shape, name and precision."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        for name, values in tensors(path):
            if values.size > LARGE and np.ptp(values):
                digest = hashlib.sha256(values.astype(np.float32).tobytes()).hexdigest()
                places[digest].append(f"{path.name}: {name}")
    return [found for found in places.values() if len(found) > 1]


def test_what_ships_stays_within_the_budget_that_contributors_read():
    assert sum(path.stat().st_size for path in shipped()) <= BUDGET
    assert f"{BUDGET // 10**6} MB of weights" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_no_tensor_ships_twice():
    golden = ROOT / "tests" / "golden"  # recorded outputs: two are alike where the official code says so
    paths = [path for path in shipped() if golden not in path.parents]
    assert {path.suffix for path in paths} == {".onnx", ".safetensors"}
    assert stored_twice(paths) == []


def test_the_check_sees_a_tensor_in_another_shape_and_precision(tmp_path: Path):
    values = np.arange(2048, dtype=np.float16)
    save_file({"one": values}, tmp_path / "a.safetensors")
    save_file({"two": values.reshape(32, 64).astype(np.float32)}, tmp_path / "b.safetensors")
    assert stored_twice(sorted(tmp_path.iterdir())) == [["a.safetensors: one", "b.safetensors: two"]]


def test_the_models_folder_describes_each_of_its_files():
    complete()
    assert json.loads((MODELS / FILE).read_text(encoding="utf-8")) == described(MODELS)


# --- training goes on from it ---


def test_training_finds_every_kept_result_though_each_ships_once():
    kept = {"base", "clip", "curricularface", "detector", "judge", "meters", "vae"}
    assert kept == set(kept_results())
    base = kept_result("base")
    assert base is not None
    new_base().load_state_dict(base)
    assert all(tensor.dtype in (torch.float16, torch.int64) for tensor in base.values())


def test_the_autoencoder_that_is_cut_out_of_the_checkpoint_keeps_pictures():
    state = kept_result("vae")
    assert state is not None
    vae = new_vae().eval()
    vae.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    drawn, _ = pictures(torch.Generator().manual_seed(5), 2)
    with torch.no_grad():
        again = vae.decode(vae.encode(drawn).latent_dist.mean).sample
    error = ((again - drawn) / 2).square().mean(dim=(1, 2, 3))
    assert (-10 * error.log10()).min() > 22


def test_what_the_checkpoint_lacks_of_a_result_is_all_that_is_kept_beside_it():
    assert set(load_file(TRAINED / "vae.safetensors")) == {
        f"{name}.{kind}" for name in ("quant_conv", "post_quant_conv") for kind in ("weight", "bias")
    }


def test_a_widened_autoencoder_is_narrowed_to_what_it_was():
    torch.manual_seed(0)
    state = new_vae().state_dict()
    again = narrowed(widened(state, WIDTHS), WIDTHS)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_a_face_model_is_assembled_again_byte_for_byte(name: str, tmp_path: Path):
    for one in EXPORTED:
        assert take(one, tmp_path / f"{one}.pt")
    write_pack(tmp_path, tmp_path / "pack")
    assert (tmp_path / "pack" / EXPORTED[name].name).read_bytes() == EXPORTED[name].read_bytes()
