"""What is needed of the WebUI that runs us; its modules are looked up when they are used."""

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ENCODERS = 2 * 2**30
"""Bytes that the host is asked to free for the face encoders; in half precision they take 1.4 GB."""


class WebUI:
    """AUTOMATIC1111 or Forge; see :class:`lib_uniid.hosts.webui.script.HostServices`."""

    def models_folder(self) -> Path:
        return Path(import_module("modules.paths").models_path)

    def checkpoint(self) -> Path | None:
        """The file that is chosen above the tabs; it may not be loaded yet.

        Until the user chooses one, the host takes the first that it knows.
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
        """Have the host free memory for the face encoders, each time, and take back what they leave."""
        memory = _memory()
        if memory is None:
            _a1111_frees()
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

    def job(self) -> str:
        return str(getattr(import_module("modules.shared").state, "job", ""))

    def too_old(self) -> str | None:
        base = import_module("modules.scripts").Script  # ours has the hook, whether it is called or not
        return None if hasattr(base, "process_before_every_sampling") else _name_and_version()

    def free(self) -> None:
        import_module("modules.devices").torch_gc()

    def listen(self, **callbacks: Callable[..., None]) -> None:
        events = import_module("modules.script_callbacks")
        for name, function in callbacks.items():
            getattr(events, f"on_{name}")(function)


def _name_and_version() -> str:
    """As the host says it; SD.Next in another place than the others."""
    with suppress(ImportError, AttributeError):
        return f"AUTOMATIC1111's WebUI {import_module('modules.launch_utils').git_tag()}"
    with suppress(ImportError, AttributeError):
        version = import_module("installer").get_version()
        return (
            f"{version.get('app', 'SD.Next')} {version.get('updated', '')} {version.get('hash', '')}".strip()
        )
    return "this WebUI (of unknown version)"


def _a1111_frees() -> None:
    """With --medvram and --lowvram a network of the checkpoint is on the device; it comes back when used."""
    import_module("modules.lowvram").send_everything_to_cpu()
    _collect(None)


def _collect(memory: Any) -> None:
    """Give memory that is free back to the driver."""
    (import_module("modules.devices").torch_gc if memory is None else memory.soft_empty_cache)()


def _memory() -> Any:
    """Where Forge, and what grew from it, manages memory itself; None in AUTOMATIC1111."""
    if find_spec("modules_forge") is None:
        return None
    if find_spec("backend") is not None:
        return import_module("backend.memory_management")
    # In reForge and Forge Classic, as Forge had it at first.
    return import_module("ldm_patched.modules.model_management")
