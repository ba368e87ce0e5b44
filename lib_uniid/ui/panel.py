"""The panel: the same components under gradio 3.41, 4.40 and 6, in a WebUI's tab and on the page.

Building it has no effects: a WebUI does so three times per tab. All that the events do is asked of the
:class:`Backstage`, whose answers are drawn by :mod:`lib_uniid.ui.drawing`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import gradio as gr

from lib_uniid.errors import UniIDError
from lib_uniid.ui import drawing
from lib_uniid.ui.backstage import Backstage
from lib_uniid.ui.form import TABS, Form, PersonForm, form_of, readers, request_of
from lib_uniid.ui.remembering import Remembering
from lib_uniid.ui.sketch import Place
from lib_uniid.ui.style import build_style

ElemId = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What was built. ``arguments`` are in the order of :meth:`Form.values`."""

    arguments: list[Any]
    enabled: Any
    refresh: Callable[[], list[Any]]
    refreshed: list[Any]
    saved: list[Any]
    """Events after which there may be other people in the library than before."""

    def infotext_fields(
        self, key: str, name_of: Callable[[str], str | None]
    ) -> list[tuple[Any, Callable[[Mapping[str, Any]], Any]]]:
        """Pairs of a component and what an infotext makes of it."""
        return list(zip(self.arguments, readers(key, name_of), strict=True))


def build(backstage: Backstage, elem_id: ElemId, *, page: bool = False) -> Panel:
    """Make the panel inside whatever gradio context is open; on a ``page`` it is open and always on."""
    return _Builder(backstage, elem_id, page).build()


