"""The plugin of this method. Nothing heavy is imported before it is opened.

It registers the ID encoder and the files; it makes no plans yet.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lib_uniid.checkpoints.sources import Source
from lib_uniid.declarations import IDEncoderDeclaration
from lib_uniid.methods.uniid.files import FILES

if TYPE_CHECKING:
    from lib_uniid.checkpoints.folder import ModelFolder
    from lib_uniid.encoders.encoder import FaceEncoder
else:
    ModelFolder = FaceEncoder = Any

ENCODER = "ArcFace Glint360K R100"


def register_id_encoders(register: Callable[[IDEncoderDeclaration], None]) -> None:
    register(IDEncoderDeclaration(name=ENCODER, open=_encoder, sources=("iresnet100",)))


def register_checkpoint_formats(register: Callable[[Source], None]) -> None:
    for row in FILES:
        register(row)


def _encoder(folder: ModelFolder) -> FaceEncoder:
    from lib_uniid.methods.uniid.loading import load_encoder

    return load_encoder(folder)
