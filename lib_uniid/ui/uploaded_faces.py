"""Pictures of a person: uploaded, the faces in them shown, and the one that is meant clicked."""

import json
from pathlib import Path
from typing import Any

import gradio as gr

from lib_uniid.errors import UniIDError
from lib_uniid.ui import html
from lib_uniid.ui.controller import PanelController
from lib_uniid.ui.form import LOOKING, text_of, uploads_of
from lib_uniid.ui.tiles import tile
from lib_uniid.ui.versions import BARE, SCRIPT

# Run by the browser: until the server has looked, no person may be left out of a picture silently.
GONE = "The pictures of this person were not kept; upload them again"

_LOOKING: dict[str, Any] = {SCRIPT: f"(files) => uniid.looking(files, {json.dumps(LOOKING)})"}


class UploadedFaces:
    """The components and their events; the same under all versions of gradio."""

    def __init__(self, controller: PanelController, prefix: str) -> None:
        self.controller, self.prefix = controller, prefix

    def build(self) -> Any:
        """Make them; the hidden text that says what was uploaded, see :func:`uploads_of`."""
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
        self.files.change(None, inputs=[self.files], outputs=[self.uploads], **_LOOKING)
        seeing = self.files.change(self._see, inputs=[self.files], outputs=self.shown, show_progress="full")
        self.seen = seeing.then
        # They may also come from the other tab, by *Send to img2img*.
        self.uploads.change(self._arrived, inputs=[self.uploads], outputs=[faces], show_progress="hidden")
        picking = faces.select(self._pick, inputs=[self.uploads], outputs=self.shown, show_progress="hidden")
        self.picked = [seeing.then, picking.then]
        return self.uploads

    def nothing(self) -> list[Any]:
        """What ``shown`` shows without pictures."""
        return ["", gr.update(value=[], visible=False), ""]

    def showing(self, text: str) -> list[Any]:
        """What ``shown`` shows with these uploads; where they are no longer kept, that they are not."""
        try:
            note = html.notes(html.open_choices(uploads_of(text)))
            return [text, self._gallery(text), note]
        except UniIDError:
            return [*self.nothing()[:2], html.problem(GONE)]

    def _see(self, files: Any) -> list[Any]:
        """Pictures were chosen or taken away."""
        uploads, notes = self.controller.see(_paths(files))
        sentences = [*notes, *html.open_choices(uploads)]
        return [text_of(uploads), self._gallery(text_of(uploads)), html.notes(sentences)]

    def _arrived(self, text: str) -> Any:
        """The faces of the uploads in the list; a picture that is gone is named when it is used."""
        try:
            return gr.update() if text == LOOKING else self._gallery(text)
        except UniIDError:
            return gr.update(value=[], visible=False)

    def _pick(self, text: str, event: gr.SelectData) -> list[Any]:
        """A face was clicked: it is the one that is meant in its picture."""
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
            (tile(crop, meant=one.face == face), html.caption(one, face))
            for one in uploads
            for face, crop in enumerate(self.controller.uploads.get(one.key).faces, 1)
        ]
        return gr.update(value=tiles, visible=bool(tiles))


def _paths(files: Any) -> list[Path]:
    """A file component's value: gradio 3 gives open temporary files, later ones their paths."""
    return [Path(getattr(one, "name", one)) for one in files or []]
