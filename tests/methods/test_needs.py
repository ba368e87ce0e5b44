"""Tests of which model files a method needs, and which method a folder is for."""

import pytest

from lib_uniid.bases import SD15, SDXL, Base
from lib_uniid.declarations import face_detector
from lib_uniid.methods.needs import method_of, needed

DETECTOR = face_detector(None).value
SHARED = {"base", "insightface"}
FIRST = {"faceid", "curricularface"}
SECOND = {"iresnet100", "text_branch", "adapter_branch"}


@pytest.mark.parametrize("there", [{"text_branch"}, {"adapter_branch"}, {"text_branch", "adapter_branch"}])
def test_one_branch_is_enough(there: set[str]):
    assert needed("UniID", DETECTOR, there) == SHARED | {"iresnet100"}


def test_without_any_branch_both_are_needed():
    assert needed("UniID", DETECTOR, ()) == SHARED | SECOND


def test_files_of_other_methods_are_not_needed():
    assert needed("UniPortrait", DETECTOR, ()) == SHARED | FIRST


@pytest.mark.parametrize(
    ("found", "families", "expected"),
    [
        ((), (), "UniPortrait"),
        ((), (SDXL,), "UniID"),
        ((), (SDXL, SD15), "UniPortrait"),
        ({"insightface"} | SECOND, (), "UniID"),
        (SHARED | SECOND, (SD15, SDXL), "UniID"),
        (SHARED | SECOND, (SD15,), "UniPortrait"),
        (SHARED | FIRST | SECOND, (SD15, SDXL), "UniPortrait"),
        (SHARED | FIRST, (SDXL,), "UniID"),
    ],
)
def test_a_folder_is_for_the_method_that_is_complete_with_its_base_model(
    found: set[str], families: tuple[Base, ...], expected: str
):
    assert method_of(found, families, DETECTOR) == expected
