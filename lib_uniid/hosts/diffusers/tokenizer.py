"""CLIP's tokenizer, built from the vocabulary in open_clip without a download."""

import gzip
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from lib_uniid.errors import MissingModelError

MERGES = 49152 - 256 - 2  # CLIP's vocabulary of 49408 without two sets of 256 bytes and two special tokens
START, END = "<|startoftext|>", "<|endoftext|>"


@cache
def clip_tokenizer() -> CLIPTokenizer:
    """77 tokens, padded with the end token."""
    vocabulary, merges = _vocabulary_and_merges()
    pairs: list[Any] = merges
    return CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=77)


def write_tokenizer(folder: Path) -> None:
    """Write the tokenizer's files for all versions of transformers; an offline host needs them."""
    vocabulary, merges = _vocabulary_and_merges()
    lines = ["#version: 0.2", *map(" ".join, merges), ""]
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    kind = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind) + "\n", encoding="utf-8")


def _vocabulary_and_merges() -> tuple[dict[str, int], list[tuple[str, ...]]]:
    lines = gzip.decompress(_vocabulary().read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : MERGES + 1]]
    symbols = list(_printable_bytes())
    symbols += [symbol + "</w>" for symbol in symbols]
    symbols += ["".join(pair) for pair in merges]
    return {symbol: number for number, symbol in enumerate([*symbols, START, END])}, merges


def _vocabulary() -> Path:
    spec = find_spec("open_clip")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "bpe_simple_vocab_16e6.txt.gz"
        if path.is_file():
            return path
    raise MissingModelError("open_clip's vocabulary is missing; install open_clip_torch")


def _printable_bytes() -> list[str]:
    """GPT-2's byte alphabet: printable Latin-1 unchanged, every other byte mapped above 255."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
