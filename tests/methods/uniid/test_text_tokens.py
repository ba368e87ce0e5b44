"""Tests of UniID's text tokens among those of the prompt, and their parity with the official code."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lib_uniid.attention.context import PreparedText
from lib_uniid.attention.identities import Gains, Merge, PlannedIdentity
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.errors import CheckpointMismatchError, ConfigError
from lib_uniid.methods.uniid.text_tokens import (
    MARK,
    InsertedTokens,
    mean_name,
    name_columns,
    name_norms,
    rescaled,
)
from tests import recorded_uniid as recorded
from tests.near import assert_near

INSERTION, NAMES = recorded.tensors("token_insertion"), recorded.tensors("celeb_norm")
PROMPT, TOKENS = INSERTION["in.prompt"], INSERTION["in.text_tokens"][0]


def prepared(
    text: Tensor, *tokens: Tensor, scale: float = 1.0, rows: Rows | None = None, **person: Any
) -> PreparedText:
    people = [PlannedIdentity(tokens=one, **person) for one in tokens or (TOKENS,)]
    change, rows = InsertedTokens(gains=Gains(people, scale)), rows or conds(text)
    state = change.state(rows.progress)
    assert state is not None
    return change.prepare(state, text, rows)


def conds(text: Tensor) -> Rows:
    return Rows([Role.COND] * len(text))


def inserted(text: Tensor, *tokens: Tensor, scale: float = 1.0) -> Tensor:
    return prepared(text, *tokens, scale=scale)(text, conds(text))


@pytest.mark.golden
@pytest.mark.parametrize(
    ("scale", "name"), [(1.0, "cond"), (0.5, "cond_step_before_s0.5"), (1.8, "cond_step_after_s1.8")]
)
def test_tokens_stand_where_the_official_code_puts_them(scale: float, name: str):
    assert torch.equal(inserted(PROMPT, scale=scale), INSERTION[f"out.{name}"][:, :77])


def test_the_length_stays_and_later_chunks_are_untouched():
    text = torch.cat([PROMPT, 2 * PROMPT], dim=1)
    made = inserted(text)
    assert made.shape == text.shape
    assert torch.equal(made[:, 77:], text[:, 77:])
    assert torch.equal(made[:, 0], text[:, 0])
    assert torch.equal(made[:, 4:77], text[:, 1:74])


def test_several_people_follow_one_another_in_their_order():
    made = inserted(PROMPT, TOKENS, 2 * TOKENS)
    assert torch.equal(made[:, 1:7], torch.cat([TOKENS, 2 * TOKENS]).expand(len(PROMPT), -1, -1))
    assert torch.equal(made[:, 7:], PROMPT[:, 1:71])


def test_only_cond_rows_are_changed():
    roles = [Role.UNCOND, Role.COND, Role.STYLE, Role.UNTOUCHED, Role.COND]
    text, rows = torch.randn(5, 77, PROMPT.shape[2]), Rows(roles)
    made = prepared(text, rows=rows)(text, rows)
    for row, role in enumerate(roles):
        expected = inserted(text[row : row + 1])[0] if role is Role.COND else text[row]
        assert torch.equal(made[row], expected)


def test_each_cond_row_may_have_tokens_of_its_own():
    text, tokens = torch.randn(3, 77, PROMPT.shape[2]), torch.stack([TOKENS, 2 * TOKENS])
    rows = Rows([Role.COND, Role.UNCOND, Role.COND])
    made = prepared(text, tokens, rows=rows)(text, rows)
    assert torch.equal(made[0, 1:4], TOKENS)
    assert torch.equal(made[2, 1:4], 2 * TOKENS)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_mark_before_the_text_shifts_the_place_by_one(sign: float):
    mark = torch.full((len(PROMPT), 1, PROMPT.shape[2]), sign * MARK)
    made = inserted(torch.cat([mark, PROMPT], dim=1))
    assert torch.equal(made, torch.cat([mark, inserted(PROMPT)], dim=1))


def test_a_text_of_78_tokens_without_a_mark_is_a_text():
    text = torch.cat([PROMPT, PROMPT[:, :1]], dim=1)
    assert torch.equal(inserted(text), torch.cat([inserted(PROMPT), PROMPT[:, :1]], dim=1))


def test_the_prompt_that_is_given_stays_as_it_is():
    before = PROMPT.clone()
    inserted(PROMPT, scale=0.5)
    assert torch.equal(PROMPT, before)


def test_tokens_take_precision_and_device_of_the_text():
    assert inserted(PROMPT.half()).dtype == torch.float16


def test_people_who_are_absent_or_of_no_strength_take_no_room():
    late, silent = PlannedIdentity(tokens=TOKENS, start=0.5), PlannedIdentity(tokens=TOKENS, weight=0.0)
    there = PlannedIdentity(tokens=2 * TOKENS)
    change, rows = InsertedTokens(gains=Gains([late, silent, there], 1.0)), conds(PROMPT)
    made = change.prepare(change.state(0.0), PROMPT, rows)(PROMPT, rows)
    assert torch.equal(made, inserted(PROMPT, 2 * TOKENS))
    assert InsertedTokens(gains=Gains([late, silent], 1.0)).state(0.0) is None
    assert InsertedTokens(gains=Gains([there], 0.0)).state(0.0) is None


def test_a_merge_scale_of_0_puts_zeros_as_the_official_code_does():
    gains = Gains([PlannedIdentity(tokens=TOKENS)], 1.0, Merge(before=0.0, after=1.0, start=0.5))
    change, rows = InsertedTokens(gains=gains), conds(PROMPT)
    made = change.prepare(change.state(0.0), PROMPT, rows)(PROMPT, rows)
    assert torch.equal(made, inserted(PROMPT, 0.0 * TOKENS))


def test_a_text_without_room_or_of_another_width_is_refused():
    with pytest.raises(ConfigError, match="3 tokens has no room for 3 tokens"):
        inserted(PROMPT[:, :3])
    with pytest.raises(CheckpointMismatchError, match="reads text of 5"):
        inserted(torch.zeros(1, 77, 5))


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
        {"before": -0.1, "after": 1.0, "start": 0.0},
        {"before": 0.5, "after": float("nan"), "start": 0.0},
        {"before": 1.0, "after": 1.0, "start": 1.5},
    ],
)
def test_scales_and_starts_out_of_range_are_refused(values: dict[str, Any]):
    with pytest.raises(ConfigError, match="must lie in"):
        Merge(**values)
