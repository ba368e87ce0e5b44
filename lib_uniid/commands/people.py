"""``uniid people``: list, show, rename, delete and restore enrolled people."""

from argparse import Namespace
from typing import Any

from lib_uniid.commands import Outcome
from lib_uniid.commands.command_runtime import runtime_of
from lib_uniid.commands.inputs import library_folder
from lib_uniid.encoders.cache import EncodingCache
from lib_uniid.errors import ConfigError
from lib_uniid.library.forgetting import delete
from lib_uniid.library.names import normal
from lib_uniid.library.store import BIN_DAYS, Deleted, Library


def run(options: Namespace) -> Outcome:
    """One of ``list``, ``show``, ``rename``, ``delete`` and ``restore``."""
    library = people_folder(options)
    return {"list": _list, "show": _show, "rename": _rename, "delete": _delete, "restore": _restore}[
        options.action
    ](library, options)


def people_folder(options: Namespace) -> Library:
    """The library that the options name."""
    library_folder(options)  # raises if it is a file
    return runtime_of(options).library


def encodings(options: Namespace) -> EncodingCache:
    """The cache of encodings beside the models, or elsewhere if that folder is read-only."""
    return runtime_of(options).cache


def _list(library: Library, _options: Namespace) -> Outcome:
    names = library.names()
    deleted = [{"name": one.name, "id": one.id} for one in library.deleted()]
    words = names or ["no person is enrolled yet; enrol one with uniid enrol"]
    words = [*words, *(f"in the bin: {one['name']} ({one['id']})" for one in deleted)]
    return Outcome(result={"people": names, "deleted": deleted}, words=words)


def _show(library: Library, options: Namespace) -> Outcome:
    key, person = library.find(options.name)
    result: dict[str, Any] = {
        "name": person.name,
        "id": key,
        "file": str(library.folder / f"{key}.safetensors"),
        "references": person.references,
        "crops": person.crops is not None,
        "structure": any(one.get("structure") is not None for one in person.features.values()),
        "encoders": {name or "not named": one.fingerprint for name, one in person.features.items()},
        "recogniser": person.recogniser,
    }
    words = [person.name, *(f"  {field}: {value}" for field, value in result.items() if field != "name")]
    return Outcome(result=result, words=words)


def _rename(library: Library, options: Namespace) -> Outcome:
    library.rename(options.name, options.new)
    new = normal(options.new)
    return Outcome(result={"name": new}, words=[f"{normal(options.name)} is renamed to {new}"])


def _delete(library: Library, options: Namespace) -> Outcome:
    gone = delete(library, encodings(options), options.name)
    words = f"{gone.name} is deleted; the features stay in the bin for {BIN_DAYS} days: restore the person"
    return Outcome(
        result={"name": gone.name, "id": gone.id},
        words=[f"{words} with uniid people restore {gone.id}, or erase the bin with uniid forget"],
    )


def _restore(library: Library, options: Namespace) -> Outcome:
    back = library.restore(_in_the_bin(library, options.name).id)
    return Outcome(result={"name": back.name, "id": back.id}, words=[f"{back.name} is restored"])


def _in_the_bin(library: Library, wanted: str) -> Deleted:
    """The person in the bin with this id or name; several people of one name need the id."""
    found = [one for one in library.deleted() if wanted == one.id or normal(wanted) == one.name]
    if len(found) > 1:
        ids = ", ".join(one.id for one in found)
        raise ConfigError(f"{len(found)} people in the bin are named {wanted!r}; give the id of one: {ids}")
    if not found:
        known = ", ".join(f"{one.name} ({one.id})" for one in library.deleted()) or "no person"
        raise ConfigError(f"{wanted!r} is not in the bin; it contains {known}")
    return found[0]
