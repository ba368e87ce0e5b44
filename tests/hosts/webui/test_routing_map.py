"""Who was given which place, as further pictures in the gallery."""

import numpy as np

from lib_uniid.evaluation.overlay import COLOURS
from tests.hosts.webui.asking import LEFT, RIGHT, ask, person
from tests.hosts.webui.standin.webui import WebUI

BOTH = (person("Anna", mask=LEFT), person("Ben", mask=RIGHT))


def tint(answer_images: list[np.ndarray], half: slice) -> int:
    """The colour that half of an overlay was drawn nearer to: the first person's, 0, or the second's."""
    plain, drawn = (one[:, half].reshape(-1, 3).astype(float) for one in answer_images)
    colour = ((drawn - 0.55 * plain) / 0.45).mean(axis=0)
    return int(np.linalg.norm(COLOURS[:2] - colour, axis=1).argmin())


def test_each_picture_is_followed_by_its_map_at_the_end_of_the_gallery(webui: WebUI):
    answer = webui.txt2img(
        prompt="a park AND a lake",
        batch_size=2,
        alwayson_scripts=ask(*BOTH, routing="mask", show_routing=True),
    )
    assert webui.raised == []
    pictures = [np.asarray(one) for one in answer.images]
    assert len(pictures) == len(answer.infotexts) == 4
    assert answer.comments == ["UniID: routing map: Anna is orange, Ben is sky blue"]
    for number in range(2):
        pair = [pictures[number], pictures[2 + number]]
        assert tint(pair, slice(0, 32)) == 0
        assert tint(pair, slice(32, 64)) == 1
        assert answer.infotexts[2 + number] == answer.infotexts[number]


def test_the_map_of_a_hires_picture_has_its_size(webui: WebUI):
    answer = webui.txt2img(enable_hr=True, alwayson_scripts=ask(*BOTH, show_routing=True))
    assert [one.size for one in answer.images] == [answer.images[0].size] * 2


def test_no_map_is_added_for_one_person_or_without_a_request(webui: WebUI):
    assert len(webui.txt2img(alwayson_scripts=ask(person("Anna"), show_routing=True)).images) == 1
    assert len(webui.txt2img(alwayson_scripts=ask(*BOTH)).images) == 1
