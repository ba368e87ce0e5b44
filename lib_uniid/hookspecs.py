"""The hooks: a plugin has functions of these names, with these arguments or fewer of them.

``register`` is called once for each value. The values and what they hold are in :mod:`lib_uniid.api.v1`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pluggy

from lib_uniid.plugins import PROJECT

if TYPE_CHECKING:
    from lib_uniid.attention.plan import Plan
    from lib_uniid.checkpoints.sources import Source
    from lib_uniid.declarations import Direction, FaceDetector, IDEncoderDeclaration, Scorer
    from lib_uniid.library.store import Identity
    from lib_uniid.methods.registry import MethodDeclaration
else:
    Plan = Source = Direction = FaceDetector = IDEncoderDeclaration = Scorer = Identity = (
        MethodDeclaration
    ) = Any

hookspec = pluggy.HookspecMarker(PROJECT)


@hookspec
def register_methods(register: Callable[[MethodDeclaration], None]) -> None:
    """Ways to inject identities. Called once, before the first request."""


@hookspec
def register_id_encoders(register: Callable[[IDEncoderDeclaration], None]) -> None:
    """Encoders of faces into ID features. Called once, before the first enrolment."""


@hookspec
def register_face_detectors(register: Callable[[FaceDetector], None]) -> None:
    """Face detectors. Called once, before the first detection."""


@hookspec
def register_checkpoint_formats(register: Callable[[Source], None]) -> None:
    """Model files: where they are published, and how they are recognised by content. Called once."""


@hookspec
def register_directions(register: Callable[[Direction], None]) -> None:
    """Directions of attributes. Called once."""


@hookspec
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Checks of a finished picture against the requested identities. Called once."""


@hookspec
def generation_started(plan: Plan) -> None:
    """Before a batch with identities is sampled, once for all its passes; with the plan of the first."""


@hookspec
def generation_finished(plan: Plan) -> None:
    """After a batch with identities was sampled, with the same plan; not after a failure."""


@hookspec
def identity_saved(identity: Identity) -> None:
    """After the library wrote an identity."""
