"""The plugins, and what they register: built in, installed (entry points), or given by another extension.

A function of a plugin is a hook if it has the name of one in :mod:`lib_uniid.hookspecs`. A plugin that raises
is switched off until restart. Built-in plugins are listed by dotted names, and imported on first use.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from lib_uniid import __version__, logs
from lib_uniid.errors import PluginError, UniIDError
from lib_uniid.failures import out_of_memory
from lib_uniid.printing import shortened, visible

if TYPE_CHECKING:
    from pluggy import PluginManager
else:
    PluginManager = Any

PROJECT = "uniid"
"""pluggy's project name, and the group of entry points."""

SHARED, METHODS = "lib_uniid.builtin", "lib_uniid.methods"
"""The built-in plugin of what all methods need, and the package whose packages have one each, ``plugin``."""

KINDS: Mapping[str, str] = {
    "register_methods": "method",
    "register_id_encoders": "ID encoder",
    "register_face_detectors": "face detector",
    "register_checkpoint_formats": "model file",
    "register_directions": "direction",
    "register_scorers": "check of the result",
}
"""What plugins register in each hook, in words."""

Origin = Literal["built in", "installed", "registered"]


T = TypeVar("T")
"""Whatever a plugin registers has a ``name`` of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered(Generic[T]):
    """A value, and the plugin that registered it."""

    plugin: str
    value: T


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A plugin as it was found; ``load`` gives its module or object.

    ``needs`` are the versions of UniID that it works with, such as ``>=0.1,<1``; empty for any.
    """

    name: str
    origin: Origin
    needs: str
    load: Callable[[], object]


