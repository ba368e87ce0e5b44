"""The tokenizer rebuilt from open_clip's vocabulary."""

from pathlib import Path

import pytest
from open_clip.tokenizer import SimpleTokenizer
from transformers import CLIPTokenizer

from lib_uniid.hosts.diffusers.tokenizer import clip_tokenizer, write_tokenizer


@pytest.mark.parametrize(
    "text",
    ["a photo of a cat", "Zwei Männer, ein HUND!! it's 2024", "日本 don't (a:1.2)", "", "naïve café\tx  y"],
)
def test_ids_equal_those_of_open_clip(text: str):
    assert clip_tokenizer()(text)["input_ids"] == [49406, *SimpleTokenizer().encode(text), 49407]


def test_padding_is_the_end_mark_up_to_77_tokens():
    ids = clip_tokenizer()("a cat", padding="max_length", truncation=True)["input_ids"]
    assert len(ids) == 77
    assert set(ids[3:]) == {49407}


def test_written_as_files_it_is_read_back_the_same(tmp_path: Path):
    write_tokenizer(tmp_path)
    read, text = CLIPTokenizer.from_pretrained(tmp_path), "Zwei M\u00e4nner, ein HUND!!"
    assert (
        read(text, padding="max_length")["input_ids"]
        == clip_tokenizer()(text, padding="max_length")["input_ids"]
    )
