"""Pictures of a person, and the button that keeps the person in the library; in the panel and on the page."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from lib_uniid.errors import UniIDError
from lib_uniid.ui import drawing
from lib_uniid.ui.backstage import Backstage
from lib_uniid.ui.form import uploads_of
from lib_uniid.ui.references import References


class Remembering:
    """The components and their events; the same under all versions of gradio."""

    def __init__(self, backstage: Backstage, prefix: str) -> None:
        self.backstage, self.prefix = backstage, prefix
        self.references = References(backstage, prefix)

    def build(self) -> Any:
        """Make them; what :meth:`References.build` gives. The name is asked for once there are pictures."""
        uploads = self.references.build()
        with gr.Column(visible=False) as part:
            self.name: Any = gr.Textbox(
                label="Name in the library",
                info="Keeps what is needed of the face on this computer, and not the pictures",
                elem_id=f"{self.prefix}_name",
            )
            self.name.do_not_save_to_config = True  # a WebUI must not keep values by labels that repeat
            with gr.Row():
                self.save = gr.Button("Save to library", size="sm", elem_id=f"{self.prefix}_save")
                self.add = gr.Button(
                    "Add to that person", size="sm", visible=False, elem_id=f"{self.prefix}_add"
                )
        self.said = gr.HTML("", elem_id=f"{self.prefix}_said")
        self.references.seen(
            self._seen,
            inputs=[self.references.uploads],
            outputs=[part, self.add],
            show_progress="hidden",
        )
        return uploads

    def connect(self, who: Any) -> list[Any]:
        """Called once ``who`` is there, the list in which whoever was saved is chosen.

        A name that stands in it is taken where none is in the field. Returned are the events after which
        there may be other people than before.
        """
        shown = [self.said, self.add, self.name, who, self.references.files, *self.references.shown]
        return [
            button.click(
                partial(self._save, add),
                inputs=[self.name, who, self.references.uploads],
                outputs=shown,
                show_progress="hidden",
            ).then
            for button, add in ((self.save, False), (self.add, True))
        ]

    def _seen(self, uploads: str) -> list[Any]:
        return [gr.update(visible=bool(uploads)), gr.update(visible=False)]

    def _save(self, add: bool, name: str | None, who: str | None, uploads: str) -> Iterator[list[Any]]:
        name, saved = (name or who or "").strip(), None
        rest = [gr.update() for _ in (self.name, who, self.references.files, *self.references.shown)]
        try:
            if not add and name in self.backstage.names():
                yield [drawing.notes([_taken(name)]), gr.update(visible=True), *rest]
                return
            for saved in self.backstage.enrol(name, uploads_of(uploads), add=add):
                yield [drawing.progress([f"looking at {name}"], saved.step, saved.steps), gr.update(), *rest]
        except UniIDError as error:
            yield [drawing.problem(str(error)), gr.update(visible=False), *rest]
            return
        words = [f"{name} has these pictures too now" if add else f"{name} is in the library"]
        words += [] if saved is None else saved.advice
        chosen = gr.update(choices=self.backstage.names(), value=name)
        gone = [None, *self.references.nothing()]
        yield [drawing.result(words), gr.update(visible=False), "", chosen, *gone]


def _taken(name: str) -> str:
    return (
        f"somebody called {name} is in the library already: add these pictures to that person, "
        "or type another name"
    )
