"""Pictures of a person, and the button that saves the person to the library; for panel and page."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from lib_uniid.errors import DifferentPeopleError
from lib_uniid.failures import explain
from lib_uniid.library.names import normal
from lib_uniid.ui import html
from lib_uniid.ui.controller import PanelController
from lib_uniid.ui.form import ANY_METHOD, uploads_of
from lib_uniid.ui.uploaded_faces import UploadedFaces

SURE = "All pictures show the same person"
CACHED = "Features of pictures that are not saved are cached for 30 days."


class ReferencePictures:
    """The components and their events; the same under all versions of gradio."""

    def __init__(self, controller: PanelController, prefix: str) -> None:
        self.controller, self.prefix = controller, prefix
        self.references = UploadedFaces(controller, prefix)

    def build(self) -> Any:
        """Build the components; returns the value of :meth:`UploadedFaces.build`.

        The field for the name is shown once there are pictures.
        """
        uploads = self.references.build()
        with gr.Column(visible=False) as part:
            self.name: Any = gr.Textbox(
                label="Name in the library",
                info=f"Stores face features and the cropped faces locally; pictures are not kept. {CACHED}",
                elem_id=f"{self.prefix}_name",
            )
            self.name.do_not_save_to_config = True  # tabs have the same labels: see Builder._keep
            with gr.Row():
                self.save = gr.Button(
                    "Save to library", size="sm", variant="primary", elem_id=f"{self.prefix}_save"
                )
                self.add = gr.Button(
                    "Add to that person", size="sm", visible=False, elem_id=f"{self.prefix}_add"
                )
            self.sure: Any = gr.Checkbox(
                value=False, visible=False, label=SURE, elem_id=f"{self.prefix}_sure"
            )
            self.sure.do_not_save_to_config = True
        self.said = gr.HTML("", elem_id=f"{self.prefix}_said")
        self.references.seen(
            self._show_saving,
            inputs=[self.references.uploads],
            outputs=[part, self.add, self.sure],
            show_progress="hidden",
        )
        return uploads

    def connect(self, who: Any, *method: Any) -> list[Any]:
        """Connect the events; returns those after which the library may have changed.

        ``who`` is the list of people. A saved person is selected in it, and its value is the name if the
        field for the name is empty. ``method`` is the choice of the method, where there is one.
        """
        rest = [self.name, who, self.references.files, *self.references.shown]
        shown = [self.said, self.add, self.sure, *rest]
        self.name.input(  # a new name removes the message about the last one
            lambda: ["", gr.update(visible=False), _ask(False)], outputs=shown[:3], show_progress="hidden"
        )
        return [
            button.click(
                partial(self._save, add),
                inputs=[self.name, who, self.references.uploads, self.sure, *method],
                outputs=shown,
                show_progress="hidden",
            ).then
            for button, add in ((self.save, False), (self.add, True))
        ]

    def _show_saving(self, uploads: str) -> list[Any]:
        return [gr.update(visible=bool(uploads)), gr.update(visible=False), _ask(False)]

    def _save(
        self,
        add: bool,
        name: str | None,
        who: str | None,
        uploads: str,
        sure: bool,
        method: str | None = None,
    ) -> Iterator[list[Any]]:
        name, saved = normal(name or who or ""), None
        rest = [gr.update() for _ in (self.name, who, self.references.files, *self.references.shown)]
        try:
            if not add and name in self.controller.names():
                yield [html.notes([_taken(name)]), gr.update(visible=True), gr.update(), *rest]
                return
            enrolment = self.controller.enrol(
                name, uploads_of(uploads), add=add, force=sure, method=method or ANY_METHOD
            )
            for saved in enrolment:
                words = html.progress([f"enrolling {name}"], saved.step, saved.steps)
                yield [words, gr.update(), gr.update(), *rest]
        except Exception as error:  # the panel shows every error
            ask = isinstance(error, DifferentPeopleError)
            problem = html.problem(explain(error, "enrolling"))
            yield [problem, gr.update(visible=add and ask), _ask(ask), *rest]
            return
        words = html.result([f"pictures added to {name}" if add else f"{name} is in the library"])
        words += html.notes(() if saved is None else saved.advice)
        chosen = gr.update(choices=self.controller.names(), value=name)
        cleared = [None, *self.references.cleared()]
        yield [words, gr.update(visible=False), _ask(False), "", chosen, *cleared]


def _ask(visible: bool) -> Any:
    """Show or hide the box that confirms that all pictures show one person, unchecked."""
    return gr.update(visible=visible, value=False)


def _taken(name: str) -> str:
    return (
        f"the library already has a person named {name}; press Add to that person to add the pictures, "
        "or type another name"
    )
