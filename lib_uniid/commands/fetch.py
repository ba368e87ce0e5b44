"""``uniid fetch``: download missing model files; only a user's command does this."""

from argparse import Namespace
from typing import Any

from lib_uniid.checkpoints.download import fetch
from lib_uniid.checkpoints.sources import source
from lib_uniid.commands import Outcome
from lib_uniid.commands.bars import bar
from lib_uniid.commands.command_runtime import runtime_of
from lib_uniid.errors import ConfigError
from lib_uniid.methods import needs


def run(options: Namespace) -> Outcome:
    options.models.mkdir(parents=True, exist_ok=True)
    index = runtime_of(options).index
    entries = index.report()
    pieces = [one.source.name for one in entries if one.source.pieces]
    unknown = [name for name in options.names if name not in {one.source.name for one in entries}]
    if unknown:
        raise ConfigError(f"unknown model file {unknown[0]!r}; choose from {', '.join(pieces)}")
    detector = runtime_of(options).detector.value
    found = {one.source.name for one in entries if one.found}
    needed = needs.needed(needs.method_of(found, index.families(), detector), detector, found)
    wanted = options.names or [name for name in pieces if name in needed]
    there = {one.source.name: str(one.path) for one in entries if one.found}
    damaged = {one.source.name for one in entries if one.path is not None and one.problem}
    got: dict[str, Any] = {}
    for name in wanted:
        if name not in there:
            with bar(name) as progress:
                paths = fetch(
                    source(name),
                    options.models,
                    damaged=name in damaged,
                    progress=lambda _, done, size, show=progress: show(done, size or done),
                )
            got[name] = [str(path) for path in paths]
    words = [f"{name} exists already: {there[name]}" for name in wanted if name in there]
    words += [f"{name}: {', '.join(paths)}" for name, paths in got.items()]
    return Outcome(result={"fetched": got, "there": {n: there[n] for n in wanted if n in there}}, words=words)