class _Builder:
    """Holds what the events of one panel reach."""

    def __init__(self, backstage: Backstage, elem_id: ElemId, page: bool) -> None:
        self.backstage, self.elem_id, self.page = backstage, elem_id, page
        self.choices: list[Any] = []
        self.tabs: list[dict[str, Any]] = []
        self.remembering: list[Remembering] = []

    def build(self) -> Panel:
        rest = Form()
        with gr.Accordion("UniID: people in the picture", open=self.page, elem_id=self.elem_id("panel")):
            with gr.Row():
                enabled = self._keep(
                    gr.Checkbox,
                    "enabled",
                    value=rest.enabled or self.page,
                    label="Put people into the picture",
                )
                refresh = self._button("Look again", "refresh")
            status = gr.HTML("", elem_id=self.elem_id("status"))
            show_files = self._button("Show where the files go", "show_files", visible=False)
            files = gr.HTML("", visible=False, elem_id=self.elem_id("files"))
            fetch = self._button("Download what is missing", "fetch", visible=False)
            presets = self._presets()
            shared = self._shared(rest) | build_style(self._keep, rest)
            self._people()
            request = self._request()
        arguments = {"request": request, "enabled": enabled, **shared}
        assert list(arguments) == [one.name for one in fields(Form) if one.name != "people"]
        panel = Panel(
            arguments=[*arguments.values(), *(part for tab in self.tabs for part in tab.values())],
            enabled=enabled,
            refresh=self._refresh,
            saved=[
                event
                for tab, remembering in zip(self.tabs, self.remembering, strict=True)
                for event in remembering.connect(tab["who"])
            ],
            refreshed=[status, show_files, files, fetch, presets.chosen, *self.choices],
        )
        for event in (enabled.change, refresh.click, *panel.saved):
            event(self._refresh, inputs=[], outputs=panel.refreshed, show_progress="hidden")
        presets.connect(self.backstage, panel.arguments)
        show_files.click(self._show_files, inputs=[], outputs=[files, fetch], show_progress="hidden")
        fetch.click(self._fetch, inputs=[], outputs=[status], show_progress="hidden")
        return panel

    def _keep(self, kind: Callable[..., Any], name: str, **options: Any) -> Any:
        """A component with a value. Labels repeat from tab to tab: a WebUI must not keep values by them."""
        component = kind(elem_id=self.elem_id(name), **options)
        component.do_not_save_to_config = True
        return component

    def _button(self, text: str, name: str, **options: Any) -> Any:
        return gr.Button(text, size="sm", scale=0, min_width=200, elem_id=self.elem_id(name), **options)

    def _shared(self, rest: Form) -> dict[str, Any]:
        """The controls that count for everybody."""
        with gr.Row():
            scale = self._keep(
                gr.Slider,
                "identity_scale",
                value=rest.identity_scale,
                minimum=0.0,
                maximum=2.0,
                step=0.05,
                label="Identity scale",
                info="How strongly everybody is put in",
            )
            routing = self._keep(
                gr.Radio,
                "routing",
                choices=["auto", "mask", "off"],
                value=rest.routing,
                label="Routing",
                info="Who gets which place: the router decides, your masks do, or everybody is everywhere",
            )
        with gr.Row():
            names = {
                "show_routing": "Show routing map",
                "check": "Look for the people in the finished picture",
                "plain": "Make the picture without them when they cannot be put in",
            }
            switches = {
                name: self._keep(gr.Checkbox, name, value=getattr(rest, name), label=label)
                for name, label in names.items()
            }
        return {"identity_scale": scale, "routing": routing, **switches}

    def _presets(self) -> "_Presets":
        with gr.Accordion("Presets", open=False, elem_id=self.elem_id("presets")):
            with gr.Row():
                chosen = self._keep(
                    gr.Dropdown,
                    "preset",
                    choices=[],
                    value=None,
                    allow_custom_value=True,
                    label="Preset",
                    info="Choose one, or type a new name to save under",
                )
                buttons = [
                    self._button(text, f"preset_{text.split()[0].lower()}")
                    for text in ("Use it", "Save", "Delete")
                ]
            note = gr.HTML("", elem_id=self.elem_id("preset_note"))
        return _Presets(chosen, buttons, note)

    def _people(self) -> None:
        with gr.Tabs(elem_id=self.elem_id("people")):
            for number in range(1, TABS + 1):
                with gr.Tab(f"Person {number}", elem_id=self.elem_id(f"tab_{number}")):
                    self.tabs.append(self._person(number))

    def _person(self, number: int) -> dict[str, Any]:
        """One tab; its arguments by name, in the order of the form."""
        rest = PersonForm()
        keep = partial(self._numbered, number)
        names = self.backstage.names() if self.page else []
        parts: dict[str, Any] = {}
        with gr.Row():
            with gr.Column():
                parts["enabled"] = keep(gr.Checkbox, "enabled", value=rest.enabled, label="On")
                parts["who"] = keep(
                    gr.Dropdown,
                    "who",
                    choices=["", *names],
                    value=rest.who,
                    allow_custom_value=True,
                    label="Who",
                    info="Somebody from your library, or a name for the pictures on the right",
                )
                parts["weight"] = self._slider(number, "weight", "Weight", 2.0, rest.weight)
                parts["structure_automatic"] = keep(
                    gr.Checkbox,
                    "structure_automatic",
                    value=rest.structure_automatic,
                    label="Structure scale by itself: 0.1 alone, 0.3 together",
                )
                parts["structure_scale"] = self._slider(
                    number, "structure_scale", "Structure scale", 2.0, rest.structure_scale
                )
            with gr.Column():
                self.remembering.append(Remembering(self.backstage, self.elem_id(f"person_{number}")))
                parts["uploads"] = self.remembering[-1].build()
        with gr.Accordion(
            "Place, mix with somebody, time", open=False, elem_id=self.elem_id(f"person_{number}_more")
        ):
            parts |= Place(keep, self.elem_id("panel")).build()
            with gr.Row():
                parts["mix_with"] = keep(
                    gr.Dropdown,
                    "mix_with",
                    choices=["", *names],
                    value=rest.mix_with,
                    allow_custom_value=True,
                    label="Mix with",
                )
                parts["mix_share"] = self._slider(number, "mix_share", "Share of the other", 1.0, 0.0)
            with gr.Row():
                parts["start"] = self._slider(number, "start", "Start (share of the steps)", 1.0, rest.start)
                parts["end"] = self._slider(number, "end", "End (share of the steps)", 1.0, rest.end)
        parts["pasted"] = keep(gr.Textbox, "pasted", value=rest.pasted, visible=False, label="Pasted")
        self.choices += [parts["who"], parts["mix_with"]]
        return {one.name: parts[one.name] for one in fields(PersonForm)}

    def _numbered(self, number: int, kind: Callable[..., Any], name: str, **options: Any) -> Any:
        return self._keep(kind, f"person_{number}_{name}", **options)

    def _slider(self, number: int, name: str, label: str, most: float, value: float) -> Any:
        return self._numbered(
            number, gr.Slider, name, value=value, minimum=0.0, maximum=most, step=0.05, label=label
        )

    def _request(self) -> Any:
        with gr.Accordion("Request as text", open=False, elem_id=self.elem_id("as_text")):
            return self._keep(
                gr.Textbox,
                "request",
                value="",
                lines=4,
                label="Request (JSON)",
                info="As the API takes it; where it is filled in, it counts instead of all above",
            )

    # --- events ---

    def _refresh(self) -> list[Any]:
        """Look at the disk: what is there, and who."""
        self.backstage.forget()
        try:
            situation = self.backstage.situation()
        except UniIDError as error:
            keep = [gr.update() for _ in self.choices]
            hidden = gr.update(visible=False)
            return [drawing.problem(str(error)), hidden, hidden, hidden, gr.update(), *keep]
        return [
            drawing.status(situation),
            gr.update(visible=bool(situation.lacks or situation.limits)),
            gr.update(visible=False),
            gr.update(visible=False),
            gr.update(choices=list(situation.presets)),
            *(gr.update(choices=["", *situation.people]) for _ in self.choices),
        ]

    def _show_files(self) -> list[Any]:
        try:
            situation = self.backstage.situation()
        except UniIDError as error:
            return [gr.update(value=drawing.problem(str(error)), visible=True), gr.update(visible=False)]
        wanted = bool(situation.lacks or situation.limits)
        return [gr.update(value=drawing.files(situation), visible=True), gr.update(visible=wanted)]

    def _fetch(self) -> Iterator[str]:
        """Only ever on the button: get what is missing, and then look again."""
        try:
            for name, done, size in self.backstage.download():
                yield drawing.download(name, done, size)
            self.backstage.forget()
            yield drawing.status(self.backstage.situation())
        except UniIDError as error:
            yield drawing.problem(str(error))


