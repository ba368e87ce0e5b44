"""The page's People tab: enrol, rename and delete people, and restore them from the bin."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lib_uniid.errors import ConfigError
from lib_uniid.failures import explain
from lib_uniid.library.names import checked
from lib_uniid.library.store import BIN_DAYS, Deleted
from lib_uniid.ui import html
from lib_uniid.ui.controller import PanelController
from lib_uniid.ui.reference_pictures import ReferencePictures
from lib_uniid.ui.versions import SCRIPT

ASK = "(id) => uniid.confirmed(id, 'Erase this person for good? This cannot be undone.')"
"""The browser runs this before a person is erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The built tab: events after which the library has changed, and the refresh after changes elsewhere.

    ``refresh`` lists the people in the library and in the bin. Run it on page load as well: gradio builds
    the lists of a page when the program starts.
    """

    changed: list[Any]
    refresh: Callable[[], Any]
    refreshed: list[Any]


def add_people(controller: PanelController) -> People:
    """Build the tab."""
    return _Library(controller).build()


class _Library:
    def __init__(self, controller: PanelController) -> None:
        self.controller, self.library = controller, controller.library

    def build(self) -> People:
        with gr.Row():
            with gr.Column():
                gr.Markdown("### New person")
                new_person = ReferencePictures(self.controller, "uniid_new")
                new_person.build()
            with gr.Column():
                gr.Markdown("### In the library")
                who = gr.Dropdown(
                    choices=self.library.names(), value=None, label="Person", elem_id="uniid_known"
                )
                new = gr.Textbox(label="New name", elem_id="uniid_rename_to")
                with gr.Row():
                    rename = gr.Button("Rename", size="sm", interactive=False, elem_id="uniid_rename")
                    delete = gr.Button(
                        "Delete", size="sm", scale=0, min_width=100, interactive=False, elem_id="uniid_delete"
                    )
                words = gr.HTML("", elem_id="uniid_library_words")
                bin_, restore, erase = self._bin()
        shown = [words, who, bin_, restore, erase]
        changed = [
            *new_person.connect(who),
            rename.click(self._rename, inputs=[who, new], outputs=shown).then,
            delete.click(self._delete, inputs=[who], outputs=shown).then,
            restore.click(self._restore, inputs=[bin_], outputs=shown).then,
        ]
        erase.click(self._erase, inputs=[bin_], outputs=shown, **{SCRIPT: ASK})
        for cause in (who, new):  # a new input removes the message about the last one
            cause.input(lambda: "", outputs=[words], show_progress="hidden")
        who.change(_enabled, inputs=[who], outputs=[rename, delete], show_progress="hidden")
        return People(changed=changed, refresh=self._now, refreshed=shown[1:])

    def _bin(self) -> tuple[Any, Any, Any]:
        with gr.Accordion("Bin", open=True, elem_id="uniid_bin_part"):
            bin_ = gr.Dropdown(
                choices=self._deleted(),
                value=None,
                label="Deleted people",
                info=f"Erased for good after {BIN_DAYS} days. Until then they are kept as they were.",
                elem_id="uniid_bin",
            )
            with gr.Row():
                restore = gr.Button("Restore", size="sm", elem_id="uniid_restore")
                erase = gr.Button("Erase for good", size="sm", elem_id="uniid_erase")
        return bin_, restore, erase

    # --- events ---

    def _now(self) -> list[Any]:
        """The people in the library and in the bin, after changes by other pages and programs too."""
        return self._lists(gr.update(choices=self.library.names()))

    def _rename(self, who: str | None, new: str) -> list[Any]:
        try:
            self.library.rename(_chosen(who), new)
        except Exception as error:  # the page shows every error
            return self._refused(error)
        name = checked(new)
        return self._done(f"{who} is renamed to {name}", name)

    def _delete(self, who: str | None) -> list[Any]:
        try:
            deleted = self.controller.delete(_chosen(who))
        except Exception as error:  # the page shows every error
            return self._refused(error)
        return self._done(f"{deleted.name} is deleted and can be restored from the bin", None, deleted)

    def _restore(self, wanted: str | None) -> list[Any]:
        try:
            restored = self.library.restore(_in_bin(wanted))
        except Exception as error:  # the page shows every error
            return self._refused(error)
        return self._done(f"{restored.name} is restored", restored.name)

    def _erase(self, wanted: str | None) -> list[Any]:
        if wanted is None:  # the user did not confirm in the browser
            return self._lists(gr.update(), gr.update())
        try:
            (erased,) = self.library.erase(wanted)
        except Exception as error:  # the page shows every error
            return self._refused(error)
        return [html.result([f"{erased.name} is erased"]), *self._now()]

    def _done(self, sentence: str, chosen: str | None, deleted: Deleted | None = None) -> list[Any]:
        who = gr.update(choices=self.library.names(), value=chosen)
        return [html.result([sentence]), *self._lists(who, chosen=None if deleted is None else deleted.id)]

    def _refused(self, error: Exception) -> list[Any]:
        return [html.problem(explain(error, "changing the library")), *self._now()]

    def _lists(self, *shown: Any, chosen: str | None = None) -> list[Any]:
        """The updates ``shown``, then those of the bin and its buttons."""
        deleted = self._deleted()
        able = gr.update(interactive=bool(deleted))
        return [*shown, gr.update(choices=deleted, value=chosen), able, able]

    def _deleted(self) -> list[tuple[str, str]]:
        """The bin's choices: label and id."""
        return [(_label(one), one.id) for one in self.library.deleted()]


def _enabled(who: str | None) -> list[Any]:
    return [gr.update(interactive=bool(who))] * 2


def _label(deleted: Deleted) -> str:
    return f"{deleted.name} (deleted {time.strftime('%Y-%m-%d %H:%M', time.localtime(deleted.when))})"


def _chosen(who: str | None) -> str:
    if not who:
        raise ConfigError("no person is selected; select a person in the list")
    return who


def _in_bin(wanted: str | None) -> str:
    if not wanted:
        raise ConfigError("no deleted person is selected; select a person in the bin")
    return wanted
