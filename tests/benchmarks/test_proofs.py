"""Tests of ``bench proofs``: pytest's output for the slow tests becomes figures."""

from pathlib import Path

from benchmarks import proofs
from benchmarks.report import Figure


def found(figures: list[Figure]) -> dict[str, tuple[float, bool | None]]:
    return {figure.name.partition("/")[2]: (figure.value, figure.holds) for figure in figures}


def test_passed_failed_and_skipped_tests_are_counted(tmp_path: Path):
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite tests="9" failures="1" errors="1" skipped="2" time="3.5"/></testsuites>'
    )
    assert found(list(proofs.counted(report, 1))) == {
        "passed": (5, True),
        "failed": (2, False),
        "skipped": (2, None),
        "seconds": (3.5, None),
    }


def test_a_run_that_reports_nothing_is_a_failure(tmp_path: Path):
    figures = found(list(proofs.counted(tmp_path / "nothing.xml", 2)))
    assert figures["passed"] == (0, False)
    assert figures["failed"] == (1, False)


def test_only_slow_tests_are_run_and_other_arguments_reach_pytest(tmp_path: Path):
    (tmp_path / "test_two.py").write_text(
        "import pytest\n\n"
        "@pytest.mark.slow\ndef test_slow():\n    pass\n\n"
        "def test_quick():\n    assert False\n"
    )
    figures = found(list(proofs.figures([str(tmp_path), "-p", "no:cacheprovider", "--noconftest"])))
    assert figures["passed"] == (1, True)
    assert figures["failed"] == (0, True)
