"""Controls that differ with the method: numbers that it decides, and choices that only some methods have."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import gradio as gr

from lib_uniid.errors import UniIDError
from lib_uniid.fields.person import METHOD_NUMBERS
from lib_uniid.fields.rows import Row
from lib_uniid.fields.shared import METHOD_CHOICES
from lib_uniid.methods.registry import MethodNumber
from lib_uniid.ui.controller import PanelController
from lib_uniid.ui.form import ANY_METHOD, SHARED_SWITCHED, Form, switch_of
from lib_uniid.ui.sliders import slider

Keep = Callable[..., Any]


class MethodControls:
    """Builds the controls, and updates all of them when the method changes.

    The ``page`` shows the method's defaults at once. In a WebUI plugins are not asked while it starts: its
    panel learns them by an event.
    """

    def __init__(self, controller: PanelController, *, page: bool) -> None:
        self.controller, self.page = controller, page
        self._decided: list[tuple[Row, Any, Any]] = []
        self._choices: list[Any] = []

    def of_person(self, keep: Keep) -> dict[str, Any]:
        """For each number of a person that a method decides, a switch for its default and a slider."""
        return self._numbers(keep, METHOD_NUMBERS)

    def of_all(self, keep: Keep) -> dict[str, Any]:
        """The same for the numbers of all people."""
        return self._numbers(keep, SHARED_SWITCHED)

    def choices(self, keep: Keep, rest: Form, elem_id: Callable[[str], str]) -> dict[str, Any]:
        """A collapsed section with the choices that only some methods have."""
        read = self._choices_read()
        with gr.Accordion(
            "Order, branches and rescaling",
            open=False,
            visible=bool(read),
            elem_id=elem_id("method_choices"),
        ) as section:
            parts = {
                row.name: keep(
                    gr.Radio,
                    row.name,
                    value=getattr(rest, row.name),
                    choices=[*row.choices],
                    label=row.label,
                    info=row.info,
                    visible=row.name in read,
                )
                for row in METHOD_CHOICES
            }
        self._choices = [section, *parts.values()]
        return parts

    @property
    def switches(self) -> list[Any]:
        """The switch of each number that a method decides."""
        return [switch for _, switch, _ in self._decided]

    @property
    def controls(self) -> list[Any]:
        """What :meth:`updates` updates."""
        return [part for _, *pair in self._decided for part in pair] + self._choices

    def updates(self, method: str | None, *switches: bool) -> list[Any]:
        """The label of each switch has the method's defaults, and each slider the method's range.

        ``switches`` are the values of :attr:`switches`.
        """
        method, rows = method or ANY_METHOD, [row for row, *_ in self._decided]
        try:
            found = [self.controller.method_number(method, row.name) for row in rows]
            read = self.controller.method_choices(method)
        except UniIDError:  # an unknown method, which the generation reports
            return [gr.update() for _ in self.controls]
        return [
            *(
                update
                for row, number, on in zip(rows, found, switches, strict=True)
                for update in _number_updates(row, number, on)
            ),
            gr.update(visible=bool(read)),
            *(_choice_update(row, row.name in read) for row in METHOD_CHOICES),
        ]

    def _numbers(self, keep: Keep, rows: Sequence[Row]) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for row in rows:
            number = self._number(row)
            label = _switch_label(row, number)
            parts[switch_of(row)] = switch = keep(gr.Checkbox, switch_of(row), value=True, label=label)
            value = row.low if number is None else number.together
            parts[row.name] = scale = slider(keep, row.name, row, value, visible=False)
            switch.change(_shown_unless, inputs=[switch], outputs=[scale], show_progress="hidden")
            self._decided.append((row, switch, scale))
        return parts

    def _number(self, row: Row) -> MethodNumber | None:
        with suppress(UniIDError):  # the status says what is wrong
            return self.controller.method_number(ANY_METHOD, row.name) if self.page else None
        return None

    def _choices_read(self) -> tuple[str, ...]:
        with suppress(UniIDError):
            return self.controller.method_choices(ANY_METHOD) if self.page else ()
        return ()


def _switch_label(row: Row, number: MethodNumber | None) -> str:
    """Of the switch for the method's default."""
    return f"Automatic {row.label_in_text}" + ("" if number is None else f" ({number.defaults})")


def _number_updates(row: Row, number: MethodNumber | None, automatic: bool) -> list[Any]:
    """Of the switch and the slider, which keeps a value of the user's own unless it is hidden."""
    if number is None:
        return [gr.update(visible=False, value=True), gr.update(visible=False)]
    value: dict[str, Any] = {"value": number.together} if automatic else {}
    return [
        gr.update(label=_switch_label(row, number), visible=True),
        gr.update(minimum=number.low, maximum=number.high, visible=not automatic, **value),
    ]


def _choice_update(row: Row, read: bool) -> Any:
    """A hidden choice has its default: the method would refuse another value."""
    return gr.update(visible=True) if read else gr.update(visible=False, value=row.default)


def _shown_unless(automatic: bool) -> Any:
    """Hide the slider while its value is not used."""
    return gr.update(visible=not automatic)
