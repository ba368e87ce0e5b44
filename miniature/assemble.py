"""From what the recipes trained to a model folder in the official layouts, as any user's would look."""

import argparse
import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from lib_uniid.checkpoints.shipped import FILE as SHIPPED
from lib_uniid.encoders.curricularface import CurricularFace
from lib_uniid.faces.domain import FILE
from lib_uniid.files import sha256
from lib_uniid.hosts.diffusers.tokenizer import write_tokenizer
from miniature import MODELS
from miniature.ldm_layout import ldm_state
from miniature.recipes.base import new_base
from miniature.recipes.clip import new_tower
from miniature.recipes.detector import Detector
from miniature.recipes.vae import WIDTHS, new_vae
from miniature.widening import multiples, widened

SCALE_FACTOR = 0.18215
BASE = "uniid-miniature"

State = dict[str, Tensor]


def assemble(trained: Path, models: Path) -> None:
    """Write every file of the chain; ``trained`` is the recipes' output folder."""
    write_base(trained, models / "Stable-diffusion")
    write_encoders(trained, models / "uniid")
    write_adapter(trained, models / "uniid")
    write_pack(trained, models / "insightface" / "models" / "miniature")
    save_file(_half(_read(trained / "meters.pt")), models / "uniid" / "meters.safetensors")
    _write_json(models / "training.json", record(trained))
    describe(models)


LICENCE = "Apache-2.0, as UniID: trained by this project on pictures that it drew"
PURPOSES = {"meters.safetensors": "measures pictures in the miniature's evaluation"}
"""What the files are for that are none of the published ones."""


def describe(models: Path) -> None:
    """Write ``shipped.json``."""
    _write_json(models / SHIPPED, shipped(models))


def shipped(models: Path) -> dict[str, Any]:
    """What ``shipped.json`` says: the licence, and every weights file by its name."""
    made = {models / "uniid" / "cache", models / "uniid" / "library"}  # by use
    weights = sorted(path for end in ("*.onnx", "*.safetensors") for path in models.rglob(end))
    files: dict[str, dict[str, Any]] = {}
    for path in weights:
        if made & set(path.parents):
            continue
        files[path.name] = {"size": path.stat().st_size, "sha256": sha256(path)}
        if path.name in PURPOSES:
            files[path.name]["purpose"] = PURPOSES[path.name]
    return {"licence": LICENCE, "files": files}


def record(trained: Path) -> dict[str, Any]:
    """Steps, minutes and last figures of every recipe, from its log; a log of several runs is added up."""
    told: dict[str, Any] = {}
    for log in sorted(trained.glob("*.jsonl")):
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        last = lines[-1]
        stops = [a["seconds"] for a, b in pairwise(lines) if b["seconds"] < a["seconds"]]  # it went on anew
        minutes = round((sum(stops) + last["seconds"]) / 60, 1)
        told[log.stem] = {"minutes": minutes} | {key: last[key] for key in last if key != "seconds"}
    return told


def write_base(trained: Path, folder: Path) -> None:
    """One checkpoint with its ``.yaml``, and its text model's configuration and tokenizer, for A1111 too."""
    folder.mkdir(parents=True, exist_ok=True)
    base, vae = new_base(), new_vae(tuple(WIDTHS[0] * multiple for multiple in multiples(WIDTHS)))
    base.load_state_dict(_read(trained / "base.pt"))
    scale = _read(trained / "pictures.pt")["scale"]
    scaled = rescaled(_read(trained / "vae.pt"), scale / SCALE_FACTOR)
    vae.load_state_dict(widened(scaled, WIDTHS))
    text: Any = base["text"]
    save_file(ldm_state(base["unet"], vae, text), folder / f"{BASE}.safetensors")
    config = text.config
    text_folder = folder / f"{BASE}-text"
    text_folder.mkdir(exist_ok=True)
    keys = (
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_hidden_layers",
        "hidden_act",
        "vocab_size",
    )
    _write_json(
        text_folder / "config.json", {"model_type": "clip_text_model"} | {k: getattr(config, k) for k in keys}
    )
    write_tokenizer(text_folder)
    (folder / f"{BASE}.yaml").write_text(_yaml(), encoding="utf-8")


def rescaled(vae: State, factor: float) -> State:
    """Latents ``factor`` times as large, by the convolutions beside them, so that the official scale fits."""
    state = dict(vae)
    mean, log_variance = slice(0, 4), slice(4, 8)
    weight, bias = state["quant_conv.weight"].clone(), state["quant_conv.bias"].clone()
    weight[mean] *= factor
    bias[mean] *= factor
    bias[log_variance] += 2 * torch.tensor(factor).log()
    state |= {"quant_conv.weight": weight, "quant_conv.bias": bias}
    state["post_quant_conv.weight"] = state["post_quant_conv.weight"] / factor
    return state


def write_encoders(trained: Path, folder: Path) -> None:
    """CurricularFace and the CLIP image tower."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_half(_read(trained / "curricularface.pt")), folder / "curricular_face_backbone.safetensors")
    tower = new_tower()
    tower.load_state_dict(_read(trained / "clip.pt"))
    image_encoder = folder / "image_encoder"
    image_encoder.mkdir(exist_ok=True)
    save_file(_half(tower.state_dict()), image_encoder / "model.safetensors")
    config = tower.config
    keys = (
        "hidden_size",
        "num_attention_heads",
        "num_hidden_layers",
        "image_size",
        "patch_size",
        "hidden_act",
    )
    _write_json(
        image_encoder / "config.json",
        {"model_type": "clip_vision_model", "layer_norm_eps": config.layer_norm_eps}
        | {k: getattr(config, k) for k in keys},
    )


def write_adapter(trained: Path, folder: Path) -> None:
    """UniPortrait's two files."""
    identity = _read(trained / "identity.pt")
    adapter = {
        k.removeprefix("faceid."): v for k, v in identity["adapter"].items() if k.startswith("faceid.")
    }
    flat = _flat({"faceid_proj": identity["resampler"], "faceid_adapter": adapter})
    save_file(_half(flat), folder / "uniportrait-faceid_sd15.safetensors")
    router = _flat({"faceid_adapter": _read(trained / "router.pt")})
    save_file(_half(router), folder / "uniportrait-router_sd15.safetensors")


