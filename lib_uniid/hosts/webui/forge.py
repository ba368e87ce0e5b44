"""Injection into Forge's UNet: rows by ``cond_or_uncond``, LoRA merged by the host on a patcher's clone."""

import hashlib
import sys
import weakref
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
"""The key in ``model_options`` that marks our clone, also after other extensions have cloned it again."""

ROLES = {0: Role.COND, 1: Role.UNCOND}
_SAMPLE = 256  # number of elements of each tensor that are hashed for the name of a LoRA
_numbers = count()


class ForgeInjection:
    """A plan on the UNet of ``p``; see :class:`lib_uniid.hosts.webui.attachment.Attachment`.

    ``load`` makes the host load a patcher. It is needed during sampling, when the host does not load it by
    itself; before sampling it is None.
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
        self._conds = 0  # cond rows so far in this evaluation of the model
        self._params: Callable[[], Any] = lambda: None
        # The host replaces the container, and with it our clone, at each pass.
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
        self.rows.progress, self._conds = progress_of(params), 0
        # Others may change the text in it after us. It holds the processing object, so it must not be held.
        self._params = weakref.ref(params)

    @property
    def called(self) -> bool:
        return self.counter.called

    def require(self, *, seen: bool) -> None:
        self.counter.require(seen=seen)

    def notes(self) -> list[str]:
        notes = self.counter.notes()
        if self.unexplained:
            notes.append(
                f"identities were not applied in {self.unexplained} calls of the UNet: another extension "
                "called it with rows of unknown roles"
            )
        return notes

    def row_of(self, picture: int, pictures: int, rows: int) -> int:
        return picture % rows  # the rows of one AND prompt are adjacent; maps of masks have one row

    def release(self) -> None:
        self._on = False
        self._stack.close()

    def _put_back(self) -> None:
        # Another extension may have cloned our clone; it stays, and our wrapper in it is inactive.
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
            # reForge and Classic have no names, and merge all new patches.
            named = "filename" in signature(patcher.add_patches).parameters
            name = {"filename": f"uniid-{_content(loras)}"} if named else {}
            patches = {name: _patch(lora) for name, lora in loras.items()}
            patcher.add_patches(**name, patches=patches, strength_patch=plan.merge_scale, strength_model=1.0)
        return patcher

    def _wrapper(self, patcher: Any) -> Callable[[Callable[..., Any], dict[str, Any]], Any]:
        """A wrapper that reads the rows of each call and calls the wrapper that was there before.

        It is a function and no object: a clone copies the objects in ``model_options``.
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
        """One entry per chunk; all chunks have the same size."""
        kinds = [int(entry) for entry in entries]
        if not kinds or rows % len(kinds) or not set(kinds) <= ROLES.keys():
            self.unexplained += 1
            self.rows.roles = untouched(rows)
            return
        params = self._params()
        self.rows.text_length = None if params is None else int(params.text_cond.shape[1])
        each = rows // len(kinds)
        self.rows.roles = [ROLES[kind] for kind in kinds for _ in range(each)]
        self.rows.before = self._conds
        self._conds += self.rows.roles.count(Role.COND)


PARAMETERS = {
    "to_q": "to_q.weight",
    "to_k": "to_k.weight",
    "to_v": "to_v.weight",
    "to_out": "to_out.0.weight",
}
"""The names of a site's linear layers in the host's patches."""


def _patch(lora: LoRA) -> Any:
    """A LoRA in the host's form: up, down, alpha, mid, dora. The host divides alpha by the rank: scale 1.

    A host with an adapter class refuses a tuple (Forge Neo) or ignores it with a log entry (reForge). The
    class also takes a shape for reshaping.
    """
    rank = lora.down.weight.shape[0]
    values = lora.up.weight.detach(), lora.down.weight.detach(), float(rank), None, None
    adapter = _adapter_class()
    return ("lora", values) if adapter is None else adapter(set(), (*values, None))


def _adapter_class() -> Callable[..., Any] | None:
    """The class that the host's merging uses. An import of its module by another path gives another class."""
    merging = sys.modules.get("backend.patcher.lora")  # Forge Neo; Forge has it without such classes
    reforge = sys.modules.get("ldm_patched.modules.weight_adapter")
    for adapters in (getattr(merging, "weight_adapter", None), reforge):
        if (adapter := getattr(adapters, "LoRAAdapter", None)) is not None:
            return adapter
    return None


def _content(loras: dict[str, LoRA]) -> str:
    """A name by content: the host does not merge patches of a merged name again."""
    digest = hashlib.sha256()
    for name, lora in sorted(loras.items()):
        digest.update(name.encode())
        for weight in (lora.up.weight, lora.down.weight):
            digest.update(_sampled(weight.detach()))
    return digest.hexdigest()[:16]


def _sampled(tensor: Tensor) -> bytes:
    step = max(1, tensor.numel() // _SAMPLE)
    return tensor.flatten()[::step].float().cpu().numpy().tobytes()