class Plugins:
    """All plugins of this process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._built_in = _built_in()
        self._lock = threading.RLock()
        self._waiting: list[Plugin] = [
            Plugin(name=name, origin="built in", needs="", load=lambda module=module: import_module(module))
            for name, module in self._built_in.items()
        ]
        self._searched = False
        self._manager: PluginManager | None = None
        self._found: dict[str, Plugin] = {}
        self._loaded: dict[str, object] = {}
        self._off: dict[str, str] = {}
        self._values: dict[str, dict[str, Registered[Any]]] = {}
        self._names: dict[str, set[tuple[str, str]]] = {}  # hooks and names by plugin

    def register(self, plugin: object, *, name: str, needs: str = "") -> None:
        """Add a module or an object. One of the same name is replaced: a WebUI loads its scripts again.

        Raises:
            PluginError: the name is taken by a built-in plugin.
        """
        if name in self._built_in:
            raise PluginError(
                f"{name!r} is the name of a built-in plugin; register the plugin by another name"
            )
        with self._lock:
            self._waiting.append(Plugin(name=name, origin="registered", needs=needs, load=lambda: plugin))

    @property
    def found(self) -> Mapping[str, Plugin]:
        """Every plugin by name, those that are switched off too."""
        with self._lock:
            self._settle()
            return dict(self._found)

    @property
    def off(self) -> Mapping[str, str]:
        """The plugins that are switched off, each with a sentence that says why."""
        with self._lock:
            self._settle()
            return dict(self._off)

    def registered(self, hook: str, kind: type[T]) -> Mapping[str, Registered[T]]:
        """The values that plugins hand to ``register`` in a hook, by name, built-in ones first."""
        with self._lock:
            self._settle()
            if hook not in self._values:
                self._values[hook] = self._collect(hook, kind)
            return {name: one for name, one in self._values[hook].items() if one.plugin not in self._off}

    def why_absent(self, hook: str, name: str) -> str:
        """The end of a sentence that says that no plugin has registered this name in a hook.

        It has the reason of each plugin that registered the name and is switched off.
        """
        with self._lock:
            self._settle()
            theirs = [
                sentence
                for plugin, sentence in self._off.items()
                if (hook, name) in self._names.get(plugin, ())
            ]
            if not theirs and self._off.keys() - self._names.keys():
                theirs = ["uniid plugins lists the plugins that are switched off"]
            return "".join(f"; {sentence}" for sentence in theirs)

    def announce(self, hook: str, **arguments: object) -> list[str]:
        """Call a hook of every plugin; a sentence for each plugin that was switched off by it."""
        before = self.off
        for name in self.found:
            if name not in self.off:
                self._call(name, hook, arguments)
        return [sentence for name, sentence in self.off.items() if name not in before]

    @contextmanager
    def guarding(self, plugin: str, doing: str) -> Generator[None]:
        """Name the plugin in whatever its code raises, and switch it off; built-in code is left alone.

        Raises:
            PluginError: in the place of anything but a UniIDError and a lack of memory.
        """
        try:
            yield
        except Exception as error:
            if plugin in self._built_in or isinstance(error, UniIDError) or out_of_memory(error):
                raise
            raise PluginError(self._switch_off(plugin, doing, error)) from error

    def is_built_in(self, plugin: str) -> bool:
        """Whether it comes with UniID."""
        return plugin in self._built_in

    # --- finding and loading ---

    def _settle(self) -> None:
        if not self._searched:
            self._searched = True
            self._manager = _manager()
            given, built_in = self._waiting[len(self._built_in) :], self._waiting[: len(self._built_in)]
            # Without pluggy only what is built in works; the panel and doctor say that it is missing.
            self._waiting = [*built_in, *(_installed(self._built_in) if self._manager else ()), *given]
        while self._waiting:
            self._take(self._waiting.pop(0))

    def _take(self, plugin: Plugin) -> None:
        self._drop(plugin.name)
        self._found[plugin.name] = plugin
        if self._manager is None and plugin.origin != "built in":
            self._off[plugin.name] = f"the plugin {plugin.name} is switched off: pluggy is not installed"
            return
        try:
            _require_version(plugin.needs)
            self._loaded[plugin.name] = loaded = plugin.load()
            if self._manager is not None:
                _require_hooks(loaded, self._manager)
                self._manager.register(loaded, plugin.name)
        except (Exception, SystemExit) as error:
            if plugin.origin == "built in":
                raise
            self._switch_off(plugin.name, "loading it", error)

    def _drop(self, name: str) -> None:
        """Forget an earlier plugin of this name."""
        if self._manager is not None and self._manager.has_plugin(name):
            self._manager.unregister(name=name)
        for known in (self._found, self._loaded, self._off, self._names):
            known.pop(name, None)
        self._values.clear()

    # --- calling ---

    def _collect(self, hook: str, kind: type[T]) -> dict[str, Registered[T]]:
        values: dict[str, Registered[T]] = {}
        for plugin in self._found:
            if plugin in self._off:
                continue

            def register(value: Any, plugin: str = plugin) -> None:
                taken = {name: one.plugin for name, one in values.items() if one.plugin not in self._off}
                name = _checked(value, kind, KINDS[hook], taken)
                values[name] = Registered(plugin=plugin, value=value)
                self._names.setdefault(plugin, set()).add((hook, name))

            self._call(plugin, hook, {"register": register})
        return {name: one for name, one in values.items() if one.plugin not in self._off}

    def _call(self, plugin: str, hook: str, arguments: Mapping[str, object]) -> None:
        try:
            for function, names in self._implementations(plugin, hook):
                function(*(arguments[name] for name in names))
        except Exception as error:
            if plugin in self._built_in:
                raise
            self._switch_off(plugin, hook, error)

    def _implementations(
        self, plugin: str, hook: str
    ) -> Iterator[tuple[Callable[..., object], tuple[str, ...]]]:
        if self._manager is None:
            if function := getattr(self._loaded.get(plugin), hook, None):
                yield function, ("register",)
            return
        for one in getattr(self._manager.hook, hook).get_hookimpls():
            if one.plugin_name == plugin:
                yield one.function, tuple(one.argnames)

    def _switch_off(self, plugin: str, doing: str, error: BaseException) -> str:
        """The sentence that says so; the traceback goes to the log file."""
        reason = str(error) if isinstance(error, UniIDError) else f"{doing} raised {_named(error)}"
        if not isinstance(error, UniIDError):
            logs.record(error, f"plugin {plugin}: {doing}")
        with self._lock:
            self._off[plugin] = (
                f"the plugin {plugin} is switched off until restart: {reason}; update or remove the plugin"
            )
            return self._off[plugin]


@cache
def plugins() -> Plugins:
    """Those of this process; ``plugins.cache_clear()`` begins anew."""
    return Plugins()


def _manager() -> PluginManager | None:
    try:
        import pluggy
    except ImportError:
        return None

    class Manager(pluggy.PluginManager):
        """Functions are hooks by their names alone, so that a plugin needs no import."""

        def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
            if name not in vars(self.hook) or not callable(getattr(plugin, name)):
                return None
            return {
                "wrapper": False,
                "hookwrapper": False,
                "optionalhook": False,
                "tryfirst": False,
                "trylast": False,
                "specname": None,
            }

    manager = Manager(PROJECT)
    manager.add_hookspecs(import_module("lib_uniid.hookspecs"))
    return manager


def _built_in() -> dict[str, str]:
    """Dotted names by the plugin's name."""
    packages = (one.name for one in iter_modules(import_module(METHODS).__path__) if one.ispkg)
    return {"built-in": SHARED, **{name: f"{METHODS}.{name}.plugin" for name in packages}}


