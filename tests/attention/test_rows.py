"""Tests of the roles of batch rows."""

from lib_uniid.attention.rows import Role, Rows

COND, UNCOND, UNTOUCHED = Role.COND, Role.UNCOND, Role.UNTOUCHED


def test_runs_cover_every_row_once_in_order():
    rows = Rows([COND, COND, UNCOND, UNTOUCHED, COND])
    covered = [(run.role, i) for run in rows.runs for i in range(run.rows.start, run.rows.stop)]
    assert covered == [(COND, 0), (COND, 1), (UNCOND, 2), (UNTOUCHED, 3), (COND, 4)]


def test_entries_count_among_rows_of_the_same_role():
    rows = Rows([UNCOND, COND, COND, UNCOND, COND])
    assert [run.entries for run in rows.runs] == [slice(0, 1), slice(0, 2), slice(1, 2), slice(2, 3)]


def test_roles_may_change_between_calls():
    rows = Rows([UNCOND, COND])
    rows.roles = [COND]
    assert [run.role for run in rows.runs] == [COND]
