"""Changes of the text states that a UNet reads, before each of its calls.

The UNet's text comes from the host after prompt schedules, emphasis and AND prompts are resolved. A forward
pre-hook of the UNet replaces it by a copy, so no conditioning that the host keeps is changed.
"""

from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from lib_uniid.attention.rows import Role, Rows
from lib_uniid.errors import ConfigError
from lib_uniid.typing import Float

KEYWORDS = ("encoder_hidden_states", "context")
"""The UNet's argument with the text states: in diffusers, and in ldm and Forge."""

PLACE = 2
"""The place of that argument among the positional ones, in both."""

CHUNK = 77
"""Tokens that a CLIP text encoder reads at once, with those of begin and end."""

MOST_READY = 4
"""Kinds of calls that are kept ready: two passes, each with cond and uncond rows apart."""


@runtime_checkable
class PreparedText(Protocol):
    """A change that is ready for calls of one kind."""

    def __call__(self, text: Float[Tensor, "b t d"], rows: Rows) -> Float[Tensor, "b t d"]:
        """The changed text states, as a new tensor of the same shape."""
        ...


@runtime_checkable
class TextChange(Protocol):
    """A method's change of the text states."""

    @property
    def tokens(self) -> int:
        """How many of the first chunk's last tokens make room, at most."""
        ...

    def state(self, progress: float) -> Hashable:
        """What depends on the share of the steps done; None where nothing is changed now."""
        ...

    def prepare(self, state: Hashable, text: Float[Tensor, "b t d"], rows: Rows) -> PreparedText:
        """For text states of this precision, device and length, with these rows and this state."""
        ...


def words_kept(tokens: int) -> int:
    """How many tokens of the prompt's words are left in the first chunk beside this number of others.

    The end token goes first.
    """
    return CHUNK - 1 - max(1, tokens)


class ContextHook:
    """The hook on the UNet; ``note`` is called first. Calls without cond rows pass as they are."""

    def __init__(self, changes: Sequence[TextChange], rows: Rows, note: Callable[[], None]) -> None:
        self.changes, self.rows, self.note = changes, rows, note
        self._ready: dict[Hashable, tuple[Hashable, tuple[PreparedText, ...]]] = {}

    def register(self, unet: nn.Module, stack: ExitStack) -> None:
        """Before all hooks that are there, so that they see the changed text."""
        handle = unet.register_forward_pre_hook(self.before, with_kwargs=True, prepend=True)
        stack.callback(handle.remove)

    def before(
        self, unet: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The UNet's arguments with the changed text; None if nothing is changed in this call."""
        self.note()
        if Role.COND not in self.rows.roles:
            return None
        for keyword in KEYWORDS:
            if isinstance(text := kwargs.get(keyword), Tensor):
                return args, {**kwargs, keyword: self._changed(text)}
        if len(args) > PLACE and isinstance(args[PLACE], Tensor):
            return (*args[:PLACE], self._changed(args[PLACE]), *args[PLACE + 1 :]), kwargs
        raise ConfigError(
            f"{type(unet).__name__} was called without text states, and the identities' tokens belong among "
            "them; switch off the extension that replaces the prompt's conditioning"
        )

    def _changed(self, text: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        self.rows.require(text.shape[0])
        length = self.rows.text_length or text.shape[1]
        repeats, rest = divmod(text.shape[1], length)
        if repeats < 2 or rest:
            return self._changed_once(text)
        changed, once = text.clone(), self._changed_once(text[:, :length])
        for run in self.rows.runs:
            if run.role is Role.COND:
                changed[run.rows] = once[run.rows].repeat(1, repeats, 1)
        return changed

    def _changed_once(self, text: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        for change in self._prepared(text):
            text = change(text, self.rows)
        return text

    def _prepared(self, text: Tensor) -> tuple[PreparedText, ...]:
        states = tuple(change.state(self.rows.progress) for change in self.changes)
        kind = text.dtype, text.device, text.shape[1], self.rows.roles
        if kind not in self._ready and len(self._ready) == MOST_READY:
            self._ready.clear()
        if kind not in self._ready or self._ready[kind][0] != states:
            self._ready[kind] = (
                states,
                tuple(
                    change.prepare(state, text, self.rows)
                    for change, state in zip(self.changes, states, strict=True)
                    if state is not None
                ),
            )
        return self._ready[kind][1]
