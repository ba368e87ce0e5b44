"""The stand-alone page: pictures and people, for one user on this machine.

It needs the stand-alone environment's gradio. The panel in it runs under older versions as well.
"""

import sys
from pathlib import Path
from typing import Any

import gradio as gr

from lib_uniid.faces.picture import MAX_BYTES
from lib_uniid.fields.generation import GENERATION, MAX_SIDE
from lib_uniid.fields.rows import Row
from lib_uniid.runtime import Runtime
from lib_uniid.ui.controller import PanelController
from lib_uniid.ui.guard import HOSTS, Guard
from lib_uniid.ui.library_tab import add_people
from lib_uniid.ui.page_events import PageEvents, Screen
from lib_uniid.ui.page_generation import PageGenerator
from lib_uniid.ui.panel import Builder

SHARED_FOLDERS = (Path(__file__).parents[2], Path(sys.prefix) / "share" / "uniid")
"""Folders of the script and the style that WebUIs load too: in a checkout, and in an installation by pip."""
SCRIPT, STYLE = Path("javascript", "uniid.js"), Path("style.css")
OWN_STYLE = Path(__file__).with_name("page.css")
DELETE_CACHE = (600, 24 * 3600)
"""Interval of the clean-up of temporary files, and the age at which one is removed, in seconds."""


def make_page(runtime: Runtime, out: Path, *, base: Path | None = None) -> gr.Blocks:
    """Build the page; pictures are written into ``out``."""
    controller = PanelController(runtime, lambda: base or runtime.index.look_up("base"))
    events = PageEvents(PageGenerator(runtime, out, controller.uploads, base=base))
    with gr.Blocks(
        title="UniID", analytics_enabled=False, fill_width=True, delete_cache=DELETE_CACHE
    ) as page:
        with gr.Tab("Pictures", elem_id="uniid_pictures"):
            screen = _pictures(controller)
        with gr.Tab("People", elem_id="uniid_people_tab"):
            people = add_people(controller)
        events.connect(page, screen)
        # A change of the library on one tab refreshes the lists of the other.
        for event in (page.load, *people.changed):
            event(screen.panel.refresh, outputs=screen.panel.refreshed, show_progress="hidden")
        for event in (page.load, *screen.panel.saved):
            event(people.refresh, outputs=people.refreshed, show_progress="hidden")
    return page


def _pictures(controller: PanelController) -> Screen:
    """Two columns, or one column on a phone: prompt and people, the result, and the settings."""
    builder = Builder(controller, lambda name: f"uniid_{name}", page=True)
    with gr.Row(elem_id="uniid_desk"):
        with gr.Column(elem_id="uniid_ask"):
            prompt = gr.Textbox(
                label="Prompt", lines=2, placeholder="two friends at a winter market", elem_id="uniid_prompt"
            )
            with gr.Row(elem_id="uniid_go"):
                go = gr.Button("Generate", variant="primary", elem_id="uniid_generate")
                cancel = gr.Button(
                    "Cancel",
                    variant="stop",
                    scale=0,
                    min_width=110,
                    interactive=False,
                    elem_id="uniid_cancel",
                )
            words = gr.HTML("", elem_id="uniid_words")
            builder.people()
        with gr.Column(elem_id="uniid_result"):
            gallery = _gallery("Pictures", "uniid_gallery", "min(62vh, 640px)", preview=True)
            rough = gr.HTML("", elem_id="uniid_rough")
            checked = gr.HTML("", elem_id="uniid_checked")
            earlier = _gallery("Earlier pictures", "uniid_earlier", 130, columns=6, visible=False)
        with gr.Column(elem_id="uniid_settings"):
            with gr.Accordion("Picture settings", open=False, elem_id="uniid_picture_settings"):
                page_settings = _page_settings()
            with gr.Accordion("Identity settings", open=False, elem_id="uniid_identity_settings"):
                builder.settings()
    reuse = page_settings.pop("reuse")
    return Screen(
        page_settings={"prompt": prompt, **page_settings},
        panel=builder.connect(),
        go=go,
        cancel=cancel,
        reuse=reuse,
        words=words,
        rough=rough,
        gallery=gallery,
        checked=checked,
        earlier=earlier,
    )


def _gallery(label: str, elem_id: str, height: Any, **more: Any) -> Any:
    return gr.Gallery(
        height=height,
        object_fit="contain",
        format="png",
        buttons=["download", "fullscreen"],
        label=label,
        elem_id=elem_id,
        interactive=False,
        **more,
    )


def _page_settings() -> dict[str, Any]:
    """The controls of :class:`lib_uniid.ui.page_generation.PageSettings` by name, and the seed's button.

    Numbers have no limits here: gradio's own error does not name the field.
    """
    negative = gr.Textbox(label="Negative prompt", lines=1, elem_id="uniid_negative_prompt")
    with gr.Row():
        row = GENERATION["sampler"]
        sampler = gr.Dropdown([*row.choices], value=row.default, label=row.label, elem_id="uniid_sampler")
        steps = _number(GENERATION["steps"], "steps")
        scale = _number(GENERATION["cfg_scale"], "cfg_scale")
    with gr.Row():
        width, height = (
            gr.Number(
                value=0,
                step=8,
                label=name,
                info=f"up to {MAX_SIDE} px; 0: the model's own",
                elem_id=f"uniid_{name.lower()}",
            )
            for name in ("Width", "Height")
        )
        count = _number(GENERATION["pictures"], "count")
    with gr.Row():
        seed = gr.Number(value=-1, label="Seed", info="-1: random", elem_id="uniid_seed")
        reuse = gr.Button("Reuse last seed", size="sm", scale=0, min_width=140, elem_id="uniid_reuse_seed")
        preview = gr.Checkbox(value=True, label="Live preview", elem_id="uniid_preview", min_width=140)
    return {
        "negative_prompt": negative,
        "width": width,
        "height": height,
        "steps": steps,
        "cfg_scale": scale,
        "seed": seed,
        "pictures": count,
        "sampler": sampler,
        "preview": preview,
        "reuse": reuse,
    }


def _number(row: Row, name: str) -> Any:
    step = 1 if row.kind == "whole" else row.step
    return gr.Number(value=row.default, step=step, label=row.label, info=row.range, elem_id=f"uniid_{name}")


def launch(page: gr.Blocks, *, port: int | None, auth: tuple[str, str] | None = None) -> tuple[str, Any]:
    """Serve on this machine alone, in the background; the address, and the server to ``close``.

    Nothing is served from the disk but what gradio has in its temporary folder.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)
    _, address, _ = page.queue().launch(
        server_name="127.0.0.1",
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        css="\n".join([_shared(STYLE), OWN_STYLE.read_text(encoding="utf-8")]),
        js=f"() => {{\n{_shared(SCRIPT)}\nuniid.startPage();\n}}",
        theme=_theme(),
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


def _shared(file: Path) -> str:
    """The text of a file that WebUIs load too."""
    return next(place / file for place in SHARED_FOLDERS if (place / file).is_file()).read_text(
        encoding="utf-8"
    )


def _theme() -> Any:
    """Without downloaded fonts, and with legible hints: gradio's default hints have a contrast of 2.6:1."""
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    light, dark = "*neutral_600", "*neutral_300"
    return theme.set(
        block_info_text_color=light,
        block_info_text_color_dark=dark,
        body_text_color_subdued=light,
        body_text_color_subdued_dark=dark,
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )
