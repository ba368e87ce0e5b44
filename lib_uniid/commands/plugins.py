"""``uniid plugins``: what each plugin registers, and which plugins are switched off."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from lib_uniid.checkpoints.sources import Source
from lib_uniid.commands import Outcome
from lib_uniid.declarations import directions, face_detectors, id_encoders, scorers
from lib_uniid.methods.registry import methods
from lib_uniid.plugins import Registered, plugins

Kinds = Mapping[str, Mapping[str, Registered[Any]]]
"""Registered values by kind and name."""


def kinds() -> Kinds:
    """All registered values; calls every plugin."""
    return {
        "methods": methods(),
        "ID encoders": id_encoders(),
        "face detectors": face_detectors(),
        "model files": plugins().registered("register_checkpoint_formats", Source),
        "directions": directions(),
        "scorers": scorers(),
    }


def run(_: Namespace) -> Outcome:
    known, registered = plugins(), kinds()
    found = [
        {
            "name": plugin.name,
            "origin": plugin.origin,
            "needs": plugin.needs,
            "off": known.off.get(plugin.name),
            "registered": _registered(plugin.name, registered),
        }
        for plugin in known.found.values()
    ]
    words = [line for one in found for line in _in_words(one)]
    return Outcome(result={"plugins": found}, words=words)


def _registered(plugin: str, kinds: Kinds) -> dict[str, list[str]]:
    """Names by kind."""
    theirs = {
        kind: [name for name, one in values.items() if one.plugin == plugin] for kind, values in kinds.items()
    }
    return {kind: names for kind, names in theirs.items() if names}


def _in_words(one: Mapping[str, Any]) -> list[str]:
    lines = [f"  {kind}: {', '.join(names)}" for kind, names in one["registered"].items()]
    if one["off"]:
        lines.append(f"  {one['off']}")
    return [f"{one['name']} ({one['origin']})", *(lines or ["  registers nothing"])]
