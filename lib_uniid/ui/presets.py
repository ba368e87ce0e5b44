"""Presets: requests that are saved under a name, beside the presets of methods, which cannot be changed.

They are in one JSON file below the models folder. They name people of the library; pictures of people are not
saved.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib_uniid import json_text
from lib_uniid.api.request import Request, parse, to_dict
from lib_uniid.errors import ConfigError
from lib_uniid.files import exclusive, remove_stale, replacing
from lib_uniid.library.names import checked
from lib_uniid.printing import shortened

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Presets:
    """The presets in a file, which may be missing. ``of_methods`` are names that no saved one may have."""

    path: Path
    of_methods: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """The names of all presets: those of methods first, then the saved ones in alphabetical order."""
        saved = [name for name in self._read() if name not in self.of_methods]
        return [*self.of_methods, *sorted(saved, key=str.casefold)]

    def get(self, name: str) -> Request:
        """The request of this name; ``ConfigError`` if there is no such preset."""
        presets = self._read()
        if name not in presets:
            saved = shortened(", ".join(sorted(presets)), 200) or "none"
            raise ConfigError(f"there is no preset {shortened(name, 100)!r}; saved presets: {saved}")
        return parse(presets[name])

    def save(self, name: str, request: Request) -> None:
        """Save a request under a name and replace a preset of this name."""
        name = checked(name, "a preset's name")
        self.require_own(name)
        uploaded = [one.name or "a person without a name" for one in request.people if one.references]
        if uploaded:
            raise ConfigError(
                f"a preset does not save uploaded pictures, and these people have no others: "
                f"{', '.join(uploaded)}; save them to the library first"
            )
        # A re-enrolled person is used without a note.
        people = tuple(replace(one, fingerprint=None) for one in request.people)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(self._lock):
            self._write(self._read() | {name: to_dict(replace(request, people=people))})

    def delete(self, name: str) -> None:
        """Delete a preset; ``ConfigError`` if there is no such preset."""
        self.require_own(name)
        self.get(name)
        with exclusive(self._lock):
            self._write({key: value for key, value in self._read().items() if key != name})

    def require_own(self, name: str) -> None:
        """``ConfigError`` for the name of a method's preset."""
        if name in self.of_methods:
            raise ConfigError(
                f"{name!r} is a preset of UniID, which cannot be changed; save under another name"
            )

    @property
    def _lock(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")

    def _read(self) -> dict[str, Any]:
        remove_stale(self.path.parent)
        if not self.path.is_file():
            return {}
        try:
            kept = json_text.read(self.path)
            if kept["version"] != FORMAT:
                raise ConfigError(
                    f"{self.path.name} has version {kept['version']}, expected {FORMAT}; update UniID"
                )
            return dict(kept["presets"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self.path} cannot be read ({error}); repair the file, or move it to another folder"
            ) from error

    def _write(self, presets: dict[str, Any]) -> None:
        text = json.dumps({"version": FORMAT, "presets": presets}, indent=1, ensure_ascii=False)
        with replacing(self.path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
