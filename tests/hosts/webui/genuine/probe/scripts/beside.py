"""Does what other extensions do, on request: runs of its own, regions, an IP-Adapter, an engine, a stop.

Its one argument is an object; each field is one of the functions below, or what they are told.
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
# It runs in the host, and what it imports is only there.

import base64
import copy
import gc
import inspect
import io
import sys
from pathlib import Path

import gradio as gr
import numpy as np
import psutil
import torch
from modules import processing, script_callbacks, scripts, shared
from modules.api.api import decode_base64_to_image
from uniid_probe import unet

ENGINE = "Probe engine"
seen = {"call": None, "said": [], "regions": None}


class Probe(scripts.Script):
    """Runs before ours, as extensions are loaded by the names of their folders."""

    def title(self):
        return "Probe"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return [gr.Textbox(value="", visible=False, elem_id=self.elem_id("asked"))]

    def before_process(self, p, asked):
        p.probe_asked, p.probe_evaluations = dict(asked or {}), 0
        make_repeatable()

    def process_before_every_sampling(self, p, asked, **kwargs):
        asked = p.probe_asked
        if asked.get("record"):
            record()
        if "fail" in asked:
            fail(asked["fail"])
        if "ip_adapter" in asked:
            objects = p.sd_model.forge_objects
            objects.unet = with_ip_adapter(objects.unet, asked["ip_adapter"])
        if asked.get("compile"):
            unet().compile(backend="eager")
        if asked.get("wrapper"):
            objects = p.sd_model.forge_objects
            objects.unet = without_layers(objects.unet)

    def postprocess_image(self, p, pp, asked):
        nested = p.probe_asked.pop("nested", None)
        if nested is not None:
            pp.image = detailed(p, nested)

    def postprocess(self, p, processed, asked):
        unet()._compiled_call_impl = None
        seen["said"] = [line for line in processed.comments.splitlines() if line]


def make_repeatable():
    """Start pictures are encoded with noise of torch's own state, which a picture's seed does not set."""
    torch.manual_seed(0)


def detailed(p, nested):
    """A run inside a run, as ADetailer makes it: an object and caches of its own, scripts picked by file."""
    inner = processing.StableDiffusionProcessingImg2Img(
        sd_model=p.sd_model,
        init_images=[decode_base64_to_image(nested["picture"])],
        denoising_strength=nested["denoising_strength"],
        prompt=p.prompt,
        negative_prompt=p.negative_prompt,
        seed=p.seed,
        sampler_name=p.sampler_name,
        **({"scheduler": p.scheduler} if hasattr(p, "scheduler") else {}),  # older hosts have none
        steps=p.steps,
        cfg_scale=p.cfg_scale,
        width=p.width,
        height=p.height,
        do_not_save_samples=True,
        do_not_save_grid=True,
    )
    inner.cached_c, inner.cached_uc = [None, None], [None, None]
    runner = copy.copy(p.scripts)
    wanted = nested.get("scripts", [])
    runner.alwayson_scripts = [one for one in runner.alwayson_scripts if Path(one.filename).name in wanted]
    inner.scripts, inner.script_args = runner, copy.copy(p.script_args)
    make_repeatable()
    return processing.process_images(inner).images[0]


def record():
    """Keep the next call of the UNet: what went in, and what came out."""

    def keep(_module, args, kwargs, out):
        handle.remove()
        x, timesteps = args[0], args[1] if len(args) > 1 else kwargs["timesteps"]
        context = kwargs["context"] if "context" in kwargs else args[2]
        call = {"x": x, "timesteps": timesteps, "context": context, "out": out}
        call |= {"y": kwargs["y"]} if kwargs.get("y") is not None else {}  # of SDXL
        seen["call"] = {name: tensor.detach().float().cpu().numpy() for name, tensor in call.items()}

    handle = unet().register_forward_hook(keep, with_kwargs=True)


def fail(call):
    """Have the UNet's call of this number raise, counted from 1."""
    left = [call]

    def count(*_):
        left[0] -= 1
        if left[0] == 0:
            handle.remove()
            raise RuntimeError("the probe was asked to fail")

    handle = unet().register_forward_pre_hook(count)