DOMAIN = {
    "note": "these face models are for drawn faces only, such as those of the sample pictures; for "
    "photographs get the face models that uniid doctor names",
    "limits": [[1.5, 0.9], [4.0, 0.975]],
}
"""Drawn faces have a score of 0.94 or more, also where JPEG roughens them; photographs 0.97 or less."""


def write_pack(trained: Path, folder: Path) -> None:
    """Detector and judge as insightface's ONNX files, and what they know.

    Where a recipe did not run, the exported file that it was started with is taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(DOMAIN, indent=2) + "\n", encoding="utf-8")
    for name, write, file in (("detector", write_detector, "det_10g"), ("judge", write_judge, "w600k_r50")):
        state, exported = trained / f"{name}.pt", trained / f"{name}.onnx"
        if exported.exists() and not state.exists():
            shutil.copyfile(exported, folder / f"{file}.onnx")
        else:
            write(_read(state), folder / f"{file}.onnx")


def write_detector(state: State, path: Path) -> None:
    """With insightface's nine outputs, for pictures of any size."""
    detector = Detector()
    detector.load_state_dict(state)
    outputs = ["448", "471", "494", "451", "474", "497", "454", "477", "500"]
    _export(detector, torch.zeros(1, 3, 640, 640), path, outputs, free=("height", "width"))


def write_judge(state: State, path: Path) -> None:
    """With insightface's 112-pixel input, for any number of faces."""
    judge = Judge(CurricularFace.from_state_dict(state, head=True))
    _export(judge, torch.zeros(1, 3, 112, 112), path, ["683"], free=("rows",))


class Judge(nn.Module):
    """The independent recogniser with insightface's 112-pixel input."""

    def __init__(self, backbone: CurricularFace) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: Tensor) -> Tensor:
        return self.backbone.embed(F.avg_pool2d(pixels, 2))


def _export(
    module: nn.Module, example: Tensor, path: Path, outputs: list[str], free: tuple[str, ...]
) -> None:
    """ONNX with the official names; ``free`` axes are sizes that insightface may choose."""
    import onnx

    axes = {0: "rows"} if free == ("rows",) else {2: "height", 3: "width"}
    names = [f"output_{name}" for name in outputs]  # TorchScript refuses names that are numbers
    torch.onnx.export(
        module.eval(), (example,), str(path), dynamo=False, input_names=["input_1"], output_names=names,
        dynamic_axes={"input_1": axes}, opset_version=17,
    )  # fmt: skip
    model = onnx.load(str(path))
    renamed = {"input_1": "input.1"} | dict(zip(names, outputs, strict=True))
    for value in (*model.graph.input, *model.graph.output):
        value.name = renamed[value.name]
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _read(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def _half(state: State) -> State:
    return {k: v.half().contiguous() if v.is_floating_point() else v.contiguous() for k, v in state.items()}


def _flat(groups: dict[str, State]) -> State:
    return {f"{group}.{name}": tensor for group, state in groups.items() for name, tensor in state.items()}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _yaml() -> str:
    """Stable Diffusion 1.x's ldm configuration with the narrow sizes."""
    import yaml

    unet = {
        "image_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 64,
        "attention_resolutions": [4, 2, 1],
        "num_res_blocks": 2,
        "channel_mult": [1, 1, 2, 1],
        "num_heads": 4,
        "use_spatial_transformer": True,
        "transformer_depth": 1,
        "context_dim": 64,
        "use_checkpoint": False,
        "legacy": False,
    }
    autoencoder = {
        "double_z": True,
        "z_channels": 4,
        "resolution": 128,
        "in_channels": 3,
        "out_ch": 3,
        "ch": WIDTHS[0],
        "ch_mult": list(multiples(WIDTHS)),
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    params = {
        "linear_start": 0.00085,
        "linear_end": 0.0120,
        "num_timesteps_cond": 1,
        "log_every_t": 200,
        "timesteps": 1000,
        "first_stage_key": "jpg",
        "cond_stage_key": "txt",
        "image_size": 16,
        "channels": 4,
        "cond_stage_trainable": False,
        "conditioning_key": "crossattn",
        "monitor": "val/loss_simple_ema",
        "scale_factor": SCALE_FACTOR,
        "use_ema": False,
        "unet_config": {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel", "params": unet},
        "first_stage_config": {
            "target": "ldm.models.autoencoder.AutoencoderKL",
            "params": {
                "embed_dim": 4,
                "monitor": "val/rec_loss",
                "ddconfig": autoencoder,
                "lossconfig": {"target": "torch.nn.Identity"},
            },
        },
        "cond_stage_config": {
            "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
            # A1111 hands it to transformers, for which a folder is relative to the WebUI's own.
            "params": {"version": f"models/Stable-diffusion/{BASE}-text"},
        },
    }
    target = "ldm.models.diffusion.ddpm.LatentDiffusion"
    return yaml.safe_dump({"model": {"target": target, "params": params}}, sort_keys=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trained", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--models", type=Path, default=MODELS)
    arguments = parser.parse_args()
    assemble(arguments.trained, arguments.models)
