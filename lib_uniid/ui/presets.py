"""Requests under a name: people and settings to come back to.

One JSON file below the models folder. People in it are those of the library; pictures are not kept.
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
    """The presets in a file; it need not be there."""

    path: Path

    def names(self) -> list[str]:
        """Of all presets, in alphabetical order."""
        return sorted(self._read(), key=str.casefold)

    def get(self, name: str) -> Request:
        """The request of this name; ``ConfigError`` where there is none."""
        presets = self._read()
        if name not in presets:
            known = shortened(", ".join(sorted(presets)), 200) or "there are none yet"
            raise ConfigError(f"there is no preset {shortened(name, 100)!r} ({known})")
        return parse(presets[name])

    def save(self, name: str, request: Request) -> None:
        """Keep a request under a name, in the place of an earlier one."""
        name = checked(name, "a preset's name")
        shown = [one.name or "people without a name" for one in request.people if one.references]
        if shown:
            raise ConfigError(
                f"{', '.join(shown)} are only shown in pictures, which a preset does not keep; "
                "enrol them in the library first"
            )
        people = tuple(replace(one, fingerprint=None) for one in request.people)  # whoever they are by then
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(self._lock):
            self._write(self._read() | {name: to_dict(replace(request, people=people))})

    def delete(self, name: str) -> None:
        """Forget one; ``ConfigError`` where there is none."""
        self.get(name)
        with exclusive(self._lock):
            self._write({key: value for key, value in self._read().items() if key != name})

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
                    f"{self.path.name} is of version {kept['version']}; get a newer UniID for it"
                )
            return dict(kept["presets"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self.path} cannot be read ({error}); mend it, or move it away to begin anew"
            ) from error

    def _write(self, presets: dict[str, Any]) -> None:
        text = json.dumps({"version": FORMAT, "presets": presets}, indent=1, ensure_ascii=False)
        with replacing(self.path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
