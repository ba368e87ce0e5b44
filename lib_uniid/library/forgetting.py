"""Deletion of everything that is stored about people."""

from dataclasses import dataclass

from lib_uniid.encoders.cache import EncodingCache
from lib_uniid.errors import UniIDError
from lib_uniid.library.store import Deleted, Library


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was permanently deleted: people in the bin, and encodings of pictures."""

    people: tuple[Deleted, ...]
    encodings: int


def delete(library: Library, cache: EncodingCache, name: str) -> Deleted:
    """Move a person's file into the bin, and permanently delete the encodings of their pictures.

    ``library.restore(deleted.id)`` restores the person, ``library.erase(deleted.id)`` deletes permanently. If
    the person's file is damaged, the whole cache is cleared, because it may hold their encodings. Raises
    ``ConfigError`` for an unknown name, and ``OSError`` if files cannot be removed.
    """
    try:
        person = library.load(name)
    except UniIDError:
        person = None
    deleted = library.remove(name)
    if person is None:
        cache.clear()
    else:
        cache.forget([*person.features.values()], person.crops)
    return deleted


def forget(library: Library, cache: EncodingCache, name: str | None = None) -> Forgotten:
    """Erase everything except enrolled people; this is ``uniid forget``.

    Erased are the encodings of all pictures, including those of people who were only in a request, and all
    people in the bin. With a ``name`` that person is permanently deleted first.
    Raises like :func:`delete`.
    """
    if name is not None:
        library.remove(name)
    encodings = cache.clear()
    return Forgotten(people=tuple(library.erase()), encodings=encodings)
