"""What a generation shows and returns beside its pictures: notes, failures and routing maps."""

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lib_uniid.hosts.webui.jobs import selected
from lib_uniid.hosts.webui.states import GenerationState

if TYPE_CHECKING:
    from lib_uniid.hosts.webui.generation import Generation
else:  # imported on first use
    Generation = Any

log = logging.getLogger("uniid")

NO_MAPS = "routing maps are not shown together with the script in the Script list"


def note(p: Any, state: GenerationState, sentences: Iterable[str]) -> None:
    """Add sentences under the picture and to the result."""
    notes = list(sentences)
    state.job.note(notes)
    comment(p, notes)


def comment(p: Any, sentences: Iterable[str]) -> None:
    """Add sentences under the picture."""
    for sentence in sentences:
        p.comment(f"UniID: {sentence}")


def publish_refusal(p: Any, state: GenerationState, failure: str) -> None:
    """A plot shows an empty cell for a failed generation; the other cells' results have the reason."""
    if is_part_of_job(p, state):
        note(p, state, [failure if state.place is None else f"{state.place}: {failure}"])
        state.job.publish(p.extra_generation_params)
    state.job.end(p)


def is_part_of_job(p: Any, state: GenerationState) -> bool:
    """Whether another script combines the pictures of several generations."""
    return not state.nested and (state.place is not None or selected(p))


def draw_routing(p: Any, generation: Generation, picture: Any) -> list[str]:
    """Draw the routing map over a finished picture, if requested; returns notes.

    None is drawn while a script of the Script list runs, which treats every picture as a cell or tile.
    """
    if generation.request.show_routing and selected(p):
        return [NO_MAPS]
    return generation.draw(picture)


def append(processed: Any, overlays: Sequence[Any]) -> None:
    """Append overlays to the gallery, each with the infotext of its picture."""
    first = getattr(processed, "index_of_first_image", 0)  # after the grid
    for number, overlay in enumerate(overlays):
        texts = processed.infotexts[first + number :]
        processed.images.append(overlay)
        processed.infotexts.append(texts[0] if texts else "")


def explained(error: Exception) -> str:
    """One sentence; an unexpected exception is also logged to the host's console."""
    from lib_uniid.failures import explain, sentence

    if sentence(error) is None:
        log.exception("UniID failed", exc_info=error)
    return explain(error, "generating in the WebUI")
