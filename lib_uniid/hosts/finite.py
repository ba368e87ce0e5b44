"""Latents or pixels that are not finite are an error that names the likely cause; no picture is saved."""

from collections.abc import Iterable

from torch import Tensor

from lib_uniid.errors import UniIDError

_CAUSE = "half precision is the likely cause, or a damaged checkpoint or VAE"
STANDALONE = f"{_CAUSE}; choose another checkpoint, or --device cpu, which computes in float32"
WEBUI = (
    f"{_CAUSE}; choose another VAE or checkpoint, or compute in float32: start AUTOMATIC1111 with "
    "--no-half-vae (else --no-half), Forge with --vae-in-fp32 (else --all-in-fp32), Forge Neo with "
    "--fp32-vae (else --force-fp32)"
)


class NotFiniteError(UniIDError):
    """Latents or pixels that are NaN or infinite, or a picture that is black from edge to edge."""


def require_finite(numbers: Tensor, what: str, remedy: str) -> None:
    """``NotFiniteError`` if one of the numbers is NaN or infinite; ``what`` names them in the plural."""
    if not bool(numbers.isfinite().all()):
        raise NotFiniteError(f"the {what} are not finite numbers (NaN); {remedy}")


def require_pictures(pictures: Iterable[Tensor], remedy: str) -> None:
    """The same for decoded pictures, each ``3 height width`` in [0, 1].

    Some hosts write 0 instead of NaN, and the whole picture is black.
    """
    for pixels in pictures:
        require_finite(pixels, "pixels of the decoded picture", remedy)
        if not bool(pixels.any()):
            raise NotFiniteError(
                "the decoded picture is black from edge to edge; if no other extension blackens pictures, "
                + remedy
            )
