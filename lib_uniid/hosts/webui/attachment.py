"""The interface of an attachment to a host's UNet, and the attachments that inject nothing."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol, runtime_checkable

from torch import nn

from lib_uniid.attention import compiled
from lib_uniid.attention.injection import Calls
from lib_uniid.attention.rows import Role
from lib_uniid.errors import UniIDError

COMPILED = "torch.compile is suspended for this picture: compiled code ignores the hooks for identities"


@runtime_checkable
class Attachment(Protocol):
    """A plan, or a refusal, on the UNet that a processing object samples from."""

    def holds(self, p: Any) -> bool:
        """Whether it is still complete and on the UNet that ``p`` samples from."""
        ...

    def step(self, params: Any) -> None:
        """Read the parameters of ``on_cfg_denoiser``, before each evaluation of the model."""
        ...

    @property
    def called(self) -> bool:
        """Whether the hooks have been called."""
        ...

    def require(self, *, seen: bool) -> None:
        """``HooksIgnoredError`` if the UNet was computed without the hooks.

        ``seen`` says that they were called earlier in the job. A host may skip the UNet in single steps, and
        so in all steps after the last injection, but not in a whole job.
        """
        ...

    def notes(self) -> list[str]:
        """Notes to show under the picture."""
        ...

    def row_of(self, picture: int, pictures: int, rows: int) -> int:
        """The cond row of a picture of the batch; all numbers from 0."""
        ...

    def release(self) -> None:
        """Eject everything; a second call does nothing."""
        ...


class Counter:
    """Counts the evaluations of the model in a sampling and the calls of the hooks in them."""

    def __init__(self, calls: Calls) -> None:
        self.calls, self.evaluations = calls, 0

    @property
    def called(self) -> bool:
        """See :attr:`Attachment.called`."""
        return self.calls.any

    def require(self, *, seen: bool) -> None:
        """See :meth:`Attachment.require`."""
        if self.evaluations and (self.called or not seen):
            self.calls.require()

    def notes(self) -> list[str]:
        return [COMPILED] if self.calls.compiled else []


class NoInjection:
    """Injects nothing, for a UNet into which identities cannot be injected."""

    called = False

    def __init__(self, unet: nn.Module) -> None:
        self.unet = unet

    def holds(self, p: Any) -> bool:
        return unet_of(p) is self.unet

    def step(self, params: Any) -> None:
        pass

    def require(self, *, seen: bool) -> None:
        pass

    def notes(self) -> list[str]:
        return []

    def row_of(self, picture: int, pictures: int, rows: int) -> int:
        return picture

    def release(self) -> None:
        pass


class Refusal(NoInjection):
    """Makes the host's next call of the UNet raise: the host catches exceptions of a script's hooks."""

    def __init__(self, unet: nn.Module, failure: str) -> None:
        super().__init__(unet)
        self.failure = failure
        self._hook = unet.register_forward_pre_hook(self._raise)
        self._on = True
        with ExitStack() as stack:
            stack.enter_context(compiled.suspended())
            self._stack = stack.pop_all()

    def _raise(self, _module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        self._on = False
        self._hook.remove()
        raise UniIDError(self.failure)

    def holds(self, p: Any) -> bool:
        return self._on and super().holds(p)

    def release(self) -> None:
        self._on = False
        self._hook.remove()
        self._stack.close()


class Refused:
    """Replaces a value with which the host would continue; any use of it raises."""

    def __init__(self, failure: str) -> None:
        self.__dict__["failure"] = failure

    def __getattr__(self, name: str) -> Any:
        raise UniIDError(self.failure)

    def __iter__(self) -> Iterator[Any]:
        raise UniIDError(self.failure)

    def __len__(self) -> int:
        raise UniIDError(self.failure)

    def __getitem__(self, place: Any) -> Any:
        raise UniIDError(self.failure)


def is_forge(p: Any) -> bool:
    """Whether the host patches clones of the model (Forge) or the model itself (AUTOMATIC1111)."""
    return hasattr(p.sd_model, "forge_objects")


def unet_of(p: Any) -> nn.Module:
    """The UNet that ``p`` samples from now; a refiner or another checkpoint replaces it."""
    model = p.sd_model.forge_objects.unet.model if is_forge(p) else p.sd_model.model
    return compiled.original(model.diffusion_model)


def predicts_velocity(p: Any) -> bool:
    """Whether the model predicts v instead of the noise; each host keeps that in another place."""
    if not is_forge(p):
        return getattr(p.sd_model, "parameterization", "eps") == "v"
    model = p.sd_model.forge_objects.unet.model
    kinds = (
        getattr(getattr(model, "predictor", None), "prediction_type", ""),
        getattr(getattr(model, "model_type", None), "name", "").lower(),  # reForge and Classic
    )
    return "v_prediction" in kinds


def progress_of(params: Any) -> float:
    """The share of the steps from noise that are done, in [0, 1).

    The denoiser counts the evaluations of a pass: ``sampling_step`` lags.
    """
    denoiser = params.denoiser
    step, total = getattr(denoiser, "step", None), getattr(denoiser, "total_steps", None)
    if step is None or not total:
        step, total = params.sampling_step, params.total_sampling_steps
    done, skipped = _share(step / max(total, 1)), _skipped(denoiser.p)
    return skipped + (1.0 - skipped) * done


def _skipped(p: Any) -> float:
    """The share of the steps from noise that the current pass of ``p`` leaves out.

    A pass over a picture has noise for the last steps only, as many as the denoising strength says.
    """
    strength = getattr(p, "denoising_strength", None)
    if strength is None or not (getattr(p, "is_hr_pass", False) or getattr(p, "init_images", None)):
        return 0.0
    return 1.0 - _share(strength)


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def untouched(rows: int) -> list[Role]:
    """Roles for rows that the host has not described; they are not changed."""
    return [Role.UNTOUCHED] * rows
