"""Tests of the places at which a person's own words count."""

import pytest
import torch
from torch import Tensor

from lib_uniid.attention.growing import WAYS, Seen, Way
from lib_uniid.attention.scores import contrast, presence

SIDE = 16
SOFT_WAYS: tuple[Way, ...] = ("downwards", "voronoi")
FACES = ((3, 3), (4, 12))
"""Row and column of the face of each person."""


def seen(rows: int = 1, faces: tuple[tuple[int, int], ...] = FACES) -> Seen:
    """Faces as spots on a background; what is below a face and its text are alike."""
    y, x = torch.arange(SIDE)[:, None], torch.arange(SIDE)
    spots = [3.0 * torch.exp(-((y - row) ** 2 + (x - column) ** 2) / 8.0) for row, column in faces]
    scores = torch.stack(spots)[None].expand(rows, -1, -1, -1)
    text = torch.zeros(len(faces), SIDE, SIDE)
    for person, (_, column) in enumerate(faces):
        text[person, :, max(0, column - 3) : column + 3] = 1.0
    return Seen(
        scores=contrast(scores, by_person=True),
        presence=presence(scores),
        text=text[None].expand(rows, -1, -1, -1),
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_face_and_what_is_below_it_belong_to_that_person(way: Way):
    grown = WAYS[way](seen())
    for person, (row, column) in enumerate(FACES):
        assert grown[0, person, row, column] > 0.9
        if way != "as routed":
            assert grown[0, person, SIDE - 1, column] > 0.8


@pytest.mark.parametrize("way", WAYS)
def test_no_place_is_given_away_twice(way: Way):
    grown = WAYS[way](seen())
    assert grown.shape == (1, 2, SIDE, SIDE)
    assert (grown >= 0.0).all()
    assert (grown.sum(dim=1) <= 1.0 + 1e-5).all()
    if way not in SOFT_WAYS:
        assert set(grown.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("way", WAYS)
def test_permuting_people_permutes_their_places(way: Way):
    one, other = seen(), seen(faces=FACES[::-1])
    torch.testing.assert_close(WAYS[way](one).flip(1), WAYS[way](other))


@pytest.mark.parametrize("way", WAYS)
def test_rows_are_independent_and_flat_scores_are_finite(way: Way):
    both = seen(rows=2)
    changed = Seen(
        scores=torch.stack([both.scores[0], torch.zeros(2, SIDE, SIDE)]),
        presence=torch.stack([both.presence[0], torch.zeros(1, SIDE, SIDE)]),
        text=both.text,
    )
    grown = WAYS[way](changed)
    assert torch.equal(grown[0], WAYS[way](both)[0])
    assert grown.isfinite().all()


def test_below_the_shoulders_of_nobody_the_picture_s_text_stays():
    grown = WAYS["downwards"](seen())
    assert grown[0, :, SIDE - 1, SIDE // 2].sum() < 0.5
    assert grown[0, :, 0, 0].sum() < 0.1


def test_faces_are_where_a_person_scores_and_somebody_is():
    faces: Tensor = seen().faces
    torch.testing.assert_close(faces.sum(dim=(2, 3)), torch.ones(1, 2))
    assert [divmod(int(one.argmax()), SIDE) for one in faces[0]] == list(FACES)
