"""The files that the method needs: where they are published, under which licence, and their formats."""

from lib_uniid.checkpoints.sources import Source, whole
from lib_uniid.methods.uniportrait.formats.clip_vision import CLIP_VISION
from lib_uniid.methods.uniportrait.formats.curricularface import CURRICULARFACE
from lib_uniid.methods.uniportrait.formats.faceid import FACEID
from lib_uniid.methods.uniportrait.formats.router import ROUTER

REPOSITORY = "Junjie96/UniPortrait"
_BACKBONE = "aa54ae6dc9f7ac6e262809f1a81d6108e221952bf836aee4cb677ef19246c6ec"
_CLIP = "6ca9667da1ca9e0b0f75e46bb030f7e011f44f86cbfb8d5a36590fcd7507b030"

FILES = (
    Source(
        name="faceid",
        purpose="generates with one person",
        repository=REPOSITORY,
        path="uniportrait-faceid_sd15.bin",
        about="224 MB",
        placed="uniid",
        licence="Apache-2.0",
        pieces=(whole("uniportrait-faceid_sd15.bin"),),
        format=FACEID,
    ),
    Source(
        name="router",
        purpose="generates with several people",
        repository=REPOSITORY,
        path="uniportrait-router_sd15.bin",
        about="226 MB",
        placed="uniid",
        licence="Apache-2.0",
        pieces=(whole("uniportrait-router_sd15.bin"),),
        needed=False,
        limits=True,
        format=ROUTER,
    ),
    Source(
        name="curricularface",
        purpose="reads the identity from a reference",
        repository=REPOSITORY,
        path="glint360k_curricular_face_r101_backbone.bin",
        about="261 MB",
        placed="uniid",
        licence="Apache-2.0",
        sha256=_BACKBONE,
        pieces=(whole("glint360k_curricular_face_r101_backbone.bin", _BACKBONE),),
        note="trained on Glint360K, which is for non-commercial research; check before any other use",
        format=CURRICULARFACE,
    ),
    Source(
        name="clip_vision",
        purpose="reads the structure of a face; not needed at structure scale 0",
        repository="h94/IP-Adapter",
        path="models/image_encoder/model.safetensors",
        placed="uniid/image_encoder",
        folders=("clip_vision", "ControlNet"),
        licence="Apache-2.0",
        size=2_528_373_448,
        sha256=_CLIP,
        pieces=(
            whole("models/image_encoder/config.json"),
            whole("models/image_encoder/model.safetensors", _CLIP),
        ),
        note="put config.json of the same folder beside it",
        needed=False,
        limits=True,
        format=CLIP_VISION,
    ),
)
