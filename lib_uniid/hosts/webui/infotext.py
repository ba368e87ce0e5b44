"""Writes the infotext of a processing object, and removes an entry that a copied object brought."""

from collections.abc import Mapping
from typing import Any

from lib_uniid.api.infotext import KEY, NOTES, RESULT, describe
from lib_uniid.api.request import Request


def write(p: Any, request: Request, known: Mapping[str, str]) -> None:
    """Have the host write ``request``; see :func:`lib_uniid.api.infotext.describe`."""
    p.extra_generation_params[KEY] = describe(request, known)


def note(p: Any, sentence: str) -> None:
    """Have the host write a sentence on what became of the request."""
    p.extra_generation_params[NOTES] = sentence


def remove(p: Any) -> None:
    """Remove all entries: the dict may come from another generation's processing object."""
    for key in (KEY, RESULT, NOTES):
        p.extra_generation_params.pop(key, None)
