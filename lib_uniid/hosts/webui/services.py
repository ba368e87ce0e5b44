"""The functions of the running WebUI that UniID uses; its modules are imported on each use."""

import sys
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

ENCODERS = 2 * 2**30
"""Bytes to free for the face encoders, which take 1.4 GB in half precision."""


SKIPPED_LAYERS = ("CLIP_stop_at_last_layers", "sdxl_clip_l_skip")
"""The hosts' settings of the layers at the end of a text encoder that are not used."""


@runtime_checkable
class HostServices(Protocol):
    """The host's functions that UniID uses beside the arguments of the hooks."""

    def load(self, patcher: Any) -> None:
        """Load a model patcher during sampling; only hosts with patchers need it."""
        ...

    def encode(self, p: Any, picture: Any) -> Any:
        """Latents of a picture, ``1 3 height width`` in [0, 1], by the VAE of ``p``."""
        ...

    def encode_text(self, p: Any, prompts: Sequence[str]) -> Any:
        """The text that the UNet reads for these prompts, ``b t d``, by the text encoders of ``p``.

        Emphasis, BREAK and embeddings work as in the prompt; AND and prompt schedules do not.
        """
        ...

    def text_settings(self) -> Hashable:
        """What changes the result of ``encode_text`` beside the checkpoint and the patches of ``p``."""
        ...

    def job(self) -> str:
        """The host's text of its current job, such as ``3 out of 12`` for a cell of a plot."""
        ...

    def too_old(self) -> str | None:
        """Name and version of a host that never calls ``process_before_every_sampling``; None for others."""
        ...

    def listen(self, **callbacks: Callable[..., None]) -> None:
        """Register callbacks with the host, each under the host's name of the event."""
        ...


class WebUI:
    """AUTOMATIC1111 or Forge; see :class:`HostServices`."""

    def models_folder(self) -> Path:
        return Path(import_module("modules.paths").models_path)

    def checkpoint(self) -> Path | None:
        """The selected checkpoint file, which may not be loaded yet.

        Without a selection the host takes the first file in its list.
        """
        title = getattr(import_module("modules.shared").opts, "sd_model_checkpoint", None)
        models = import_module("modules.sd_models")
        info = (
            models.get_closet_checkpoint_match(title)
            if title
            else next(iter(models.checkpoints_list.values()), None)
        )
        return None if info is None else Path(info.filename)

    def device(self) -> str:
        memory = _memory()
        if memory is None:
            return str(import_module("modules.devices").device)
        return str(memory.get_torch_device())

    @contextmanager
    def room(self) -> Generator[None]:
        """Make the host free memory for the face encoders, and return the memory afterwards."""
        memory = _memory()
        if memory is None:
            _free_a1111()
        else:
            memory.free_memory(ENCODERS, memory.get_torch_device())
        try:
            yield
        finally:
            _collect(memory)

    def load(self, patcher: Any) -> None:
        memory = _memory()
        if memory is not None:
            memory.load_model_gpu(patcher)

    def encode(self, p: Any, picture: Any) -> Any:
        return import_module("modules.sd_samplers_common").images_tensor_to_samples(picture, 0, p.sd_model)

    def encode_text(self, p: Any, prompts: Sequence[str]) -> Any:
        with import_module("modules.devices").autocast():
            made = p.sd_model.get_learned_conditioning(list(prompts))
        return made["crossattn"] if isinstance(made, Mapping) else made

    def text_settings(self) -> Hashable:
        options = import_module("modules.shared").opts
        skipped = tuple(getattr(options, name, None) for name in SKIPPED_LAYERS)
        loaded = getattr(sys.modules.get("networks"), "loaded_networks", ())  # of A1111's Lora extension
        return skipped, tuple(_network(one) for one in loaded)

    def job(self) -> str:
        return str(getattr(import_module("modules.shared").state, "job", ""))

    def too_old(self) -> str | None:
        base = import_module("modules.scripts").Script  # its subclass always has the hook
        return None if hasattr(base, "process_before_every_sampling") else _name_and_version()

    def free(self) -> None:
        import_module("modules.devices").torch_gc()

    def listen(self, **callbacks: Callable[..., None]) -> None:
        events = import_module("modules.script_callbacks")
        for name, function in callbacks.items():
            getattr(events, f"on_{name}")(function)


def _network(loaded: Any) -> Hashable:
    """One of the loaded LoRAs, with its strength in the text encoders."""
    return tuple(getattr(loaded, name, None) for name in ("name", "mtime", "te_multiplier", "dyn_dim"))


def _name_and_version() -> str:
    """Name and version as the host shows them; SD.Next has them in another module."""
    with suppress(ImportError, AttributeError):
        return f"AUTOMATIC1111's WebUI {import_module('modules.launch_utils').git_tag()}"
    with suppress(ImportError, AttributeError):
        version = import_module("installer").get_version()
        return (
            f"{version.get('app', 'SD.Next')} {version.get('updated', '')} {version.get('hash', '')}".strip()
        )
    return "this WebUI (of unknown version)"


def _free_a1111() -> None:
    """Move the checkpoint's network off the device (--medvram, --lowvram); the host moves it back on use."""
    import_module("modules.lowvram").send_everything_to_cpu()
    _collect(None)


def _collect(memory: Any) -> None:
    """Return unused memory to the driver."""
    (import_module("modules.devices").torch_gc if memory is None else memory.soft_empty_cache)()


def _memory() -> Any:
    """The memory management of Forge and its forks; None in AUTOMATIC1111."""
    if find_spec("modules_forge") is None:
        return None
    if find_spec("backend") is not None:
        return import_module("backend.memory_management")
    # reForge and Forge Classic have the module of the first Forge versions.
    return import_module("ldm_patched.modules.model_management")
