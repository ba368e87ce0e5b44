"""The plugin of this method. Nothing heavy is imported before it is opened."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lib_uniid.bases import SDXL
from lib_uniid.checkpoints.sources import Source
from lib_uniid.declarations import IDEncoderDeclaration
from lib_uniid.methods.registry import MethodDeclaration
from lib_uniid.methods.uniid.files import FILES
from lib_uniid.methods.uniid.numbers import FEW_STEPS, NUMBERS

if TYPE_CHECKING:
    from lib_uniid.checkpoints.folder import ModelFolder
    from lib_uniid.encoders.encoder import FaceEncoder
    from lib_uniid.methods.method import Method
else:
    ModelFolder = FaceEncoder = Method = Any

ENCODER = "ArcFace Glint360K R100"


def register_methods(register: Callable[[MethodDeclaration], None]) -> None:
    register(
        MethodDeclaration(
            name="UniID",
            bases=(SDXL,),
            encoder=ENCODER,
            open=_method,
            sources=("uniid_router",),
            branch_files={
                "both": ("text_branch", "adapter_branch"),
                "text": ("text_branch",),
                "adapter": ("adapter_branch",),
            },
            numbers=NUMBERS,
            choices=("branches", "rescaling", "order"),
            presets=(FEW_STEPS,),
        )
    )


def register_id_encoders(register: Callable[[IDEncoderDeclaration], None]) -> None:
    register(IDEncoderDeclaration(name=ENCODER, open=_encoder, sources=("iresnet100",)))


def register_checkpoint_formats(register: Callable[[Source], None]) -> None:
    for row in FILES:
        register(row)


def _method(folder: ModelFolder, notify: Callable[[str], None]) -> Method:
    from lib_uniid.methods.uniid.method import UniID

    return UniID.open(folder, notify)


def _encoder(folder: ModelFolder) -> FaceEncoder:
    from lib_uniid.methods.uniid.loading import load_encoder

    return load_encoder(folder)
