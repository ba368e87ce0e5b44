"""Programs that share a library, and programs that are killed; a smaller ``dev.py bench races``."""

from pathlib import Path

import pytest

from benchmarks.races import KINDS, kills, race

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", KINDS)
def test_two_programs_neither_duplicate_lose_nor_restore_people(tmp_path: Path, kind: str):
    assert set(race(kind, 15, tmp_path).values()) == {0}


def test_a_writer_that_is_killed_loses_nothing_and_leaves_nothing_half_made(tmp_path: Path):
    broken = kills(6, tmp_path)
    assert (broken["lost"], broken["half_made"], broken["parts"]) == (0, 0, 0)
