"""The SDXL miniature's files in the published layouts.

What is kept in the repository is compact: the text models have the words that they know, and the autoencoder
is that of Stable Diffusion 1.5's miniature. :func:`complete` makes a checkpoint of it that every host loads.
"""

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib_uniid.files import replacing
from lib_uniid.methods.uniid.formats.router import MODULES as ROUTER_MODULES
from miniature import MODELS, TRAINED, sgm
from miniature.assemble import describe, rescaled
from miniature.ldm_layout import sdxl_state
from miniature.recipes.kept import kept_result
from miniature.recipes.vae import WIDTHS, new_vae
from miniature.sdxl.networks import LATENT, LAYERS, TEXT_WIDTHS, TIME_WIDTH, WIDTH, Base, ClipText, vocabulary
from miniature.sdxl.pictures import LATENT_SCALE
from miniature.sdxl.results import exists, load, save
from miniature.widening import multiples, widened

NAME = "uniid-miniature-xl"
COMPACT = TRAINED / "sdxl" / "base.safetensors"
ROUTER = "uniid-router_sdxl.safetensors"
HEADS, TEXT_HEADS = 4, tuple(width // 16 for width in TEXT_WIDTHS)

State = dict[str, Tensor]


def keep(results: Path, folder: Path = MODELS / "uniid", compact: Path = COMPACT) -> None:
    """Write the compact checkpoint and UniID's files from the recipes' results.

    Without a router in the results there is none in ``folder``: it would be of another base.
    """
    base = load(results, "base")
    save_file({k: v.half().contiguous() for k, v in base.items() if k.startswith(("unet.", "text"))}, compact)
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
    if exists(results, "router"):
        router = {f"{ROUTER_MODULES}{name}": v for name, v in load(results, "router").items()}
        save_file(_half(router), folder / ROUTER)
    else:
        (folder / ROUTER).unlink(missing_ok=True)


def unpack(out: Path, folder: Path = MODELS / "uniid", compact: Path = COMPACT) -> None:
    """Write results from what :func:`keep` wrote. The base has no names and faces of exact traits then."""
    out.mkdir(parents=True, exist_ok=True)
    save(load_file(compact), out, "base")
    save(load_file(folder / "iresnet100.safetensors"), out, "recogniser")
    save(load_file(folder / "uniid-text_branch_sdxl.safetensors"), out, "text_branch")
    adapter = load_file(folder / "uniid-adapter_branch_sdxl.safetensors")
    modules = "adapter_modules."
    save(
        {
            f"projections.{k.removeprefix(modules)}" if k.startswith(modules) else f"branch.{k}": v
            for k, v in adapter.items()
        },
        out,
        "adapter_branch",
    )


def complete(folder: Path = MODELS / "Stable-diffusion") -> Path:
    """The whole checkpoint with its configuration in ``folder``, made anew where what is kept is newer."""
    path = folder / f"{NAME}.safetensors"
    if not path.exists() or path.stat().st_mtime < COMPACT.stat().st_mtime:
        folder.mkdir(parents=True, exist_ok=True)
        sgm.write_settings(folder, NAME, _sizes(), "models/Stable-diffusion/")
        with replacing(path) as temporary:
            save_file(checkpoint(load_file(COMPACT)), temporary)
    return path


def checkpoint(kept: State) -> State:
    """The compact checkpoint in the original layout."""
    base = Base()
    parts = {"unet": base.unet, "text": base.text, "text_2": base.text_2}
    for name, module in parts.items():
        prefix = f"{name}."
        module.load_state_dict(
            {k.removeprefix(prefix): v.float() for k, v in kept.items() if k.startswith(prefix)}
        )
    vae, trained = new_vae(_vae_widths()), kept_result("vae")
    assert trained is not None
    scaled = rescaled({k: v.float() for k, v in trained.items()}, LATENT_SCALE / sgm.SCALE_FACTOR)
    vae.load_state_dict(widened(scaled, WIDTHS))
    return sdxl_state(base.unet, vae, _whole(base.text), _whole(base.text_2))


def _whole(text: ClipText) -> ClipText:
    """The same text model with rows for all words; the unknown ones are zero."""
    table = text.table.new_zeros(sgm.WORDS, text.table.shape[1])
    table[list(vocabulary())] = text.table.detach()
    text.embeddings.token_embedding = nn.Embedding.from_pretrained(table)
    return text


def _half(state: State) -> State:
    return {k: v.half().contiguous() if v.is_floating_point() else v.contiguous() for k, v in state.items()}


def _vae_widths() -> tuple[int, ...]:
    return tuple(WIDTHS[0] * multiple for multiple in multiples(WIDTHS))


def _sizes() -> sgm.Sizes:
    """Of the checkpoint that :func:`complete` makes."""
    first, second = (
        sgm.TextSizes(width=width, heads=heads, layers=LAYERS, inner=4 * width)
        for width, heads in zip(TEXT_WIDTHS, TEXT_HEADS, strict=True)
    )
    return sgm.Sizes(
        unet=WIDTH,
        head=WIDTH // HEADS,
        time=TIME_WIDTH,
        pooled=second.width,
        latent=LATENT,
        texts=(first, second),
        vae=_vae_widths(),
    )


if __name__ == "__main__":
    import sys

    keep(Path(sys.argv[1]))
    complete()
    describe(MODELS)
