"""The stand-alone page: pictures and people, for one person in front of this machine.

Needs the stand-alone environment's gradio, unlike the panel in it.
"""

import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.config import MAX_PICTURES, MAX_SIDE, SAMPLERS
from lib_uniid.faces.picture import MAX_BYTES
from lib_uniid.ui import drawing
from lib_uniid.ui.backstage import Backstage
from lib_uniid.ui.guard import HOSTS, Guard
from lib_uniid.ui.making import Maker, Shown, Wish
from lib_uniid.ui.panel import Panel, build
from lib_uniid.ui.people import add_people

STYLE = Path(__file__).parents[2] / "style.css"
"""The WebUI's; a wheel does not hold it, and the page is then only plainer."""

KEPT = (600, 24 * 3600)
"""How often temporary files are looked at, and after how long one is removed, in seconds."""


class Place:
    """A models folder and the checkpoint in it that is used; see :class:`lib_uniid.ui.backstage.Place`."""

    def __init__(self, models: Path, base: Path | None) -> None:
        self.models, self.base = models, base

    def models_folder(self) -> Path:
        return self.models

    def checkpoint(self) -> Path | None:
        return self.base or ModelFolder(self.models).look_up("base")


def make_page(models: Path, out: Path, *, base: Path | None = None, device: str | None = None) -> gr.Blocks:
    """The page, ready to be launched; pictures are written into ``out``."""
    backstage = Backstage(Place(models, base))
    maker = Maker(models, out, backstage.uploads, base=base, device=device)
    with gr.Blocks(title="UniID", analytics_enabled=False, fill_width=True, delete_cache=KEPT) as page:
        gr.HTML("<h1>UniID</h1><p>Chosen people in one picture, while the words stay in charge.</p>")
        with gr.Tab("Pictures", elem_id="uniid_pictures"):
            panel = _pictures(backstage, maker)
        with gr.Tab("People", elem_id="uniid_people_tab"):
            people = add_people(backstage)
        # Who is enrolled has changed on one tab, so the lists of the other have.
        for event in (page.load, *people.changed):
            event(panel.refresh, outputs=panel.refreshed, show_progress="hidden")
        for event in (page.load, *panel.saved):
            event(people.refresh, outputs=people.refreshed, show_progress="hidden")
    return page


def _pictures(backstage: Backstage, maker: Maker) -> Panel:
    with gr.Row():
        with gr.Column(scale=6):
            wish = _wish()
            panel = build(backstage, lambda name: f"uniid_{name}", page=True)
        with gr.Column(scale=5):
            with gr.Row():
                go = gr.Button("Generate", variant="primary", elem_id="uniid_generate")
                cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="uniid_cancel")
            words = gr.HTML("", elem_id="uniid_words")
            gallery = gr.Gallery(
                columns=2,
                height=560,
                object_fit="contain",
                format="png",
                label="Pictures",
                elem_id="uniid_gallery",
            )
    width = len(fields(Wish))

    def make(*values: Any) -> Iterator[list[Any]]:
        asked = Wish(**dict(zip([one.name for one in fields(Wish)], values[:width], strict=True)))
        for shown in maker.make(asked, values[width:]):
            yield _outputs(shown)

    go.click(
        make,
        inputs=[*wish, *panel.arguments],
        outputs=[words, gallery, go, cancel],
        show_progress="hidden",
        concurrency_limit=2,  # the second is told that it has to wait
    )
    cancel.click(maker.cancel, queue=False)
    return panel


def _outputs(shown: Shown) -> list[Any]:
    """Words, gallery, and which of the two buttons can be pressed."""
    going = not shown.finished and not shown.wrong
    if going:
        html = drawing.progress(shown.words, shown.step, shown.steps)
    else:
        html = drawing.problem(" ".join(shown.words)) if shown.wrong else _result(shown)
    pictures = [(_copied(path), caption) for path, caption in shown.pictures]
    return [
        html,
        gr.update(value=pictures) if pictures else gr.update(),
        gr.update(interactive=not going),
        gr.update(interactive=going),
    ]


def _copied(path: Path) -> str:
    """A copy that the server may show: of the disk it shows nothing but its temporary folder."""
    folder = Path(get_upload_folder()) / "shown"
    folder.mkdir(parents=True, exist_ok=True)
    return str(shutil.copy(path, folder / path.name))


def _result(shown: Shown) -> str:
    return drawing.result(shown.words) if shown.complete else drawing.notes(shown.words)


def _wish() -> list[Any]:
    """The page's own controls, in the order of :class:`Wish`."""
    prompt = gr.Textbox(
        label="Prompt", lines=2, placeholder="two friends at a winter market", elem_id="uniid_prompt"
    )
    negative = gr.Textbox(label="Negative prompt", lines=1, elem_id="uniid_negative_prompt")
    with gr.Row():
        sampler = gr.Dropdown(list(SAMPLERS), value="ddim", label="Sampler", elem_id="uniid_sampler")
        steps = gr.Slider(1, 150, value=25, step=1, label="Steps", elem_id="uniid_steps")
        scale = gr.Slider(1.0, 30.0, value=7.5, step=0.5, label="CFG scale", elem_id="uniid_cfg_scale")
    with gr.Row():
        sizes = [
            gr.Number(
                value=0,
                precision=0,
                minimum=0,
                maximum=MAX_SIDE,
                step=8,
                label=name,
                info="0: the model's own",
                elem_id=f"uniid_{name.lower()}",
            )
            for name in ("Width", "Height")
        ]
        seed = gr.Number(value=-1, precision=0, label="Seed", info="-1: any", elem_id="uniid_seed")
        count = gr.Number(
            value=1,
            precision=0,
            minimum=1,
            maximum=MAX_PICTURES,
            label="Pictures",
            info=f"at most {MAX_PICTURES}",
            elem_id="uniid_count",
        )
    return [prompt, negative, *sizes, steps, scale, seed, count, sampler]


def launch(page: gr.Blocks, *, port: int | None, auth: tuple[str, str] | None = None) -> tuple[str, Any]:
    """Serve on this machine alone, in the background; the address, and the server to ``close``.

    Nothing is served from the disk but what gradio has in its temporary folder.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    css = STYLE.read_text(encoding="utf-8") if STYLE.is_file() else None
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # nothing is fetched
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)
    _, address, _ = page.queue().launch(
        server_name="127.0.0.1",
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        css=css,
        theme=theme,
        auth=auth,
        max_file_size=MAX_BYTES,
        app_kwargs={"middleware": [hosts, Middleware(Guard)]},
        footer_links=[],
        mcp_server=False,
        enable_monitoring=False,
        ssr_mode=False,
        num_workers=0,
    )
    return address, page
