"""Work in a thread and its progress reports."""

import threading

import pytest

from lib_uniid.ui.background import Report, reports


def test_the_last_report_is_never_lost():
    def work(report: Report) -> None:
        for number in range(1000):
            report(number)

    assert [*reports(work)][-1] == (999,)


def test_an_error_of_the_work_is_raised_where_it_is_watched():
    def work(report: Report) -> None:
        report("begun")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(reports(work))


def test_work_stops_after_its_iterator_is_closed():
    stopped, go = threading.Event(), threading.Event()

    def work(report: Report) -> None:
        report("begun")
        go.wait(30)
        try:
            report("on")
        finally:
            stopped.set()

    watching = reports(work)
    assert next(watching) == ("begun",)
    threading.Timer(0.1, go.set).start()
    watching.close()
    assert stopped.is_set()
    assert not any(thread.name == "uniid-background" for thread in threading.enumerate())
