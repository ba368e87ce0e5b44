"""What to look at after a generation: its latents, and what is left on the UNet."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.hosts.webui.standin.script_api import Script
from tests.hosts.webui.standin.webui import Answer, WebUI

ROUNDING = 2e-4
"""Of the largest latent: a UNet of random weights lets them, and rounding with them, grow."""


def latents(answer: Answer) -> Tensor:
    """Of all batches; fails where the request failed."""
    assert answer.status == 200, answer.error
    assert answer.p is not None
    return torch.cat(answer.p.latents)


def hooks(unet: nn.Module) -> int:
    """Forward hooks on all modules."""
    return sum(
        len(table)
        for module in unet.modules()
        for table in (module._forward_hooks, module._forward_pre_hooks)  # pyright: ignore[reportPrivateUsage]
    )


class Traceless:
    """Makes a plain picture at first; ``check`` says whether it can be made again, bit for bit."""

    def __init__(self, webui: WebUI) -> None:
        self.webui, self.host = webui, any_host(webui)
        self.picture = latents(webui.txt2img(seed=5))
        self.weights = {name: tensor.clone() for name, tensor in self.host.unet.state_dict().items()}

    def check(self) -> None:
        assert torch.equal(latents(self.webui.txt2img(seed=5)), self.picture)
        assert hooks(self.host.unet) == 0
        after = self.host.unet.state_dict()
        assert after.keys() == self.weights.keys()
        for name, tensor in after.items():
            assert torch.equal(tensor, self.weights[name]), name


def any_host(webui: WebUI) -> Any:
    """The host with whatever only its kind has."""
    return webui.host


class Other(Script):
    """Another extension's script; its hooks are given as functions of p and the following arguments."""

    def __init__(self, **hooks: Any) -> None:
        for name, function in hooks.items():
            setattr(self, name, function)

    def title(self) -> str:
        return "Other"


def beside(webui: WebUI, **hooks: Any) -> None:
    """Have another script run after ours."""
    webui.runners["txt2img"].scripts.append(Other(**hooks))
