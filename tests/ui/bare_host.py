"""The panel alone in a page, under whatever gradio runs this file: a tab of a WebUI, reduced to the panel.

    python -m tests.ui.bare_host MODELS

Prints the address. The button ``ask`` shows the request that the panel's values make, or why they make none;
``paste`` fills the panel from the text beside it, as a WebUI's paste button does from an infotext.
"""

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gradio as gr

from lib_uniid.api.request import to_dict
from lib_uniid.errors import UniIDError
from lib_uniid.runtime import Runtime
from lib_uniid.ui.controller import PanelController
from lib_uniid.ui.form import Upload
from lib_uniid.ui.form_request import request_of
from lib_uniid.ui.panel import build

STYLE = (Path(__file__).parents[2] / "style.css").read_text(encoding="utf-8")


SECONDS = 5


def controller_of(models: Path, kind: type[PanelController] = PanelController) -> PanelController:
    """A panel's controller for a models folder with one checkpoint."""
    checkpoints = sorted((models / "Stable-diffusion").glob("*.safetensors"))
    return kind(Runtime(models), lambda: next(iter(checkpoints), None))


class Slow(PanelController):
    """Delays the detection in pictures named ``slow``, so that a test can press a button."""

    def see(self, files: Iterable[Path]) -> tuple[list[Upload], list[str]]:
        files = list(files)
        time.sleep(SECONDS if any("slow" in file.name for file in files) else 0)
        return super().see(files)


def page(models: Path) -> Any:
    controller = controller_of(models, Slow)

    def ask(*values: Any) -> str:
        try:
            request = request_of(values, controller.uploads)
        except UniIDError as error:
            return str(error)
        return "off" if request is None else json.dumps(to_dict(request))

    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.HTML(f"<style>{STYLE}</style>")
        with gr.Group():
            panel = build(controller, lambda name: f"script_txt2img_uniid_{name}")
        button, answer = gr.Button("Ask", elem_id="ask"), gr.Textbox(elem_id="answer")
        button.click(ask, inputs=panel.arguments, outputs=[answer])
        text, paste = gr.Textbox(elem_id="infotext"), gr.Button("Paste", elem_id="paste")
        fields = panel.infotext_fields("UniID", controller.name_of)

        def fill(infotext: str) -> list[Any]:
            values = [read({"UniID": infotext} if infotext else {}) for _, read in fields]
            return [gr.update() if value is None else gr.update(value=value) for value in values]

        paste.click(fill, inputs=[text], outputs=[component for component, _ in fields])
    return blocks


if __name__ == "__main__":
    _, address, _ = (
        page(Path(sys.argv[1])).queue().launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    )
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()
    sys.stdin.read()
