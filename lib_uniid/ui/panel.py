"""The panel: the same components under gradio 3.41, 4.40 and 6, in a WebUI's tab and on the page.

Building it has no side effects: a WebUI builds it three times per tab. Events call the
:class:`PanelController`, and :mod:`lib_uniid.ui.html` renders its answers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from lib_uniid.fields.person import MIX, PERSON
from lib_uniid.fields.request import REQUEST
from lib_uniid.fields.rows import numbers
from lib_uniid.ui import html
from lib_uniid.ui.controller import PanelController
from lib_uniid.ui.form import ANY_METHOD, TABS, Form, PersonForm, names_of
from lib_uniid.ui.method_controls import MethodControls
from lib_uniid.ui.pasting import readers
from lib_uniid.ui.presetting import PresetControls
from lib_uniid.ui.reference_pictures import ReferencePictures
from lib_uniid.ui.region_controls import RegionControls
from lib_uniid.ui.sliders import slider
from lib_uniid.ui.style_controls import build_style

ElemId = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The built panel. ``arguments`` are in the order of :meth:`Form.values`."""

    arguments: list[Any]
    enabled: Any
    refresh: Callable[[], list[Any]]
    refreshed: list[Any]
    saved: list[Any]
    """Events after which the library may have changed."""
    reference_pictures: list[ReferencePictures]
    """The pictures of each tab."""
    update_tab_buttons: Callable[[Any], object]
    """Makes an event update the name and face on all tabs' buttons."""

    def infotext_fields(
        self, key: str, name_of: Callable[[str], str | None]
    ) -> list[tuple[Any, Callable[[Mapping[str, Any]], Any]]]:
        """Pairs of a component and the function that reads its value from an infotext."""
        return list(zip(self.arguments, readers(key, name_of), strict=True))


def build(controller: PanelController, elem_id: ElemId) -> Panel:
    """Build the panel in the open gradio context, collapsed."""
    builder = Builder(controller, elem_id)
    with gr.Accordion("UniID: people in the picture", open=False, elem_id=elem_id("panel")):
        builder.people()
        builder.settings()
    return builder.connect()


