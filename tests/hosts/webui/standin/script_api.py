"""What a host offers to a script: its base class, its callbacks, the few components that are needed."""

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

HOOKS = (
    "before_process",
    "process",
    "process_before_every_sampling",
    "post_sample",
    "postprocess_batch",
    "postprocess_batch_list",
    "postprocess_image",
    "postprocess",
)


class AlwaysVisible:
    """The mark that ``show`` returns."""


class Script:
    """The base class: every hook does nothing."""

    AlwaysVisible = AlwaysVisible
    infotext_fields: list[tuple[Any, Any]]
    paste_field_names: list[str]
    args_from = args_to = 0
    is_img2img = False

    def title(self) -> str:
        raise NotImplementedError

    def show(self, is_img2img: bool) -> Any:
        return True

    def ui(self, is_img2img: bool) -> list[Any]:
        return []

    def elem_id(self, item_id: str) -> str:
        self.show(self.is_img2img)
        return f"script_{self.title().lower()}_{item_id}"


for _hook in HOOKS:
    setattr(Script, _hook, lambda self, p, *args, **kwargs: None)


@dataclass
class Callbacks:
    """Registered functions by event; what they raise is kept and goes no further."""

    functions: dict[str, list[Callable[..., None]]] = field(default_factory=dict[str, Any])
    raised: list[Exception] = field(default_factory=list[Exception])

    def register(self, event: str) -> Callable[[Callable[..., None]], None]:
        return lambda function: self.functions.setdefault(event, []).append(function)

    def call(self, event: str, *args: Any) -> None:
        for function in self.functions.get(event, []):
            try:
                function(*args)
            except Exception as error:
                self.raised.append(error)


@dataclass
class AxisOption:
    """One of the X/Y/Z plot's axes."""

    label: str
    type: type
    apply: Callable[[Any, Any, Any], None]
    choices: Callable[[], list[str]] | None = None


def xyz_plot() -> Any:
    """The module of the host's own script of that name, as far as axes are added to it."""
    return SimpleNamespace(AxisOption=AxisOption, axis_options=[])


@dataclass(kw_only=True)
class CFGDenoiserParams:
    """What ``on_cfg_denoiser`` is told; both hosts use these names for different things."""

    x: Any
    sigma: Any
    sampling_step: int
    total_sampling_steps: int
    text_cond: Any
    text_uncond: Any
    denoiser: Any


def schedules(prompts: Sequence[str], steps: int) -> list[list[list[Any]]]:
    """Of each prompt the last step and the text of each part; only the form ``[from:to:share]``."""
    found: list[list[list[Any]]] = []
    for prompt in prompts:
        change = re.search(r"\[(.*?):(.*?):([\d.]+)\]", prompt)
        if change is None:
            found.append([[steps, prompt]])
            continue
        head, tail = prompt[: change.start()], prompt[change.end() :]
        ends = round(float(change[3]) * steps), steps
        found.append([[end, head + change[n] + tail] for n, end in enumerate(ends, 1)])
    return found


def host_modules(
    callbacks: Callbacks, models_path: str, load_model_gpu: Callable[[Any], None] | None = None
) -> dict[str, ModuleType]:
    """What ``import`` finds in the host's process; Forge's own packages where it can load a patcher."""
    names = [f"modules.{name}" for name in ("scripts", "script_callbacks", "paths", "devices", "shared")]
    names += ["modules.sd_models", "modules.sd_samplers_common", "modules.lowvram", "modules.prompt_parser"]
    forge = ["modules_forge", "backend", "backend.memory_management"] if load_model_gpu else []
    found: dict[str, Any] = {name: ModuleType(name) for name in ["modules", *names, *forge]}
    for name, module in found.items():
        module.__spec__ = ModuleSpec(name, None)
        if "." in name:
            package, _, part = name.partition(".")
            setattr(found[package], part, module)
    found["modules.scripts"].Script = Script
    found["modules.scripts"].scripts_data = []
    found["modules.scripts"].AlwaysVisible = AlwaysVisible
    for event in ("cfg_denoiser", "script_unloaded"):
        setattr(found["modules.script_callbacks"], f"on_{event}", callbacks.register(event))
    found["modules.paths"].models_path = models_path
    found["modules.devices"].device = "cpu"
    found["modules.devices"].torch_gc = lambda: None
    found["modules.devices"].autocast = nullcontext
    found["modules.shared"].state = SimpleNamespace(job="")
    found["modules.prompt_parser"].get_learned_conditioning_prompt_schedules = schedules
    found["modules.lowvram"].send_everything_to_cpu = lambda: None
    found["modules.shared"].opts = SimpleNamespace(sd_model_checkpoint="narrow.safetensors [0123456789]")
    checkpoint = SimpleNamespace(filename=f"{models_path}/Stable-diffusion/narrow.safetensors")
    found["modules.sd_models"].get_closet_checkpoint_match = lambda title: checkpoint
    found["modules.sd_models"].checkpoints_list = {checkpoint.filename: checkpoint}
    if load_model_gpu:
        memory = found["backend.memory_management"]
        memory.load_model_gpu = load_model_gpu
        memory.get_torch_device = lambda: "cpu"
        memory.free_memory = lambda size, device: None
        memory.soft_empty_cache = lambda: None
    return found
