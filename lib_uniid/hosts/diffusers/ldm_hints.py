"""What the tensors of a checkpoint in the original layout do not show, from the ``.yaml`` beside it.

AUTOMATIC1111 reads the same file. It has the sections of ldm, or of sgm where there are two text models.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lib_uniid import json_text
from lib_uniid.bases import STANDALONE, Base, titles
from lib_uniid.errors import UnknownCheckpointError

Value = TypeVar("Value", int, float, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextHints:
    """The settings of one text model; None takes the value of the base family."""

    heads: int | None = None
    activation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """The settings of a checkpoint; None takes the value of the base family.

    Attributes:
        head_width: channels of a head of the UNet's attention; it goes before ``unet_heads``.
    """

    unet_heads: int | tuple[int, ...] | None = None
    head_width: int | None = None
    texts: tuple[TextHints, ...] = ()
    latent_scale: float | None = None
    latent_side: int | None = None
    prediction: str = "epsilon"

    def completed(self, base: Base) -> "Hints":
        """Every value but ``head_width``; more text models than the family has are left out."""
        given = (*self.texts, *(TextHints(),) * len(base.text_encoders))
        return replace(
            self,
            unet_heads=self.unet_heads or base.unet_heads,
            texts=tuple(
                TextHints(heads=ours.heads or theirs.heads, activation=ours.activation or theirs.activation)
                for ours, theirs in zip(given, base.text_encoders, strict=False)
            ),
            latent_scale=self.latent_scale or base.latent_scale,
            latent_side=self.latent_side or base.latent_side,
        )


def hints_beside(checkpoint: Path) -> Hints:
    """Read the ``.yaml`` of the same name; without one, the values of the base family."""
    path = checkpoint.with_suffix(".yaml")
    if not path.is_file():
        return Hints()
    try:
        model = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]
        return _hints(model, path.parent)
    except (yaml.YAMLError, LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise UnknownCheckpointError(
            f"{path.name} is not an ldm or sgm configuration ({type(error).__name__}: {error}); "
            f"repair it, or remove it if the checkpoint is an ordinary {titles(STANDALONE)} model"
        ) from error


def _hints(model: Mapping[str, Any], folder: Path) -> Hints:
    params = model["params"]
    unet = params["network_config" if "network_config" in params else "unet_config"]["params"]
    head_width = _given(int, unet.get("num_head_channels"))
    return Hints(
        unet_heads=_given(int, unet.get("num_heads")),
        head_width=head_width if head_width and head_width > 0 else None,  # ldm writes -1 for none
        texts=tuple(_text_hints(params, folder)),
        latent_scale=_given(float, params.get("scale_factor")),
        # sgm has no place for it and refuses an unknown parameter, so there it stands beside the parameters
        latent_side=_given(int, params.get("image_size", model.get("image_size"))),
        prediction="v_prediction" if _predicts_velocity(params) else "epsilon",
    )


def _predicts_velocity(params: Mapping[str, Any]) -> bool:
    denoiser = params.get("denoiser_config", {}).get("params", {}).get("scaling_config", {})
    return params.get("parameterization") == "v" or denoiser.get("target", "").endswith(".VScaling")


def _text_hints(params: Mapping[str, Any], folder: Path) -> list[TextHints]:
    """Of each text model, in their order."""
    if "conditioner_config" in params:
        models = params["conditioner_config"]["params"]["emb_models"]
    else:
        models = [params.get("cond_stage_config", {})]
    found: list[TextHints] = []
    for model in models:
        given = model.get("params", {})
        config = _transformers_config(given.get("version"), folder) or _open_clip_config(
            given.get("arch"), folder
        )
        found.append(
            TextHints(
                heads=_given(int, config.get("num_attention_heads")),
                activation=_given(str, config.get("hidden_act")),
            )
        )
    return found


def _transformers_config(version: object, folder: Path) -> dict[str, Any]:
    """The text model's config.json if ``version`` names a folder (ldm passes it on), else empty.

    A WebUI resolves such a folder from its working directory; here it is searched beside the checkpoint.
    """
    name = str(version)
    folders = (folder / name, folder / Path(name).name)
    paths = [one / "config.json" for one in folders if (one / "config.json").is_file()]
    if version is None or not paths:
        return {}
    config = json_text.read(paths[0])
    return config.get("text_config", config)


def _open_clip_config(arch: object, folder: Path) -> dict[str, Any]:
    """The heads from open_clip's configuration, if a file beside the checkpoint has the name of ``arch``."""
    path = folder / f"{Path(str(arch)).name}.json"
    if arch is None or not path.is_file():
        return {}
    return {"num_attention_heads": json_text.read(path)["text_cfg"].get("heads")}


def _given(kind: type[Value], value: Any) -> Value | None:
    return None if value is None else kind(value)
