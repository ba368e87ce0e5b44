"""The SDXL miniature's files in the published layouts.

What is kept in the repository is compact: the text models have the words that they know, and the autoencoder
is that of Stable Diffusion 1.5's miniature. :func:`complete` makes a checkpoint of it that every host loads.
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib_uniid.files import replacing
from miniature import MODELS, TRAINED
from miniature.assemble import rescaled
from miniature.ldm_layout import sdxl_state
from miniature.recipes.kept import kept_result
from miniature.recipes.vae import WIDTHS, new_vae
from miniature.sdxl.networks import LATENT, TEXT_WIDTHS, TIME_WIDTH, Base, vocabulary
from miniature.sdxl.pictures import LATENT_SCALE
from miniature.sdxl.results import load
from miniature.widening import multiples, widened

SCALE_FACTOR = 0.13025
NAME = "uniid-miniature-xl"
COMPACT = TRAINED / "sdxl.safetensors"
HEADS, TEXT_HEADS = 4, tuple(width // 16 for width in TEXT_WIDTHS)
WORDS, LENGTH = 49408, 77

State = dict[str, Tensor]


def keep(results: Path) -> None:
    """Write the compact checkpoint and UniID's files from the recipes' results."""
    base = load(results, "base")
    save_file({k: v.half().contiguous() for k, v in base.items() if k.startswith(("unet.", "text"))}, COMPACT)
    folder = MODELS / "uniid"
    save_file(_half(load(results, "recogniser")), folder / "iresnet100.safetensors")
    save_file(_half(load(results, "text_branch")), folder / "uniid-text_branch_sdxl.safetensors")
    both = load(results, "adapter_branch")
    adapter = {k.removeprefix("branch."): v for k, v in both.items() if k.startswith("branch.")}
    adapter |= {
        f"adapter_modules.{k.removeprefix('projections.')}": v
        for k, v in both.items()
        if k.startswith("projections.")
    }
    save_file(_half(adapter), folder / "uniid-adapter_branch_sdxl.safetensors")


def complete(folder: Path = MODELS / "Stable-diffusion") -> Path:
    """The whole checkpoint with its configuration in ``folder``, made of what is kept."""
    path = folder / f"{NAME}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write_configuration(folder)
        with replacing(path) as temporary:
            save_file(checkpoint(load_file(COMPACT)), temporary)
    return path


def checkpoint(kept: State) -> State:
    """The compact checkpoint in the original layout."""
    base = Base()
    base.load_state_dict({k: v.float() for k, v in kept.items()}, strict=False)
    vae, trained = new_vae(tuple(WIDTHS[0] * multiple for multiple in multiples(WIDTHS))), kept_result("vae")
    assert trained is not None
    scaled = rescaled({k: v.float() for k, v in trained.items()}, LATENT_SCALE / SCALE_FACTOR)
    vae.load_state_dict(widened(scaled, WIDTHS))
    return sdxl_state(base.unet, vae, _whole(base.text), _whole(base.text_2))


class _Named(nn.Module):
    """A state dict with the interface of a module."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.state = state

    def state_dict(self, *_: Any, **__: Any) -> State:  # type: ignore[override]
        return self.state


def _whole(text: nn.Module) -> _Named:
    """A text model with rows for all words; the unknown ones are zero."""
    state = dict(text.state_dict())
    known = state["embeddings.token_embedding.weight"]
    table = known.new_zeros(WORDS, known.shape[1])
    table[list(vocabulary())] = known
    return _Named(state | {"embeddings.token_embedding.weight": table})


def _half(state: State) -> State:
    return {k: v.half().contiguous() if v.is_floating_point() else v.contiguous() for k, v in state.items()}


def _write_configuration(folder: Path) -> None:
    import yaml

    first, second = TEXT_WIDTHS
    config = {
        "model_type": "clip_text_model",
        "hidden_size": first,
        "intermediate_size": 4 * first,
        "num_attention_heads": TEXT_HEADS[0],
        "num_hidden_layers": 3,
        "hidden_act": "quick_gelu",
        "vocab_size": WORDS,
    }
    text = folder / f"{NAME}-text"
    text.mkdir(exist_ok=True)
    (text / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    open_clip = {
        "embed_dim": second,
        "text_cfg": {
            "context_length": LENGTH,
            "vocab_size": WORDS,
            "width": second,
            "heads": TEXT_HEADS[1],
            "layers": 3,
        },
    }
    (folder / f"{NAME}-text-2.json").write_text(json.dumps(open_clip, indent=2) + "\n", encoding="utf-8")
    params = {
        "scale_factor": SCALE_FACTOR,
        "network_config": {"params": {"num_heads": HEADS}},
        "conditioner_config": {
            "params": {
                "emb_models": [
                    {"params": {"version": f"models/Stable-diffusion/{NAME}-text"}},
                    {"params": {"arch": f"{NAME}-text-2"}},
                    {"params": {"outdim": TIME_WIDTH}},
                ]
            }
        },
    }
    written = yaml.safe_dump({"model": {"image_size": LATENT, "params": params}}, sort_keys=False)
    (folder / f"{NAME}.yaml").write_text(written, encoding="utf-8")


if __name__ == "__main__":
    import sys

    keep(Path(sys.argv[1]))
    complete()
