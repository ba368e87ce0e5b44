"""Tests of UniID's text tokens among those of the prompt, and their parity with the official code."""

from typing import Any

import pytest
import torch

from lib_uniid.errors import ConfigError
from lib_uniid.methods.uniid.text_tokens import (
    Merge,
    inserted,
    mean_name,
    name_columns,
    name_norms,
    rescaled,
)
from tests import recorded_uniid as recorded
from tests.near import assert_near

INSERTION, NAMES = recorded.tensors("token_insertion"), recorded.tensors("celeb_norm")
PROMPT, TOKENS = INSERTION["in.prompt"], INSERTION["in.text_tokens"][0]


@pytest.mark.golden
@pytest.mark.parametrize(
    ("scale", "name"), [(1.0, "cond"), (0.5, "cond_step_before_s0.5"), (1.8, "cond_step_after_s1.8")]
)
def test_tokens_stand_where_the_official_code_puts_them(scale: float, name: str):
    assert torch.equal(inserted(PROMPT, TOKENS, scale), INSERTION[f"out.{name}"][:, :77])


def test_the_length_stays_and_later_chunks_are_untouched():
    text = torch.cat([PROMPT, 2 * PROMPT], dim=1)
    made = inserted(text, TOKENS)
    assert made.shape == text.shape
    assert torch.equal(made[:, 77:], text[:, 77:])
    assert torch.equal(made[:, 0], text[:, 0])
    assert torch.equal(made[:, 4:77], text[:, 1:74])


def test_the_prompt_that_is_given_stays_as_it_is():
    before = PROMPT.clone()
    inserted(PROMPT, TOKENS, 0.5)
    assert torch.equal(PROMPT, before)


def test_tokens_take_precision_and_device_of_the_text():
    assert inserted(PROMPT.half(), TOKENS).dtype == torch.float16


def test_places_of_names_are_counted_as_recorded():
    assert [sum(column.values()) for column in name_columns()] == [691, 680, 314]


@pytest.mark.golden
@pytest.mark.parametrize("encoder", [1, 2])
def test_the_mean_name_is_the_official_one(encoder: int):
    width = recorded.notes("celeb_norm")[f"clip{encoder}"]["hidden_size"]
    key = "text_model.embeddings.token_embedding.weight"
    table = recorded.weight(key, (49408, width), f"clip{encoder}:")
    assert_near(mean_name(table), NAMES[f"col_mean_{encoder}"])


@pytest.mark.golden
@pytest.mark.parametrize("encoder", [1, 2])
def test_tokens_get_the_norms_of_names(encoder: int):
    norms = name_norms(NAMES[f"enc_out_{encoder}"])
    assert_near(norms, NAMES[f"norm_{encoder}"])
    assert_near(rescaled(NAMES[f"in.tokens_{encoder}"], norms), NAMES[f"out.tokens_{encoder}"])


@pytest.mark.golden
@pytest.mark.parametrize("run", recorded.written("merge_schedule")["runs"])
def test_scales_change_at_the_official_steps(run: dict[str, Any]):
    rows = run["rows"]
    start = min(max(run["start_merge_step"], 0) / len(rows), 1.0)
    text, adapter = Merge(before=0.5, after=1.8, start=start), Merge(before=0.8, after=1.2, start=start)
    made = [[i, text.at(i / len(rows)), adapter.at(i / len(rows))] for i in range(len(rows))]
    assert made == rows


@pytest.mark.parametrize(
    "values",
    [
        {"before": -0.1, "after": 1.0},
        {"before": 0.5, "after": float("nan")},
        {"before": 1.0, "after": 1.0, "start": 1.5},
    ],
)
def test_scales_and_starts_out_of_range_are_refused(values: dict[str, Any]):
    with pytest.raises(ConfigError, match="must lie in"):
        Merge(**values)
