"""People on Forge's UNet: rows by ``cond_or_uncond``, LoRA merged by the host on a clone of its patcher."""

import hashlib
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from inspect import signature
from itertools import count
from typing import Any

from torch import Tensor

from lib_uniid.attention.injection import injected
from lib_uniid.attention.lora import LoRA
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.record import RoutingRecord
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import Site
from lib_uniid.hosts.webui.attachment import Counter, progress_of, unet_of, untouched

MARK = "uniid"
"""The key in ``model_options`` by which a clone of ours is known, also after others have cloned it again."""

ROLES = {0: Role.COND, 1: Role.UNCOND}
_SAMPLE = 256  # elements of each tensor that enter the name of a LoRA
_numbers = count()


class ForgePeople:
    """A plan on the UNet of ``p``; see :class:`lib_uniid.hosts.webui.attachment.Attachment`.

    ``load`` has the host load a patcher. It is needed while sampling, where the host does not do it again by
    itself, and else None.
    """

    def __init__(
        self,
        p: Any,
        sites: tuple[Site, ...],
        plan: Plan,
        load: Callable[[Any], None] | None = None,
        record: RoutingRecord | None = None,
    ) -> None:
        self.unet, self.rows, self.unexplained = unet_of(p), Rows(()), 0
        self._on, self._number = True, next(_numbers)
        # The host replaces the container at each pass, and with it our clone.
        self._objects = p.sd_model.forge_objects
        self._before = self._objects.unet
        self._patched = self._patch(self._before.clone(), sites, plan)
        with ExitStack() as stack:
            calls = stack.enter_context(injected(sites, replace(plan, merges={}), self.rows, record=record))
            self.counter = Counter(calls)
            self._objects.unet = self._patched
            stack.callback(self._put_back)
            if load is not None:
                load(self._patched)
            self._stack = stack.pop_all()

    def holds(self, p: Any) -> bool:
        return self._on and p.sd_model.forge_objects.unet.model_options.get(MARK) == self._number

    def step(self, params: Any) -> None:
        self.counter.evaluations += 1
        self.rows.progress = progress_of(params)

    @property
    def called(self) -> bool:
        return self.counter.called

    def require(self, *, seen: bool) -> None:
        self.counter.require(seen=seen)

    def notes(self) -> list[str]:
        notes = self.counter.notes()
        if self.unexplained:
            notes.append(
                f"in {self.unexplained} calls of the UNet identities were not applied: another extension "
                "made them with rows that the host had not announced"
            )
        return notes

    def row_of(self, picture: int, pictures: int, rows: int) -> int:
        return picture % rows  # all pictures' rows of one AND prompt stand together; drawn maps have one row

    def release(self) -> None:
        self._on = False
        self._stack.close()

    def _put_back(self) -> None:
        # Others may have cloned ours since; theirs is then left, and our wrapper in it does nothing any more.
        if self._objects.unet is self._patched:
            self._objects.unet = self._before

    def _patch(self, patcher: Any, sites: tuple[Site, ...], plan: Plan) -> Any:
        patcher.model_options[MARK] = self._number
        patcher.set_model_unet_function_wrapper(self._wrapper(patcher))
        loras = {
            f"diffusion_model.{site.name}.{PARAMETERS[name]}": lora
            for site in sites
            for name, lora in plan.merges.get(site.index, {}).items()
        }
        if loras:
            # reForge and Classic have no names, and merge whatever is new.
            named = "filename" in signature(patcher.add_patches).parameters
            name = {"filename": f"uniid-{_content(loras)}"} if named else {}
            patches = {name: _patch(lora) for name, lora in loras.items()}
            patcher.add_patches(**name, patches=patches, strength_patch=plan.merge_scale, strength_model=1.0)
        return patcher

    def _wrapper(self, patcher: Any) -> Callable[[Callable[..., Any], dict[str, Any]], Any]:
        """Takes the rows of each call and calls through whatever was there before.

        A plain function: objects in ``model_options`` are copied with every clone that anybody makes.
        """
        inner = patcher.model_options.get("model_function_wrapper")

        def follow(apply_model: Callable[..., Any], call: dict[str, Any]) -> Any:
            if self._on:
                self._take_rows(call["cond_or_uncond"], call["input"].shape[0])
            if inner is not None:
                return inner(apply_model, call)
            return apply_model(call["input"], call["timestep"], **call["c"])

        return follow

    def _take_rows(self, entries: Any, rows: int) -> None:
        """One entry per chunk, all chunks alike in size."""
        kinds = [int(entry) for entry in entries]
        if not kinds or rows % len(kinds) or not set(kinds) <= ROLES.keys():
            self.unexplained += 1
            self.rows.roles = untouched(rows)
            return
        each = rows // len(kinds)
        self.rows.roles = [ROLES[kind] for kind in kinds for _ in range(each)]


PARAMETERS = {
    "to_q": "to_q.weight",
    "to_k": "to_k.weight",
    "to_v": "to_v.weight",
    "to_out": "to_out.0.weight",
}
"""A site's linear layers as the host's patches name their weights."""


def _patch(lora: LoRA) -> Any:
    """In the host's form: up, down, alpha, mid, dora. The host divides alpha by the rank: a scale of 1.

    Where the host has a class for it, a tuple is refused (Forge Neo) or left out with a line in the log
    (reForge); the class takes a shape to fill up to as well.
    """
    rank = lora.down.weight.shape[0]
    values = lora.up.weight.detach(), lora.down.weight.detach(), float(rank), None, None
    adapter = _adapter_class()
    return ("lora", values) if adapter is None else adapter(set(), (*values, None))


def _adapter_class() -> Callable[..., Any] | None:
    """The class that the host's own merging knows: the same module by another path would make another one."""
    merging = sys.modules.get("backend.patcher.lora")  # Forge Neo; Forge has it without such classes
    reforge = sys.modules.get("ldm_patched.modules.weight_adapter")
    for adapters in (getattr(merging, "weight_adapter", None), reforge):
        if (adapter := getattr(adapters, "LoRAAdapter", None)) is not None:
            return adapter
    return None


def _content(loras: dict[str, LoRA]) -> str:
    """A name by content: patches of a name that is merged already are not merged again."""
    digest = hashlib.sha256()
    for name, lora in sorted(loras.items()):
        digest.update(name.encode())
        for weight in (lora.up.weight, lora.down.weight):
            digest.update(_sampled(weight.detach()))
    return digest.hexdigest()[:16]


def _sampled(tensor: Tensor) -> bytes:
    step = max(1, tensor.numel() // _SAMPLE)
    return tensor.flatten()[::step].float().cpu().numpy().tobytes()
