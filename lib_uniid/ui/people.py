"""The page's library: enrol people from pictures, rename them, delete them, and take that back."""

from typing import Any

import gradio as gr

from lib_uniid.errors import ConfigError, UniIDError
from lib_uniid.faces.picture import load_picture
from lib_uniid.library.store import Removed
from lib_uniid.pipeline import Reference
from lib_uniid.ui import drawing
from lib_uniid.ui.backstage import Backstage
from lib_uniid.ui.form import uploads_of
from lib_uniid.ui.making import Maker
from lib_uniid.ui.references import References


def add_people(backstage: Backstage, maker: Maker) -> list[Any]:
    """Build the tab; the events after which other people are enrolled than before."""
    return _Library(backstage, maker).build()


class _Library:
    def __init__(self, backstage: Backstage, maker: Maker) -> None:
        self.backstage, self.maker, self.library = backstage, maker, maker.library

    def build(self) -> list[Any]:
        with gr.Row():
            with gr.Column():
                gr.Markdown("### Somebody new")
                name = gr.Textbox(label="Name", elem_id="uniid_new_name")
                references = References(self.backstage, "uniid_new").build()
                enrol = gr.Button("Enrol", variant="primary", elem_id="uniid_enrol")
            with gr.Column():
                gr.Markdown("### In the library")
                who = gr.Dropdown(
                    choices=self.library.names(), value=None, label="Person", elem_id="uniid_known"
                )
                new = gr.Textbox(label="New name", elem_id="uniid_rename_to")
                with gr.Row():
                    rename = gr.Button("Rename", elem_id="uniid_rename")
                    delete = gr.Button("Delete", variant="stop", elem_id="uniid_delete")
                    undo = gr.Button("Take it back", visible=False, elem_id="uniid_undo")
        words = gr.HTML("", elem_id="uniid_library_words")
        gone = gr.State(None)
        shown = [words, who]
        return [
            enrol.click(self._enrol, inputs=[name, references], outputs=shown).then,
            rename.click(self._rename, inputs=[who, new], outputs=shown).then,
            delete.click(self._delete, inputs=[who], outputs=[*shown, gone, undo]).then,
            undo.click(self._undo, inputs=[gone], outputs=[*shown, gone, undo]).then,
        ]

    def _enrol(self, name: str, references: str) -> list[Any]:
        try:
            uploads = uploads_of(references)
            if any(one.faces > 1 and one.face is None for one in uploads):
                raise ConfigError("; ".join(drawing.open_choices(uploads)))
            pictures = [
                Reference(
                    picture=load_picture(self.backstage.uploads.picture(one.key), one.name),
                    label=one.name,
                    number=one.face,
                )
                for one in uploads
            ]
            if name.strip() in self.library.names():
                raise ConfigError(f"{name.strip()!r} is enrolled already; choose another name")
            person, chosen = self.maker.studio().enrol(name.strip(), pictures)
            self.library.save(person)
        except UniIDError as error:
            self.maker.forget()
            return [drawing.problem(str(error)), gr.update()]
        advice = [sentence for seen in chosen for sentence in seen.quality.advice]
        return [drawing.result([f"{person.name} is in the library", *advice]), self._choices(person.name)]

    def _rename(self, who: str | None, new: str) -> list[Any]:
        try:
            self.library.rename(self._chosen(who), new)
        except UniIDError as error:
            return [drawing.problem(str(error)), gr.update()]
        return [drawing.result([f"{who} is called {new.strip()} now"]), self._choices(new.strip())]

    def _delete(self, who: str | None) -> list[Any]:
        try:
            removed = self.library.remove(self._chosen(who))
        except UniIDError as error:
            return [drawing.problem(str(error)), gr.update(), gr.update(), gr.update()]
        said = drawing.result([f"{who} is deleted; it can be taken back until the page is closed"])
        return [said, self._choices(None), removed, gr.update(visible=True)]

    def _undo(self, gone: Removed | None) -> list[Any]:
        try:
            if gone is None:
                raise ConfigError("nobody was deleted on this page; there is nothing to take back")
            self.library.restore(gone)
        except UniIDError as error:
            return [drawing.problem(str(error)), gr.update(), gr.update(), gr.update()]
        return [
            drawing.result([f"{gone.name} is back"]),
            self._choices(gone.name),
            None,
            gr.update(visible=False),
        ]

    def _choices(self, chosen: str | None) -> Any:
        return gr.update(choices=self.library.names(), value=chosen)

    def _chosen(self, who: str | None) -> str:
        if not who:
            raise ConfigError("nobody is chosen; choose somebody in the list first")
        return who
