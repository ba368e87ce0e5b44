"""The page's events: generations, and the restored state after a reload.

Browser tabs share one process. Each tab's state is kept under its secret (``javascript/uniid.js``).
"""

import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from lib_uniid.failures import explain
from lib_uniid.ui import html
from lib_uniid.ui.form import DETECTING
from lib_uniid.ui.page_generation import CANCELLED, WAITING, PageGenerator, PageSettings, Shown
from lib_uniid.ui.panel import Panel
from lib_uniid.ui.runs import MOST, Run, Runs

EARLIER = 12
"""Pictures in a tab's history."""

_UNCHANGED: Mapping[str, Any] = {}
"""The value of a picture component before it is known; restoring leaves the component unchanged."""

BEGUN = Shown(words=("beginning",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """The page's components. ``page_settings`` has the controls of :class:`PageSettings` by name."""

    page_settings: dict[str, Any]
    panel: Panel
    go: Any
    cancel: Any
    reuse: Any
    words: Any
    rough: Any
    gallery: Any
    checked: Any
    earlier: Any

    @property
    def shown(self) -> list[Any]:
        """The components that a generation changes, in the order of :meth:`PageEvents._outputs`."""
        return [
            self.words,
            self.rough,
            self.gallery,
            self.checked,
            self.earlier,
            self.go,
            self.cancel,
        ]


@dataclass(slots=True)
class _Tab:
    """The values of a tab's controls and its pictures, newest first.

    ``made`` maps each picture of ``run`` to a copy and a caption; ``run`` is the latest run with pictures.
    """

    values: list[Any] = field(default_factory=list)
    made: dict[Path, tuple[str, str]] = field(default_factory=dict)
    earlier: list[tuple[str, str]] = field(default_factory=list)
    seed: int | None = None
    run: Run[Shown] | None = None

    def take(self, run: Run[Shown], shown: Shown) -> None:
        """Add finished pictures; those of the previous run become earlier pictures."""
        if not shown.pictures:
            return
        self.seed = shown.seed
        if run is not self.run:
            self.earlier = [*self.made.values(), *self.earlier][:EARLIER]
            self.made, self.run = {}, run
        self.made = {
            path: self.made.get(path) or (_copied(path), caption) for path, caption in shown.pictures
        }


class PageEvents:
    """The handlers of the events of all tabs, and their state."""

    def __init__(self, maker: PageGenerator) -> None:
        self.maker, self.runs = maker, Runs[Shown]()
        self._tabs: OrderedDict[str, _Tab] = OrderedDict()

    def connect(self, page: gr.Blocks, screen: Screen) -> None:
        """Connect the events. Call it in the page's context, after all components are built."""
        self.screen = screen
        tab = gr.Textbox(visible=False, elem_id="uniid_tab")
        inputs = [*(screen.page_settings[one.name] for one in fields(PageSettings)), *screen.panel.arguments]
        pictures = [part for one in screen.panel.reference_pictures for part in one.references.shown[1:]]
        options: dict[str, Any] = {"show_progress": "hidden"}
        going: dict[str, Any] = {**options, "concurrency_limit": None}  # runs take turns by themselves
        loaded = page.load(None, outputs=[tab], js="() => uniid.tab()", **options)
        restored = loaded.then(self._restore, inputs=[tab], outputs=[*inputs, *pictures], **options)
        screen.panel.update_tab_buttons(restored.then)
        restored.then(self._watch, inputs=[tab], outputs=screen.shown, **going)
        screen.go.click(self._make, inputs=[tab, *inputs], outputs=screen.shown, **going)
        screen.cancel.click(self.runs.cancel, inputs=[tab], queue=False)
        self._keep_what_is_typed(tab, inputs)
        screen.reuse.click(self._seed, inputs=[tab], outputs=[screen.page_settings["seed"]], queue=False)

    def _keep_what_is_typed(self, tab: Any, inputs: list[Any]) -> None:
        """Keep the controls' values for a reload; the page's script presses the button.

        Pictures are left out: they would be sent at every keystroke.
        """
        places = [place for place, one in enumerate(inputs) if not isinstance(one, gr.Image | gr.ImageEditor)]
        typed = [inputs[place] for place in places]
        options: dict[str, Any] = {"inputs": [tab, *typed], "queue": False, "show_progress": "hidden"}
        button = gr.Button("Keep what is typed", elem_id="uniid_keep")
        uploads = [one.references.uploads for one in self.screen.panel.reference_pictures]
        for event in (button.click, *(one.change for one in uploads)):
            event(partial(self._keep, places, len(inputs)), outputs=[], **options)

    def _keep(self, places: list[int], count: int, tab: str, *typed: Any) -> None:
        if not tab:
            return
        values = self._of(tab).values or [_UNCHANGED] * count
        for place, value in zip(places, typed, strict=True):
            if value != DETECTING:  # the previous pictures stay until detection ends
                values[place] = value
        self._of(tab).values = values

    def _of(self, tab: str) -> _Tab:
        kept = self._tabs.setdefault(tab, _Tab())
        self._tabs.move_to_end(tab)
        while len(self._tabs) > MOST:
            self._tabs.popitem(last=False)
        return kept

    def _make(self, tab: str, *values: Any) -> Iterator[list[Any]]:
        if not tab:  # without a secret the run would belong to every such page
            yield [
                html.problem("the page is still loading; press Generate again"),
                *[gr.update()] * 6,
            ]
            return
        names = [one.name for one in fields(PageSettings)]
        page_settings = PageSettings(**dict(zip(names, values[: len(names)], strict=True)))
        panel = values[len(names) :]
        self._of(tab).values = list(values)
        self.runs.start(
            tab, BEGUN, WAITING, lambda run: self.maker.make(run, page_settings, panel), CANCELLED
        )
        yield from self._watch(tab, BEGUN)

    def _watch(self, tab: str, before: Shown | None = None) -> Iterator[list[Any]]:
        """Show the tab's run after the state ``before``; None after a page load: the run may have ended."""
        run = self.runs.of(tab)
        if run is None:
            yield [gr.update() for _ in self.screen.shown]
            return
        for shown in run.watch():
            yield self._outputs(tab, run, shown, before)
            before = shown

    def _outputs(self, tab: str, run: Run[Shown], shown: Shown, before: Shown | None) -> list[Any]:
        """The components' values for ``shown``; during a run only the changed ones."""
        kept = self._of(tab)
        going, unchanged = not shown.finished, gr.update()
        words = html.progress(shown.words, shown.step, shown.steps) if going else _final_words(shown)
        try:
            kept.take(run, shown)
        except OSError as error:
            where = f"the finished pictures are in {shown.pictures[0][0].parent}"
            words += html.problem(f"{explain(error)}; {where}")
        return [
            words,
            html.rough(shown.rough),
            _gallery(kept, shown, before) if _pictures_changed(shown, before) else unchanged,
            "" if going else html.checked(shown.checked),
            gr.update(value=kept.earlier, visible=bool(kept.earlier))
            if _pictures_changed(shown, before)
            else unchanged,
            gr.update(interactive=not going),
            gr.update(interactive=going),
        ]

    def _restore(self, tab: str) -> list[Any]:
        """The tab's values after a reload."""
        values = self._of(tab).values
        reference_pictures = self.screen.panel.reference_pictures
        arguments = self.screen.panel.arguments
        if not values:
            more = sum(len(one.references.shown) - 1 for one in reference_pictures)
            return [gr.update()] * (len(fields(PageSettings)) + len(arguments) + more)
        places = [
            arguments.index(one.references.uploads) + len(fields(PageSettings)) for one in reference_pictures
        ]
        showing = [
            one.references.showing(values[place])
            for one, place in zip(reference_pictures, places, strict=True)
        ]
        for place, shown in zip(places, showing, strict=True):
            values[place] = shown[0]
        # A picture's value is bytes or a file here; its component does not accept that as a value.
        back = [gr.update() if isinstance(one, Mapping) else gr.update(value=one) for one in values]
        return [*back, *(part for one in showing for part in one[1:])]

    def _seed(self, tab: str) -> Any:
        seed = self._of(tab).seed
        return gr.update() if seed is None else seed


def _pictures_changed(shown: Shown, before: Shown | None) -> bool:
    """Whether the pictures or their place differ from the state before."""
    if before is None or shown.finished:
        return True
    return (shown.pictures, not shown.rough) != (before.pictures, not before.rough)


def _gallery(kept: _Tab, shown: Shown, before: Shown | None) -> Any:
    """The latest pictures; hidden by a preview while its run has no finished picture.

    The first picture of a run is selected when it is finished. Later the user's selection stays.
    """
    made = [*kept.made.values()]
    first = before is None or (bool(shown.pictures) and not before.pictures)
    selection: dict[str, Any] = {"selected_index": 0 if made else None} if first else {}
    return gr.update(value=made or None, visible=bool(shown.pictures) or not shown.rough, **selection)


def _final_words(shown: Shown) -> str:
    if shown.wrong:
        return html.problem(shown.words[0]) + html.notes(shown.words[1:])
    return html.notes(shown.words) or ("" if shown.checked else html.result(["done"]))


def _copied(path: Path) -> str:
    """A copy in the server's temporary folder: the server shows no other files.

    Each copy has its own folder: after a picture is deleted, a later one can have the same name.
    """
    shown = Path(get_upload_folder()) / "shown"
    shown.mkdir(parents=True, exist_ok=True)
    return str(shutil.copy(path, Path(tempfile.mkdtemp(dir=shown)) / path.name))
