"""The host's own X/Y/Z plot with our axes: each cell is the picture that a request of its own makes."""

from typing import Any

from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask
from tests.hosts.webui.genuine.pictures import contents

NOTHING = [0, "", []]
"""An axis that is not used: its number, its values as text, and those that were picked."""


def cells(webui: Running, label: str, values: str = "", picked: tuple[str, ...] = ()) -> list[bytes]:
    """The pixels of the cells along one axis."""
    number = webui.api.get("/uniid-probe/axes").body.index(label)
    axes = [number, values, list(picked), *NOTHING, *NOTHING]
    known = webui.api.get("/sdapi/v1/script-info").body
    plot = next(one for one in known if one["name"] == "x/y/z plot" and not one["is_img2img"])
    # What follows the axes has another order in reForge.
    wanted = {"Draw legend": False, "Include Sub Images": True}
    further = [wanted.get(one["label"], one["value"]) for one in plot["args"][len(axes) :]]
    scripts: dict[str, Any] = ask({"name": "Anna"}, {"name": "Ben"})
    plotted = webui.api.txt2img(
        script_name=plot["name"], script_args=[*axes, *further], alwayson_scripts=scripts
    )
    return contents(plotted)[1:]  # the first is the grid


def alone(webui: Running, *people: dict[str, Any]) -> bytes:
    return contents(webui.api.txt2img(alwayson_scripts=ask(*people)))[0]


def test_a_number(webui: Running):
    made = cells(webui, "[UniID] Weight, all people", "0.2, 1.5")
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
