"""The methods that plugins registered. Imports nothing heavy until one is opened."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lib_uniid.bases import BASES, Base, titles
from lib_uniid.errors import CheckpointMismatchError, ConfigError
from lib_uniid.fields.person import METHOD_NUMBERS
from lib_uniid.fields.rows import Row
from lib_uniid.fields.shared import METHOD_CHOICES, SHARED_METHOD_NUMBERS, SharedSettings
from lib_uniid.plugins import Registered, plugins

if TYPE_CHECKING:
    from lib_uniid.checkpoints.folder import ModelFolder
    from lib_uniid.config import PersonSettings
    from lib_uniid.methods.method import Method
else:
    ModelFolder = Method = PersonSettings = Any

Open = Callable[[ModelFolder, Callable[[str], None]], Method]
"""Opens a method's networks; it calls the given function with what is being loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodNumber:
    """A number, of a person or for all people, whose range and default a method decides.

    Attributes:
        name: of its row, one of :data:`lib_uniid.fields.person.METHOD_NUMBERS` or
            :data:`lib_uniid.fields.shared.SHARED_METHOD_NUMBERS`.
        low: the least value; the range lies within the row's.
        high: the greatest value.
        alone: the default for one person.
        together: the default for each of several people.
    """

    name: str
    low: float
    high: float
    alone: float
    together: float

    @property
    def defaults(self) -> str:
        """The defaults in words."""
        if self.alone == self.together:
            return f"{self.alone:.2g}"
        return f"{self.alone:.2g} for one person, {self.together:.2g} for several"

    def of(self, value: float | None, people: int) -> float:
        """A given value, or for None the default for this number of people."""
        return value if value is not None else self.alone if people == 1 else self.together


IDENTITY_SCALE = MethodNumber(name="identity_scale", low=0.0, high=2.0, alone=1.0, together=1.0)
"""Of a method that declares none of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodPreset:
    """Numbers that a method suggests for a kind of checkpoint.

    Attributes:
        name: on the command line.
        title: in the panel.
        numbers: by name, of those for all people that the panel shows.
    """

    name: str
    title: str
    numbers: Mapping[str, float] = field(hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodDeclaration:
    """A way to inject identities.

    Attributes:
        name: in requests, infotexts and lists.
        bases: families of base models that it works with.
        encoder: the ID encoder whose features it reads.
        open: loads its networks.
        sources: rows of model files that it needs.
        several: further ones for choosing between several people.
        branch_files: those that it needs for each value of the choice ``branches``, if it reads that.
        numbers: the numbers, of a person and for all people, that it reads beside those that every method
            reads, and an ``identity_scale`` with a default of its own.
        choices: names of rows of :data:`lib_uniid.fields.shared.METHOD_CHOICES` that it reads.
        presets: numbers for kinds of checkpoints.
    """

    name: str
    bases: tuple[Base, ...]
    encoder: str
    open: Open
    sources: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    branch_files: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict[str, tuple[str, ...]], hash=False
    )
    numbers: tuple[MethodNumber, ...] = ()
    choices: tuple[str, ...] = ()
    presets: tuple[MethodPreset, ...] = ()

    def number(self, name: str) -> MethodNumber | None:
        """Its number of this name; None if it reads no such number."""
        return next((one for one in (*self.numbers, IDENTITY_SCALE) if one.name == name), None)

    def preset(self, name: str) -> MethodPreset:
        """Its preset of this name or title; ``ConfigError`` if it has none."""
        found = next((one for one in self.presets if name in (one.name, one.title)), None)
        if found is None:
            known = ", ".join(one.name for one in self.presets) or "none"
            raise ConfigError(
                f"the method {self.name} has no preset {name!r}; its presets: {known}", field="preset"
            )
        return found

    def check(self, person: PersonSettings) -> None:
        """``ConfigError`` for a number that the method does not read, or that is outside of its range."""
        self._check(person, METHOD_NUMBERS, f"{person.name}: ")

    def check_shared(self, settings: SharedSettings) -> None:
        """The same for what applies to all people."""
        self._check(settings, SHARED_METHOD_NUMBERS, "")
        for row in METHOD_CHOICES:
            if getattr(settings, row.name) != row.default and row.name not in self.choices:
                raise self._lacks(row, "")

    def _check(self, settings: object, rows: Iterable[Row], who: str) -> None:
        for row in rows:
            value, own = getattr(settings, row.name), self.number(row.name)
            if value is not None and own is None:
                raise self._lacks(row, who)
            if value is not None and own is not None and not own.low <= value <= own.high:
                raise ConfigError(
                    f"{who}{row.label_in_text} of the method {self.name} must lie in "
                    f"[{own.low:g}, {own.high:g}], got {value:g}",
                    field=row.name,
                )

    def _lacks(self, row: Row, who: str) -> ConfigError:
        return ConfigError(
            f"{who}the method {self.name} has no {row.label_in_text}; leave it out", field=row.name
        )


def methods() -> Mapping[str, Registered[MethodDeclaration]]:
    """By name, built-in ones first."""
    return plugins().registered("register_methods", MethodDeclaration)


def preset_titles() -> tuple[str, ...]:
    """The titles of the presets of all methods, each once."""
    found = [preset.title for one in methods().values() for preset in one.value.presets]
    return tuple(dict.fromkeys(found))


def default() -> str:
    """The method that is taken where neither a request nor a base model decides."""
    return require(None).value.name


def bases() -> tuple[Base, ...]:
    """The families of base models that some method works with, in the order of ``BASES``."""
    served = {base for one in methods().values() for base in one.value.bases}
    return tuple(base for base in BASES if base in served)


def choosable() -> bool:
    """Whether some family of base models has several methods."""
    known = [one.value for one in methods().values()]
    return any(sum(base in one.bases for one in known) > 1 for base in bases())


def require(name: str | None, base: Base | None = None) -> Registered[MethodDeclaration]:
    """The method of this name; without a name the first one that works with the base model.

    Without a base model it is the first that works with the earliest family of :data:`lib_uniid.bases.BASES`.

    Raises:
        ConfigError: there is no method of the name.
        CheckpointMismatchError: the method, or every method, is for other base models.
    """
    known = methods()
    if name is None:
        for family in BASES if base is None else (base,):
            for one in known.values():
                if family in one.value.bases:
                    return one
        wanted = titles(BASES if base is None else (base,))
        raise CheckpointMismatchError(
            f"no method works with {wanted}; load a {titles(bases())} checkpoint, or turn UniID off"
        )
    if name not in known:
        why = plugins().why_absent("register_methods", name)
        raise ConfigError(f"the method must be one of {', '.join(known)}, got {name!r}{why}")
    method = known[name].value
    if base is not None and base not in method.bases:
        raise CheckpointMismatchError(
            f"the method {name} works with {titles(method.bases)}, and the base model is {base.title}; "
            "choose another checkpoint or another method"
        )
    return known[name]
