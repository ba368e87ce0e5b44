"""Laws of keeping a PyTorch file as safetensors."""

from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file

from lib_uniid.checkpoints.header import read_header
from lib_uniid.checkpoints.reading import convert, read
from lib_uniid.errors import UnknownCheckpointError
from lib_uniid.files import sha256
from tests.checkpoints.builders import faceid, write


def test_a_converted_file_holds_the_same_tensors_by_flat_name(tmp_path: Path):
    source = write(tmp_path / "a.bin", faceid())
    kept = convert(source, tmp_path / "kept" / "a.safetensors")
    theirs, ours = read(source), load_file(kept)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_a_converted_file_names_its_source(tmp_path: Path):
    source = write(tmp_path / "a.bin", {"a": torch.zeros(1)})
    metadata = read_header(convert(source, tmp_path / "a.safetensors")).metadata
    assert metadata["source_name"] == "a.bin"
    assert metadata["source_sha256"] == sha256(source)


def test_the_same_file_is_converted_once_and_another_again(tmp_path: Path):
    source, kept = write(tmp_path / "a.bin", {"a": torch.zeros(1)}), tmp_path / "a.safetensors"
    convert(source, kept)
    with patch("safetensors.torch.save_file", side_effect=AssertionError("written again")):
        convert(source, kept)
    write(source, {"a": torch.ones(1)})
    assert load_file(convert(source, kept))["a"].item() == 1


def test_tensors_that_share_memory_or_are_transposed_are_kept(tmp_path: Path):
    base = torch.arange(6.0).reshape(2, 3)
    source = write(tmp_path / "a.bin", {"a": base, "b": base[0], "c": base.T})
    kept = load_file(convert(source, tmp_path / "a.safetensors"))
    assert torch.equal(kept["c"], base.T)


def test_nothing_half_written_stays_after_an_error(tmp_path: Path):
    source = write(tmp_path / "a.bin", {"a": torch.zeros(1)})
    with (
        patch("safetensors.torch.save_file", side_effect=OSError("disk full")),
        pytest.raises(OSError, match="disk"),
    ):
        convert(source, tmp_path / "kept" / "a.safetensors")
    assert list((tmp_path / "kept").iterdir()) == []


def test_an_unreadable_source_leaves_an_earlier_copy_as_it_is(tmp_path: Path):
    source, kept = write(tmp_path / "a.bin", {"a": torch.zeros(1)}), tmp_path / "a.safetensors"
    convert(source, kept)
    source.write_bytes(b"<html>")
    with pytest.raises(UnknownCheckpointError):
        convert(source, kept)
    assert load_file(kept).keys() == {"a"}
