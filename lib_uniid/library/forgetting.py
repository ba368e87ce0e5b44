"""Everything that is kept of people, and how it is deleted."""

from dataclasses import dataclass

from lib_uniid.encoders.cache import EncodingCache
from lib_uniid.errors import UniIDError
from lib_uniid.library.store import Deleted, Library


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was deleted for good: people in the bin, and encodings of pictures."""

    people: tuple[Deleted, ...]
    encodings: int


def delete(library: Library, cache: EncodingCache, name: str) -> Deleted:
    """Delete a person: the features go into the bin, the encodings of their pictures are gone for good.

    ``library.restore(deleted.id)`` brings the person back, ``library.erase(deleted.id)`` ends that. Where
    the person's file is damaged, the whole cache is cleared, because it may hold their pictures. Raises
    ``ConfigError`` for a name that is not there, and ``OSError`` where files cannot be removed.
    """
    try:
        features = library.load(name).features
    except UniIDError:
        features = None
    deleted = library.remove(name)
    if features is None:
        cache.clear()
    else:
        cache.forget(features)
    return deleted


def forget(library: Library, cache: EncodingCache, name: str | None = None) -> Forgotten:
    """Erase what can be erased without losing people who are enrolled: what ``uniid forget`` does.

    These are the encodings of all pictures, also of people who were only shown in a request and never
    enrolled, and all people in the bin. With a ``name`` that person is deleted first, for good.
    Raises like :func:`delete`.
    """
    if name is not None:
        library.remove(name)
    encodings = cache.clear()
    return Forgotten(people=tuple(library.erase()), encodings=encodings)
