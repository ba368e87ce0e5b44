"""The page's library: enrol people from pictures, rename them, delete them, and take that back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lib_uniid.errors import ConfigError, UniIDError
from lib_uniid.library.store import Deleted
from lib_uniid.ui import drawing
from lib_uniid.ui.backstage import Backstage
from lib_uniid.ui.remembering import Remembering


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """What was built: the events after which other people are enrolled, and what must know of others'."""

    changed: list[Any]
    refresh: Callable[[], Any]
    refreshed: list[Any]


def add_people(backstage: Backstage) -> People:
    """Build the tab."""
    return _Library(backstage).build()


class _Library:
    def __init__(self, backstage: Backstage) -> None:
        self.backstage, self.library = backstage, backstage.library

    def build(self) -> People:
        with gr.Row():
            with gr.Column():
                gr.Markdown("### Somebody new")
                somebody = Remembering(self.backstage, "uniid_new")
                somebody.build()
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
        changed = [
            *somebody.connect(who),
            rename.click(self._rename, inputs=[who, new], outputs=shown).then,
            delete.click(self._delete, inputs=[who], outputs=[*shown, gone, undo]).then,
            undo.click(self._undo, inputs=[gone], outputs=[*shown, gone, undo]).then,
        ]
        return People(changed=changed, refresh=self._names, refreshed=[who])

    def _names(self) -> Any:
        return gr.update(choices=self.library.names())

    def _rename(self, who: str | None, new: str) -> list[Any]:
        try:
            self.library.rename(self._chosen(who), new)
        except UniIDError as error:
            return [drawing.problem(str(error)), gr.update()]
        return [drawing.result([f"{who} is called {new.strip()} now"]), self._choices(new.strip())]

    def _delete(self, who: str | None) -> list[Any]:
        try:
            removed = self.backstage.delete(self._chosen(who))
        except UniIDError as error:
            return [drawing.problem(str(error)), gr.update(), gr.update(), gr.update()]
        said = drawing.result([f"{who} is deleted; it can be taken back until the page is closed"])
        return [said, self._choices(None), removed, gr.update(visible=True)]

    def _undo(self, gone: Deleted | None) -> list[Any]:
        try:
            if gone is None:
                raise ConfigError("nobody was deleted on this page; there is nothing to take back")
            self.library.restore(gone.id)
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