class Builder:
    """Builds one panel and handles its events. On the ``page`` UniID is on, and the parts are separate."""

    def __init__(self, controller: PanelController, elem_id: ElemId, *, page: bool = False) -> None:
        self.controller, self.elem_id, self.page = controller, elem_id, page
        self.by_method = MethodControls(controller, page=page)
        self.choices: list[Any] = []
        self.tabs: list[dict[str, Any]] = []
        self.reference_pictures: list[ReferencePictures] = []
        self._button_styles: list[Any] = []
        self._shared: dict[str, Any] = {}

    def people(self) -> None:
        """The switch, the status, and a tab for each person."""
        with gr.Row(elem_classes=["uniid-head"]):
            label = REQUEST["enabled"].label
            self._shared["enabled"] = self._keep(gr.Checkbox, "enabled", value=self.page, label=label)
            self.refresh = self._button("Refresh", "refresh")
        self.status = gr.HTML("", elem_id=self.elem_id("status"))
        self.show_files = self._button("Show missing files", "show_files", visible=False)
        self.files = gr.HTML("", visible=False, elem_id=self.elem_id("files"))
        self.fetch = self._button("Download missing files", "fetch", visible=False)
        with gr.Tabs(elem_id=self.elem_id("people"), elem_classes=["uniid-people"]):
            for number in range(1, TABS + 1):
                with gr.Tab(f"Person {number}", elem_id=self.elem_id(f"tab_{number}")):
                    self.tabs.append(self._person(number))

    def settings(self) -> None:
        """The settings for all people."""
        rest = Form()
        self._shared |= self._shared_controls(rest) | build_style(self._keep, rest)
        self.presets = PresetControls(self.controller, self._keep, self._button, self.elem_id)
        self._shared["request"] = self._request()

    def connect(self) -> Panel:
        """Connect the events after all components are built."""
        shared = [self._shared[name] for name in names_of(Form)]
        panel = Panel(
            arguments=[*shared, *(part for tab in self.tabs for part in tab.values())],
            enabled=self._shared["enabled"],
            refresh=self._refresh,
            saved=[
                event
                for tab, reference_pictures in zip(self.tabs, self.reference_pictures, strict=True)
                for event in reference_pictures.connect(tab["who"], self._shared["method"])
            ],
            refreshed=[
                self.status,
                self.show_files,
                self.files,
                self.fetch,
                self.presets.chosen,
                self._shared["method"],
                *self.choices,
            ],
            reference_pictures=self.reference_pictures,
            update_tab_buttons=lambda event: [
                self._update_tab_button(event, number) for number in range(1, TABS + 1)
            ],
        )
        preset_used = self.presets.connect(panel.arguments)
        for event in (panel.enabled.change, self.refresh.click, *panel.saved):
            event(self._refresh, inputs=[], outputs=panel.refreshed, show_progress="hidden")
        method, by_method = self._shared["method"], self.by_method
        for event in (panel.enabled.change, self.refresh.click, method.change, preset_used):
            event(
                by_method.updates,
                inputs=[method, *by_method.switches],
                outputs=by_method.controls,
                show_progress="hidden",
            )
        self.show_files.click(
            self._show_files, inputs=[], outputs=[self.files, self.fetch], show_progress="hidden"
        )
        self.fetch.click(self._fetch, inputs=[], outputs=[self.status], show_progress="hidden")
        self._connect_tab_buttons()
        return panel

    def _connect_tab_buttons(self) -> None:
        """Each tab's button shows the name and face of its person."""
        for number, (tab, reference_pictures) in enumerate(
            zip(self.tabs, self.reference_pictures, strict=True), 1
        ):
            for event in (tab["who"].change, tab["enabled"].change, *reference_pictures.references.picked):
                self._update_tab_button(event, number)

    def _update_tab_button(self, event: Any, number: int) -> None:
        tab = self.tabs[number - 1]
        event(
            partial(self._button_style, number),
            inputs=[tab["enabled"], tab["who"], tab["uploads"]],
            outputs=[self._button_styles[number - 1]],
            show_progress="hidden",
        )

    def _button_style(self, number: int, enabled: bool, who: str | None, uploads: str | None) -> str:
        face = self.controller.face_of(who or "", uploads or "")
        buttons = f"#{self.elem_id('people')} > .tab-nav > button"  # those of gradio 3 have no ids
        button = f":is(#{self.elem_id(f'tab_{number}')}-button, {buttons}:nth-child({number}))"
        return html.tab_look(button, who or "", face, on=enabled)

    def _keep(self, kind: Callable[..., Any], name: str, **options: Any) -> Any:
        """A component with a value. Tabs have the same labels, so a WebUI must not save values by label."""
        component = kind(elem_id=self.elem_id(name), **options)
        component.do_not_save_to_config = True
        return component

    def _button(self, text: str, name: str, **options: Any) -> Any:
        return gr.Button(text, size="sm", scale=0, min_width=200, elem_id=self.elem_id(name), **options)

    def _shared_controls(self, rest: Form) -> dict[str, Any]:
        """The controls for all people."""
        with gr.Row():
            with gr.Column():
                scales = self.by_method.of_all(self._keep)
            row = REQUEST["routing"]
            shown = {"choices": [*row.choices], "label": row.label, "info": row.info}
            routing = self._keep(gr.Radio, "routing", value=rest.routing, **shown)
        # Its choices are filled in by a refresh: plugins are not asked while a WebUI starts.
        method = self._keep(
            gr.Dropdown,
            "method",
            choices=[ANY_METHOD],
            value=rest.method,
            allow_custom_value=True,
            visible=False,
            label=REQUEST["method"].label,
            info="automatic: the method for the loaded base model",
        )
        with gr.Row(elem_classes=["uniid-switches"]):
            names = {"show_routing": "show_routing", "check": "check", "plain": "fallback"}
            switches = {
                name: self._keep(gr.Checkbox, name, value=getattr(rest, name), label=REQUEST[field].label)
                for name, field in names.items()
            }
        choices = self.by_method.choices(self._keep, rest, self.elem_id)
        return {**scales, "routing": routing, "method": method, **switches, **choices}

    def _person(self, number: int) -> dict[str, Any]:
        """Build one tab; its arguments by name, in the order of the form."""
        rest = PersonForm()
        keep = partial(self._numbered, number)
        names = self.controller.names() if self.page else []
        parts: dict[str, Any] = {}
        style = gr.HTML("", elem_id=self.elem_id(f"person_{number}_look"), elem_classes=["uniid-look"])
        self._button_styles.append(style)
        with gr.Row():
            with gr.Column():
                label = PERSON["enabled"].label
                parts["enabled"] = keep(gr.Checkbox, "enabled", value=rest.enabled, label=label)
                parts["who"] = keep(
                    gr.Dropdown,
                    "who",
                    choices=["", *names],
                    value=rest.who,
                    allow_custom_value=True,
                    label="Who",
                    info="A person of the library, or a name for the uploaded pictures",
                )
                words = PERSON["prompt"]
                parts["prompt"] = keep(
                    gr.Textbox, "prompt", value=rest.prompt, label=words.label, info=words.info, max_lines=1
                )
                parts |= self._numbers(keep, folded=False)
                parts |= self.by_method.of_person(keep)
            with gr.Column():
                self.reference_pictures.append(
                    ReferencePictures(self.controller, self.elem_id(f"person_{number}"))
                )
                parts["uploads"] = self.reference_pictures[-1].build()
        with gr.Accordion(
            "Region, mixing, timing", open=False, elem_id=self.elem_id(f"person_{number}_more")
        ):
            parts |= RegionControls(keep, self.elem_id("panel")).build()
            with gr.Row():
                parts["mix_with"] = keep(
                    gr.Dropdown,
                    "mix_with",
                    choices=["", *names],
                    value=rest.mix_with,
                    allow_custom_value=True,
                    label="Mix with",
                    info="A person of the library",
                )
                parts["mix_share"] = slider(keep, "mix_share", MIX["share"], rest.mix_share)
            with gr.Row():
                parts |= self._numbers(keep, folded=True)
        parts["pasted"] = keep(gr.Textbox, "pasted", value=rest.pasted, visible=False, label="Pasted")
        self.choices += [parts["who"], parts["mix_with"]]
        return {name: parts[name] for name in names_of(PersonForm)}

    def _numbers(self, keep: Callable[..., Any], *, folded: bool) -> dict[str, Any]:
        """A slider for each number of a person. Numbers that may be None have their own control."""
        rows = [row for row in numbers(PERSON, "panel") if row.folded == folded and row.default is not None]
        return {row.name: slider(keep, row.name, row, row.default) for row in rows}

    def _numbered(self, number: int, kind: Callable[..., Any], name: str, **options: Any) -> Any:
        return self._keep(kind, f"person_{number}_{name}", **options)

    def _request(self) -> Any:
        with gr.Accordion("Request (JSON)", open=False, elem_id=self.elem_id("as_text")):
            return self._keep(
                gr.Textbox,
                "request",
                value="",
                lines=4,
                label="Request (JSON)",
                info="If set, it overrides all controls above",
            )

    # --- events ---

    def _refresh(self) -> list[Any]:
        """Read the models folder and the library again."""
        try:
            self.controller.refresh()
            status = self.controller.status()
        except Exception as error:
            keep = [gr.update() for _ in self.choices]
            hidden = gr.update(visible=False)
            return [html.failure(error), hidden, hidden, hidden, gr.update(), gr.update(), *keep]
        return [
            html.status(status),
            gr.update(visible=bool(status.lacks or status.limits)),
            gr.update(visible=False),
            gr.update(visible=False),
            gr.update(choices=list(status.presets)),
            gr.update(choices=[ANY_METHOD, *status.methods], visible=status.choosable),
            *(gr.update(choices=["", *status.people]) for _ in self.choices),
        ]

    def _show_files(self) -> list[Any]:
        try:
            self.controller.refresh()
            status = self.controller.status()
        except Exception as error:
            return [gr.update(value=html.failure(error), visible=True), gr.update(visible=False)]
        wanted = bool(status.lacks or status.limits)
        return [gr.update(value=html.files(status), visible=True), gr.update(visible=wanted)]

    def _fetch(self) -> Iterator[str]:
        """Download missing files, then refresh. Only the button starts it."""
        try:
            for name, done, size in self.controller.download():
                yield html.download(name, done, size)
            self.controller.refresh()
            yield html.status(self.controller.status())
        except Exception as error:
            yield html.failure(error)