def _installed(taken: Mapping[str, str]) -> Iterator[Plugin]:
    from importlib import metadata  # takes as long as all else here

    for one in metadata.entry_points(group=PROJECT):
        if one.name not in taken:
            requirements = (one.dist.requires if one.dist is not None else None) or ()
            yield Plugin(name=one.name, origin="installed", needs=_needs(requirements), load=one.load)


def _needs(requirements: Iterable[str]) -> str:
    """The versions of UniID in the requirements of a distribution, those of extras too."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.specifiers import SpecifierSet

    needs = SpecifierSet()
    for one in requirements:
        with suppress(InvalidRequirement):  # pip let it be installed, and it is for pip to say
            if (requirement := Requirement(one)).name.lower() == PROJECT:
                needs &= requirement.specifier
    return str(needs)


# --- checking ---


def required(kind: type[T], value: object) -> T:
    """The value that a plugin returned; ``TypeError`` if it is of another type.

    Call it inside :meth:`Plugins.guarding`, which names the plugin.
    """
    if not isinstance(value, kind):
        message = f"{type(value).__name__} instead of {kind.__name__}"
        raise TypeError(message)
    return value


def _require_hooks(plugin: object, manager: PluginManager) -> None:
    for name in dir(plugin):
        if name.startswith("register_") and name not in vars(manager.hook):
            raise PluginError(f"UniID {__version__} has no hook {name}")


def _checked(value: Any, kind: type, title: str, taken: Mapping[str, str]) -> str:
    """The name of a value that a plugin registers; ``taken`` has the plugins of other names."""
    if not isinstance(value, kind):
        raise PluginError(
            f"it registered {shortened(visible(repr(value)), 80)} where a {kind.__name__} is needed"
        )
    if value.name in taken:
        raise PluginError(
            f"it registered the {title} {value.name!r}, which the plugin {taken[value.name]} has already"
        )
    return value.name


def _require_version(needs: str) -> None:
    if not needs:
        return
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        wanted = SpecifierSet(needs)
    except InvalidSpecifier:
        raise PluginError(
            f"the versions that it needs cannot be read: {needs!r}; write them as '>=0.1,<1'"
        ) from None
    if not wanted.contains(__version__, prereleases=True):
        raise PluginError(f"it needs UniID {needs}, and this is {__version__}")


def _named(error: BaseException) -> str:
    return shortened(visible(" ".join(f"{type(error).__name__}: {error}".split())), 200)
