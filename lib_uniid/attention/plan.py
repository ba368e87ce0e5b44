"""Everything that is fixed in one generation: what is added at each site, merged into its weights, and
changed in the text states.

Identity tokens do not depend on the timestep, so nothing here is made again while sampling.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lib_uniid.attention.branch import Branch
from lib_uniid.attention.context import TextChange
from lib_uniid.attention.deciding import SharedRouting
from lib_uniid.attention.lora import Deltas, LoRA
from lib_uniid.attention.text_encoders import Encode, TextEncoders
from lib_uniid.config import Routing
from lib_uniid.fields.shared import SharedSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions(SharedSettings):
    """Options of a plan for all people; masks are scaled to ``latent_size``, which is (rows, columns).

    A number of None is the method's default. ``text_encoders`` are the host's; None if it gives none.
    For people with words of their own, ``prompts`` has the pictures' prompt, or one for each cond row, and
    ``encode`` gives the text states of texts; None if the host does not.
    """

    routing: Routing
    latent_size: tuple[int, int]
    text_encoders: TextEncoders | None = field(default=None, compare=False)
    prompts: tuple[str, ...] = ("",)
    encode: Encode | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What ``injected`` needs, by the index of the site.

    ``merges`` are LoRA on a site's projections, by their names, at ``merge_scale`` from the first step to the
    last; ``deltas`` keeps the weight changes that they amount to, from the first pass to the last.
    ``context`` changes the text states before each call of the UNet. ``routing`` is how its branches place
    people; it is reset when the plan is injected and when it is ejected. ``notes`` are sentences for the
    user. ``contexts``, if there are any, has a change of the text for each person's own places, in place of
    ``context``.
    """

    branches: Mapping[int, tuple[Branch, ...]]
    merges: Mapping[int, Mapping[str, LoRA]] = field(default_factory=dict[int, Mapping[str, LoRA]])
    merge_scale: float = 1.0
    deltas: Deltas = field(default_factory=Deltas)
    context: tuple[TextChange, ...] = ()
    routing: SharedRouting | None = None
    notes: tuple[str, ...] = ()
    contexts: tuple[TextChange, ...] = ()

    @property
    def text_tokens(self) -> int:
        """How many tokens of the prompt's first chunk make room for those of identities, at most."""
        return sum(change.tokens for change in self.context)