class _Presets:
    """The presets' controls, which are no arguments, and what they do with those that are."""

    def __init__(self, chosen: Any, buttons: list[Any], note: Any) -> None:
        self.chosen, self.buttons, self.note = chosen, buttons, note

    def connect(self, backstage: Backstage, arguments: list[Any]) -> None:
        """Called once all arguments are there."""
        self.backstage, self.count = backstage, len(arguments)
        use, save, delete = self.buttons
        said = [self.note, self.chosen]
        use.click(self._use, inputs=[self.chosen], outputs=[self.note, *arguments], show_progress="hidden")
        save.click(self._save, inputs=[self.chosen, *arguments], outputs=said, show_progress="hidden")
        delete.click(self._delete, inputs=[self.chosen], outputs=said, show_progress="hidden")

    def _use(self, name: str | None) -> list[Any]:
        try:
            form = form_of(self.backstage.presets.get(name or ""), self.backstage.name_of)
        except UniIDError as error:
            return [drawing.problem(str(error)), *(gr.update() for _ in range(self.count))]
        values = [gr.update(value=value) for value in form.values()]
        return [drawing.result([f"{name} is set"]), *values]

    def _save(self, name: str | None, *values: Any) -> list[Any]:
        try:
            request = request_of([values[0], True, *values[2:]], self.backstage.uploads)
            assert request is not None, "it was said to be on"
            self.backstage.presets.save(name or "", request)
        except UniIDError as error:
            return [drawing.problem(str(error)), gr.update()]
        return [drawing.result([f"{name} is saved"]), gr.update(choices=self.backstage.presets.names())]

    def _delete(self, name: str | None) -> list[Any]:
        try:
            self.backstage.presets.delete(name or "")
        except UniIDError as error:
            return [drawing.problem(str(error)), gr.update()]
        names = self.backstage.presets.names()
        return [drawing.result([f"{name} is deleted"]), gr.update(choices=names, value=None)]
