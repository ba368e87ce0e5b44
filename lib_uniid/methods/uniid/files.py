"""The files that the method needs: where they are published, under which licence, and their formats."""

from lib_uniid.checkpoints.sources import Piece, Source
from lib_uniid.methods.uniid.formats.adapter_branch import ADAPTER_BRANCH
from lib_uniid.methods.uniid.formats.recogniser import RECOGNISER
from lib_uniid.methods.uniid.formats.router import ROUTER
from lib_uniid.methods.uniid.formats.text_branch import TEXT_BRANCH

REPOSITORY = "pangly/UniID"
_BACKBONE = "5f631718e783448b41631e15073bdc622eaeef56509bbad4e5085f23bd32db83"
_BACKBONE_PATH = "glint360k_cosface_r100_fp16_0.1/backbone.pth"

FILES = (
    Source(
        name="iresnet100",
        purpose="reads the identity from a reference for SDXL",
        repository="datasets/ygtxr1997/CelebBasis",
        path=_BACKBONE_PATH,
        placed="uniid",
        licence="non-commercial research only",
        size=261_223_796,
        sha256=_BACKBONE,
        pieces=(Piece(path=_BACKBONE_PATH, name="glint360k_cosface_r100_backbone.pth", sha256=_BACKBONE),),
        note="insightface's R100 of partial_fc on Glint360K; insightface sells licences for other use",
        format=RECOGNISER,
    ),
    Source(
        name="text_branch",
        purpose="puts people into the text on SDXL",
        repository=REPOSITORY,
        path="text_branch_checkpoints/pytorch_model.bin",
        about="471 MB",
        placed="uniid/text_branch",
        licence="MIT",
        pieces=(Piece(path="text_branch_checkpoints/pytorch_model.bin", name="uniid-text_branch_sdxl.bin"),),
        needed=False,
        limits=True,
        format=TEXT_BRANCH,
    ),
    Source(
        name="adapter_branch",
        purpose="puts people into the attention layers on SDXL",
        repository=REPOSITORY,
        path="adapter_branch_checkpoints/pytorch_model.bin",
        about="1599 MB",
        placed="uniid/adapter_branch",
        licence="MIT",
        pieces=(
            Piece(path="adapter_branch_checkpoints/pytorch_model.bin", name="uniid-adapter_branch_sdxl.bin"),
        ),
        needed=False,
        limits=True,
        format=ADAPTER_BRANCH,
    ),
    Source(
        name="uniid_router",
        purpose="chooses between several people on SDXL; without it their own attention does",
        repository="",
        path="uniid-router_sdxl.safetensors",
        about="369 MB",
        placed="uniid",
        licence="its maker's",
        needed=False,
        format=ROUTER,
    ),
)
