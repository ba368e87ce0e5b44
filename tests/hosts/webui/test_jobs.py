"""Scripts that make several generations: the check of each picture is reported beside that picture."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lib_uniid.hosts.webui.jobs import Job
from tests.hosts.webui.asking import ask, person
from tests.hosts.webui.conftest import Start
from tests.hosts.webui.standin.processing import Processing
from tests.hosts.webui.standin.webui import Answer, WebUI
from tests.red_faces import red_face_picture

ANNA = ask(person("Anna"), check=True)
Apply = Callable[[Processing], None]


def decoding(webui: WebUI, found: Callable[[int], bool]) -> None:
    """Have the n-th decoded picture, from 1, show Anna where ``found`` says so, and else nothing."""
    seen, face = [0], red_face_picture((64, 64))

    def decode(_: torch.Tensor) -> torch.Tensor:
        seen[0] += 1
        picture = face if found(seen[0]) else np.full_like(face, 90)
        return torch.from_numpy(picture).permute(2, 0, 1) / 255.0

    webui.host.pixels = decode


def faces(answer: Answer) -> list[Any]:
    """Per picture the number of Anna's face, None where she is missing; "-" where it was not looked at."""
    told = json.loads(answer.result["UniID result"])
    return ["-" if one is None else one[0]["face"] for one in told]


def with_seed(seed: int) -> Apply:
    return lambda p: setattr(p, "seed", seed)


def at_rest(_: Processing) -> None:
    """No axis."""


def method(webui: WebUI, name: str) -> Apply:
    option = next(one for one in webui.xyz.axis_options if one.label == "[UniID] Method")
    return lambda p: option.apply(p, name, [name])


def lines(answer: Answer) -> list[str]:
    return [line.partition(" (")[0] for line in answer.comments if line.startswith("UniID: picture")]


@pytest.mark.parametrize("columns_first", [False, True])
def test_a_plot_reports_each_cell_in_the_order_of_the_cells(webui: WebUI, columns_first: bool):
    decoding(webui, lambda number: number == 2)
    seeds = [with_seed(1), with_seed(2)]
    answer = webui.txt2img(
        script_name="x/y/z plot", script_args=[seeds, seeds, columns_first], alwayson_scripts=ANNA
    )
    second = 3 if columns_first else 2
    assert faces(answer) == [1 if number == second else None for number in (1, 2, 3, 4)]
    found = ["found" if number == second else "not found" for number in (1, 2, 3, 4)]
    assert lines(answer) == [f"UniID: picture {n} of 4: Anna {found[n - 1]}" for n in (1, 2, 3, 4)]
    assert "UniID result" not in "".join(answer.infotexts)
    assert all('"people"' in text.replace("\\", "") for text in answer.infotexts)


def test_a_cell_without_people_has_no_result_and_shifts_no_other(webui: WebUI):
    decoding(webui, lambda number: True)
    rows = [method(webui, "none"), method(webui, "UniPortrait")]
    answer = webui.txt2img(script_name="x/y/z plot", script_args=[[at_rest], rows], alwayson_scripts=ANNA)
    assert faces(answer) == ["-", 1]
    assert "UniID" not in answer.infotexts[1]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_failed_cell_is_reported_with_its_reason(webui: WebUI, failing: int):
    decoding(webui, lambda number: True)
    cells: list[Apply] = [at_rest, at_rest]
    cells[failing - 1] = method(webui, "PuLID")
    answer = webui.txt2img(script_name="x/y/z plot", script_args=[cells, [at_rest]], alwayson_scripts=ANNA)
    (note,) = json.loads(answer.result["UniID notes"])
    assert note.startswith(f"picture {failing} of 2: the method must be one of UniID, UniPortrait, none")
    assert faces(answer) == (["-", 1] if failing == 1 else [1, "-"])


def test_a_loop_reports_every_picture(webui: WebUI):
    decoding(webui, lambda number: number != 2)
    answer = webui.txt2img(script_name="loopback", script_args=[3], alwayson_scripts=ANNA)
    assert faces(answer) == [1, None, 1]
    assert lines(answer) == [
        "UniID: picture 1: Anna found",
        "UniID: picture 2: Anna not found",
        "UniID: picture 3: Anna found",
    ]
    assert "UniID result" not in "".join(answer.infotexts)


def test_tiles_are_reported_without_routing_maps(webui: WebUI):
    decoding(webui, lambda number: number == 3)
    both = ask(person("Anna"), person("Ben"), check=True, show_routing=True)
    answer = webui.txt2img(script_name="sd upscale", script_args=[3], batch_size=1, alwayson_scripts=both)
    assert faces(answer) == [None, None, 1]
    (tiles,) = answer.images
    brightest = [np.asarray(one).max() for one in np.split(np.asarray(tiles), 3, axis=1)]
    assert brightest == [90, 90, 255]
    assert "routing maps are not shown" in answer.result["UniID notes"]


def test_a_prompt_matrix_reports_every_picture_after_its_grid(webui: WebUI):
    decoding(webui, lambda number: number == 3)
    answer = webui.txt2img(script_name="prompt matrix", script_args=[4], batch_size=2, alwayson_scripts=ANNA)
    assert faces(answer) == [None, None, 1, None]
    assert len(answer.images) == 5


def test_telling_earlier_results_makes_their_text_once(monkeypatch: pytest.MonkeyPatch):
    made: list[object] = []
    texts = Job._texts  # pyright: ignore[reportPrivateUsage]

    def counted(self: Job) -> Any:
        made.append(self)
        return texts(self)

    monkeypatch.setattr(Job, "_texts", counted)
    job, results = Job(), [dict[str, Any]() for _ in range(50)]
    for told in results:
        job.note([f"note {len(made)}"])
        job.publish(told)
    assert len(made) == 50
    assert len({json.dumps(told, sort_keys=True) for told in results}) == 1


def test_the_next_request_reports_its_own_pictures(webui: WebUI):
    decoding(webui, lambda number: True)
    for _ in range(2):
        answer = webui.txt2img(script_name="loopback", script_args=[2], alwayson_scripts=ANNA)
        assert faces(answer) == [1, 1]
    assert faces(webui.txt2img(alwayson_scripts=ANNA)) == [1]


def test_the_first_cells_entries_are_not_in_the_plain_pictures_after(start: Start):
    webui = start("a1111")
    decoding(webui, lambda number: True)
    webui.txt2img(script_name="loopback", script_args=[2], alwayson_scripts=ANNA)
    assert "UniID result" not in webui.txt2img().result
