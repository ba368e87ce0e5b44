"""What the probe's scripts share; their folder is on the path while the host executes them."""

# pyright: basic, reportMissingImports=false
# It runs in the host, and what it imports is only there.


def unet():
    """The network that is sampled from."""
    from modules import shared

    objects = getattr(shared.sd_model, "forge_objects", None)
    model = shared.sd_model.model if objects is None else objects.unet.model
    return model.diffusion_model
