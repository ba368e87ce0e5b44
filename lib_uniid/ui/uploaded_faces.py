"""Uploads of pictures of a person: the faces in them are shown, and the user clicks the person's face."""

import json
from pathlib import Path
from typing import Any

import gradio as gr

from lib_uniid.errors import UniIDError
from lib_uniid.ui import html
from lib_uniid.ui.controller import PanelController
from lib_uniid.ui.form import DETECTING, text_of, uploads_of
from lib_uniid.ui.tiles import tile
from lib_uniid.ui.versions import BARE, SCRIPT

GONE = "The pictures of this person are no longer kept; upload them again"

# The browser runs this. A generation before the end of the detection fails; the person is not left out.
_MARK_DETECTING: dict[str, Any] = {SCRIPT: f"(files) => uniid.markDetecting(files, {json.dumps(DETECTING)})"}


class UploadedFaces:
    """The components and their events; the same under all versions of gradio."""

    def __init__(self, controller: PanelController, prefix: str) -> None:
        self.controller, self.prefix = controller, prefix

    def build(self) -> Any:
        """Build them; returns the hidden text with the uploads, see :func:`uploads_of`."""
        self.files = gr.File(
            file_count="multiple",
            file_types=["image"],
            height=150,  # the label must not cover the icon
            label="Pictures of this person",
            elem_id=f"{self.prefix}_files",
            elem_classes=["uniid-drop"],
        )
        faces = gr.Gallery(
            columns=5,
            height=150,
            object_fit="contain",
            allow_preview=False,
            visible=False,
            show_label=False,
            elem_id=f"{self.prefix}_faces",
            elem_classes=["uniid-faces"],
            **BARE,
        )
        note = gr.HTML("", elem_id=f"{self.prefix}_note")
        self.uploads: Any = gr.Textbox(
            value="", visible=False, label="Uploads", elem_id=f"{self.prefix}_uploads"
        )
        self.uploads.do_not_save_to_config = True
        self.shown = [self.uploads, faces, note]
        self.files.change(None, inputs=[self.files], outputs=[self.uploads], **_MARK_DETECTING)
        seeing = self.files.change(self._see, inputs=[self.files], outputs=self.shown, show_progress="full")
        self.seen = seeing.then
        # Uploads also arrive from the other tab, by *Send to img2img*.
        self.uploads.change(self._arrived, inputs=[self.uploads], outputs=[faces], show_progress="hidden")
        picking = faces.select(self._pick, inputs=[self.uploads], outputs=self.shown, show_progress="hidden")
        self.picked = [seeing.then, picking.then]
        return self.uploads

    def cleared(self) -> list[Any]:
        """The values of ``shown`` without pictures."""
        return ["", gr.update(value=[], visible=False), ""]

    def showing(self, text: str) -> list[Any]:
        """The values of ``shown`` for these uploads; an error if they are no longer kept."""
        try:
            note = html.notes(html.open_choices(uploads_of(text)))
            return [text, self._gallery(text), note]
        except UniIDError:
            return [*self.cleared()[:2], html.problem(GONE)]

    def _see(self, files: Any) -> list[Any]:
        """The user added or removed pictures."""
        uploads, notes = self.controller.see(_paths(files))
        sentences = [*notes, *html.open_choices(uploads)]
        return [text_of(uploads), self._gallery(text_of(uploads)), html.notes(sentences)]

    def _arrived(self, text: str) -> Any:
        """The faces of the uploads; the next generation reports a picture that is no longer kept."""
        try:
            return gr.update() if text == DETECTING else self._gallery(text)
        except UniIDError:
            return gr.update(value=[], visible=False)

    def _pick(self, text: str, event: gr.SelectData) -> list[Any]:
        """The user clicked a face: it becomes the chosen face of its picture."""
        uploads = uploads_of(text)
        places = [(number, face) for number, one in enumerate(uploads) for face in range(1, one.faces + 1)]
        number, face = places[int(event.index)]
        picked = html.picked(uploads, number, face)
        return [
            text_of(picked),
            self._gallery(text_of(picked)),
            html.notes(html.open_choices(picked)),
        ]

    def _gallery(self, text: str) -> Any:
        uploads = uploads_of(text)
        tiles = [
            (tile(crop, chosen=one.face == face), html.caption(one, face))
            for one in uploads
            for face, crop in enumerate(self.controller.uploads.get(one.key).faces, 1)
        ]
        return gr.update(value=tiles, visible=bool(tiles))


def _paths(files: Any) -> list[Path]:
    """A file component's value: gradio 3 gives open temporary files, later versions their paths."""
    return [Path(getattr(one, "name", one)) for one in files or []]