def with_ip_adapter(patcher, weight):
    """Forge's own IP-Adapter, with random weights for every layer and a random picture's encoding."""
    adapter = sys.modules["lib_ipadapter.IPAdapterPlus"].IPAdapterApply()
    network = patcher.model.diffusion_model
    blocks = [f"input_blocks.{n}" for n in (1, 2, 4, 5, 7, 8)]
    blocks += [f"output_blocks.{n}" for n in range(3, 12)] + ["middle_block"]
    random = torch.Generator().manual_seed(0)
    state, encoding = {}, 32
    for number, block in enumerate(blocks):
        to_k = network.get_submodule(f"{block}.1.transformer_blocks.0.attn2.to_k")
        context = to_k.in_features
        for name in ("k", "v"):
            weights = 0.05 * torch.randn(to_k.out_features, context, generator=random)
            state[f"{2 * number + 1}.to_{name}_ip.weight"] = weights
    proj = {
        "proj.weight": torch.randn(4 * context, encoding, generator=random),
        "proj.bias": torch.zeros(4 * context),
        "norm.weight": torch.ones(context),
        "norm.bias": torch.zeros(context),
    }
    embeds = torch.stack([torch.randn(1, encoding, generator=random), torch.zeros(1, encoding)])
    asked = {"ipadapter": {"image_proj": proj, "ip_adapter": state}, "model": patcher, "embeds": embeds}
    named = "model_filename" in inspect.signature(adapter.apply_ipadapter).parameters  # in reForge
    asked |= {"model_filename": "random.safetensors"} if named else {}
    patched = adapter.apply_ipadapter(weight=weight, **asked)
    return patched[0] if isinstance(patched, tuple) else patched  # Forge Neo's is no tuple


def without_layers(patcher):
    """Denoised by something else than the UNet's own layers, as a compiled engine does it."""
    patched = patcher.clone()
    patched.set_model_unet_function_wrapper(lambda apply_model, call: 0.5 * call["input"])
    return patched


def on_cfg_denoiser(params):
    p = params.denoiser.p
    asked = getattr(p, "probe_asked", {})
    p.probe_evaluations = getattr(p, "probe_evaluations", 0) + 1
    seen["regions"] = params.denoiser if asked.get("regions") else None
    if asked.get("interrupt") == p.probe_evaluations:
        shared.state.interrupt()
    if asked.get("skip") == p.probe_evaluations:
        shared.state.skip()


def on_cfg_denoised(params):
    """Of two AND prompts one for the left half and one for the right, as Regional Prompter mixes latents."""
    denoiser = seen["regions"]
    if denoiser is None:
        return
    counts = [len(subprompts) for subprompts in denoiser.sampler.sampler_extra_args["cond"].batch]
    middle, row = params.x.shape[-1] // 2, 0
    for number, count in enumerate(counts):
        uncond = params.x[len(params.x) - len(counts) + number]
        for subprompt in range(count):
            elsewhere = slice(middle, None) if subprompt == 0 else slice(None, middle)
            params.x[row, ..., elsewhere] = uncond[..., elsewhere]
            row += 1


def list_unets(found):
    """An engine in the place of the UNet, as TensorRT's extension offers them."""
    from modules import sd_unet

    if not hasattr(sd_unet, "SdUnet"):  # Forge Neo takes no engines
        return

    class Engine(sd_unet.SdUnet):
        def forward(self, x, timesteps, context, *args, **kwargs):
            return 0.5 * x

    class Option(sd_unet.SdUnetOption):
        label = ENGINE

        def create_unet(self):
            return Engine()

    found.append(Option())


def call():
    """The call that was recorded: arrays in base64, each a file of numpy's."""

    def packed(array):
        buffer = io.BytesIO()
        np.save(buffer, array)
        return base64.b64encode(buffer.getvalue()).decode()

    return {name: packed(array) for name, array in (seen["call"] or {}).items()}


def traces():
    """What may not grow: hooks on the UNet, generations of ours that are remembered, bytes in memory."""
    gc.collect()
    kinds = [f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects()]
    layers = list(unet().modules())
    return {
        "hooks": sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in layers),
        "runs": kinds.count("lib_uniid.hosts.webui.generation.Run"),
        "bytes": psutil.Process().memory_info().rss,
    }


def optimizations():
    """How attention can be computed, as the setting names it."""
    from modules import sd_hijack

    return ["None", *(one.title() for one in sd_hijack.optimizers)]


def axes():
    """The axes that txt2img's X/Y/Z plot offers, in the order of their numbers."""
    module = next(one.module for one in scripts.scripts_data if Path(one.path).name == "xyz_grid.py")
    options = module.axis_options
    return [one.label for one in options if type(one) is module.AxisOption or not one.is_img2img]


def add_routes(_, app):
    app.add_api_route("/uniid-probe/axes", axes, methods=["GET"])
    app.add_api_route("/uniid-probe/call", call, methods=["GET"])
    app.add_api_route("/uniid-probe/said", lambda: seen["said"], methods=["GET"])
    app.add_api_route("/uniid-probe/traces", traces, methods=["GET"])
    app.add_api_route("/uniid-probe/optimizations", optimizations, methods=["GET"])
    app.add_api_route("/uniid-probe/reload", shared.state.request_restart, methods=["POST"])


script_callbacks.on_app_started(add_routes)
script_callbacks.on_cfg_denoiser(on_cfg_denoiser)
script_callbacks.on_cfg_denoised(on_cfg_denoised)
script_callbacks.on_list_unets(list_unets)
