"""ID features by name: their files, what is refused, and how references are joined."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import EncoderMismatchError, UnknownCheckpointError


def features(fingerprint: str = "ab", core: str = "", **tensors: Tensor) -> IDFeatures:
    named = tensors or {"embedding": torch.rand(2, 8), "tap": torch.rand(2, 3, 4, 4)}
    return IDFeatures(tensors=named, fingerprint=fingerprint, references=2, core=core)


def test_saved_features_load_again(tmp_path: Path):
    saved = features("ab+cd", core="ab")
    saved.save(tmp_path / "deep" / "a.safetensors")
    again = IDFeatures.load(tmp_path / "deep" / "a.safetensors")
    assert again.tensors.keys() == saved.tensors.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in saved.tensors.items())
    assert (again.fingerprint, again.core, again.references) == ("ab+cd", "ab", 2)


@pytest.mark.parametrize(
    ("fingerprint", "names", "core"),
    [
        ("ab+cd", ("intrinsic", "structure"), "ab"),
        ("ab", ("intrinsic",), "ab"),
        ("a+b", ("intrinsic",), "a+b"),
    ],
)
def test_a_file_of_the_first_format_has_its_core_in_the_fingerprint(
    tmp_path: Path, fingerprint: str, names: tuple[str, ...], core: str
):
    metadata = {"format": "uniid-features-1", "fingerprint": fingerprint, "references": "1"}
    save_file({name: torch.ones(2, 3) for name in names}, tmp_path / "a", metadata)
    assert IDFeatures.load(tmp_path / "a").core == core


def test_features_without_the_optional_tensors_fit_those_with_them():
    whole = features("ab+cd", core="ab")
    whole.require(features("ab"))
    whole.require(features("ab+cd", core="ab"))
    for other in (features("ab+ef", core="ab"), features("a"), features("cd")):
        with pytest.raises(EncoderMismatchError, match="enrol the person again"):
            whole.require(other)


def test_a_tensor_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(EncoderMismatchError, match="hold embedding, tap and no intrinsic"):
        features()["intrinsic"]
    assert features().get("intrinsic") is None


def test_joined_features_hold_what_both_have_one_reference_after_another():
    one, other = features(), features(embedding=torch.rand(2, 8).half())
    joined = one.joined(other)
    assert list(joined.tensors) == ["embedding"]
    assert torch.equal(joined["embedding"], torch.cat([one["embedding"], other["embedding"].float()]))
    assert joined.references == 4


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"a": torch.ones(3, 4)}, r"a has the shape \(3, 4\), and the number of references is 2"),
        ({"a": torch.ones(2)}, r"a has the shape \(2,\)"),
        ({"a": torch.ones(2, 4, dtype=torch.int32)}, "a holds torch.int32"),
        ({"a": torch.full((2, 4), float("nan"))}, "NaN or infinite"),
        ({"a": torch.full((2, 4), float("inf"))}, "NaN or infinite"),
    ],
)
def test_damaged_features_are_refused(tmp_path: Path, tensors: dict[str, Tensor], reason: str):
    metadata = {"format": "uniid-features-2", "fingerprint": "ab", "references": "2"}
    save_file(tensors, tmp_path / "a", metadata)
    with pytest.raises(UnknownCheckpointError, match=f"a is damaged .*{reason}"):
        IDFeatures.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({}, "0 tensors of ID features instead of 1 to 64"),
        ({"a": torch.ones(0, 4)}, r"a has the shape \(0, 4\)"),
    ],
)
def test_empty_features_are_refused(tmp_path: Path, tensors: dict[str, Tensor], reason: str):
    """Older releases of safetensors cannot read such files at all."""
    save_file(tensors, tmp_path / "a", {"format": "uniid-features-2", "fingerprint": "ab", "references": "2"})
    with pytest.raises(
        UnknownCheckpointError, match=f"a is damaged .*{reason}|a cannot be read as ID features"
    ):
        IDFeatures.load(tmp_path / "a")


def test_a_file_that_is_no_features_is_refused(tmp_path: Path):
    picture = io.BytesIO()
    Image.new("RGB", (2, 2)).save(picture, "PNG")
    for data in (b"", b"text", picture.getvalue()):
        (tmp_path / "a").write_bytes(data)
        with pytest.raises(UnknownCheckpointError, match="enrol the person again"):
            IDFeatures.load(tmp_path / "a")
    save_file({"a": torch.ones(2, 4)}, tmp_path / "a", {"fingerprint": "ab", "references": "2"})
    with pytest.raises(UnknownCheckpointError, match="of this version"):
        IDFeatures.load(tmp_path / "a")
