"""The plugin of this method. Nothing heavy is imported before it is opened."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lib_uniid.bases import SD15
from lib_uniid.checkpoints.sources import Source
from lib_uniid.declarations import IDEncoderDeclaration
from lib_uniid.methods.registry import MethodDeclaration
from lib_uniid.methods.uniportrait.files import FILES
from lib_uniid.methods.uniportrait.settings import IDENTITY_SCALE, STRUCTURE_SCALE

if TYPE_CHECKING:
    from lib_uniid.checkpoints.folder import ModelFolder
    from lib_uniid.encoders.encoder import FaceEncoder
    from lib_uniid.methods.method import Method
else:
    ModelFolder = FaceEncoder = Method = Any

ENCODER = "CurricularFace"


def register_methods(register: Callable[[MethodDeclaration], None]) -> None:
    register(
        MethodDeclaration(
            name="UniPortrait",
            bases=(SD15,),
            encoder=ENCODER,
            open=_method,
            sources=("faceid",),
            several=("router",),
            numbers=(STRUCTURE_SCALE, IDENTITY_SCALE),
            choices=("rescaling", "order"),
        )
    )


def register_id_encoders(register: Callable[[IDEncoderDeclaration], None]) -> None:
    register(IDEncoderDeclaration(name=ENCODER, open=_encoder, sources=("curricularface", "clip_vision")))


def register_checkpoint_formats(register: Callable[[Source], None]) -> None:
    for row in FILES:
        register(row)


def _method(folder: ModelFolder, notify: Callable[[str], None]) -> Method:
    from lib_uniid.methods.uniportrait.method import UniPortrait

    return UniPortrait.open(folder, notify)


def _encoder(folder: ModelFolder) -> FaceEncoder:
    from lib_uniid.methods.uniportrait.loading import load_encoder

    return load_encoder(folder)
