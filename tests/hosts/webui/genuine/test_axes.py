"""The host's own X/Y/Z plot with our axes: each cell is the picture that a request of its own makes."""

from typing import Any

from tests.hosts.webui.genuine.api import Answer
from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask
from tests.hosts.webui.genuine.pictures import pixels

NOTHING = [0, "", []]
"""An axis that is not used: its number, its values as text, and those that were picked."""


def cells(webui: Running, label: str, values: str = "", picked: tuple[str, ...] = ()) -> list[bytes]:
    """The pixels of the cells along one axis."""
    number = webui.api.get("/uniid-probe/axes").body.index(label)
    legend, lone, sub_grids, no_fixed_seeds, varied, margin, csv = (
        False,
        True,
        False,
        False,
        [False] * 3,
        0,
        False,
    )
    axes = [number, values, list(picked), *NOTHING, *NOTHING]
    given = [*axes, legend, lone, sub_grids, no_fixed_seeds, *varied, margin, csv]
    scripts: dict[str, Any] = ask({"name": "Anna"}, {"name": "Ben"})
    plotted = webui.api.txt2img(script_name="x/y/z plot", script_args=given, alwayson_scripts=scripts)
    return shown(plotted)[1:]  # the first is the grid


def shown(answer: Answer) -> list[bytes]:
    return [pixels(one).tobytes() for one in answer.images]


def alone(webui: Running, *people: dict[str, Any]) -> bytes:
    return shown(webui.api.txt2img(alwayson_scripts=ask(*people)))[0]


def test_a_number(webui: Running):
    made = cells(webui, "[UniID] Weight, everybody", "0.2, 1.5")
    expected = [
        alone(webui, {"name": "Anna", "weight": weight}, {"name": "Ben", "weight": weight})
        for weight in (0.2, 1.5)
    ]
    assert made == expected
    assert made[0] != made[1]


def test_a_place(webui: Running):
    made = cells(webui, "[UniID] Where person 1 may be", picked=("anywhere", "left half"))
    anna: dict[str, Any] = {"name": "Anna"}
    expected = [alone(webui, {**anna, **where}, {"name": "Ben"}) for where in ({}, {"region": "left half"})]
    assert made == expected
    assert made[0] != made[1]
