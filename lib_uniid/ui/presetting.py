"""The presets' controls: they save and set the panel's arguments, and are no arguments themselves."""

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from lib_uniid.fields.request import REQUEST
from lib_uniid.library.names import normal
from lib_uniid.ui import html
from lib_uniid.ui.controller import PanelController
from lib_uniid.ui.form import ANY_METHOD, Form, names_of, switch_of
from lib_uniid.ui.form_request import request_of
from lib_uniid.ui.pasting import form_of


class PresetControls:
    """Builds the controls; connect them after all arguments are built."""

    def __init__(
        self,
        controller: PanelController,
        keep: Callable[..., Any],
        button: Callable[..., Any],
        elem_id: Callable[[str], str],
    ) -> None:
        self.controller = controller
        with gr.Accordion("Presets", open=False, elem_id=elem_id("presets")):
            self.chosen = keep(
                gr.Dropdown,
                "preset",
                choices=[],
                value=None,
                allow_custom_value=True,
                label="Preset",
                info="Select a preset, or type a new name",
            )
            with gr.Row():
                self.use, self.save, self.replace, self.delete = (
                    button(text, f"preset_{text.lower()}", **more)
                    for text, more in (
                        ("Use", {}),
                        ("Save", {}),
                        ("Replace", {"visible": False}),
                        ("Delete", {}),
                    )
                )
            self.note = gr.HTML("", elem_id=elem_id("preset_note"))

    def connect(self, arguments: list[Any]) -> Any:
        """Connect the events after all arguments are built; returns the one after a preset is used."""
        self.count = len(arguments)
        outputs, hidden = [self.note, self.chosen, self.replace], {"show_progress": "hidden"}
        used = self.use.click(
            self._use,
            inputs=[self.chosen, arguments[names_of(Form).index("method")]],
            outputs=[self.note, *arguments],
            **hidden,
        )
        for button, action in ((self.save, self._save), (self.replace, self._replace)):
            button.click(action, inputs=[self.chosen, *arguments], outputs=outputs, **hidden)
        self.delete.click(self._delete, inputs=[self.chosen], outputs=outputs, **hidden)
        return used.then

    def _use(self, name: str | None, method: str | None) -> list[Any]:
        """Set all controls; a preset of methods sets its numbers alone."""
        unchanged = [gr.update() for _ in range(self.count)]
        try:
            numbers = self.controller.preset_numbers(name or "", method or ANY_METHOD)
            if numbers is not None:
                values = [*_numbers(numbers), *unchanged[len(names_of(Form)) :]]
            else:
                form = form_of(self.controller.presets.get(name or ""), self.controller.name_of)
                values = [gr.update(value=value) for value in form.values()]
        except Exception as error:
            return [html.failure(error), *unchanged]
        return [html.result([f"preset {name} is set"]), *values]

    def _save(self, name: str | None, *values: Any) -> list[Any]:
        """Save; an existing preset is replaced only with the Replace button."""
        try:
            self.controller.presets.require_own(normal(name or ""))
            if normal(name or "") in self.controller.presets.names():
                note = f"a preset named {name} exists; press Replace, or type another name"
                return [html.notes([note]), gr.update(), gr.update(visible=True)]
        except Exception as error:
            return _failed(error)
        return self._replace(name, *values)

    def _replace(self, name: str | None, *values: Any) -> list[Any]:
        try:
            request = request_of([values[0], True, *values[2:]], self.controller.uploads)
            assert request is not None, "the enabled argument above is True"
            self.controller.presets.save(name or "", request)
            names = self.controller.presets.names()
        except Exception as error:
            return _failed(error)
        return [html.result([f"preset {name} is saved"]), gr.update(choices=names), gr.update(visible=False)]

    def _delete(self, name: str | None) -> list[Any]:
        try:
            self.controller.presets.delete(name or "")
            names = self.controller.presets.names()
        except Exception as error:
            return _failed(error)
        return [
            html.result([f"preset {name} is deleted"]),
            gr.update(choices=names, value=None),
            gr.update(visible=False),
        ]


def _numbers(numbers: Mapping[str, float]) -> list[Any]:
    """Updates of the controls for all people: these numbers, and no default of the method for them."""
    given: dict[str, Any] = {**numbers, **{switch_of(REQUEST[name]): False for name in numbers}}
    return [gr.update(value=given[name]) if name in given else gr.update() for name in names_of(Form)]


def _failed(error: Exception) -> list[Any]:
    return [html.failure(error), gr.update(), gr.update(visible=False)]
