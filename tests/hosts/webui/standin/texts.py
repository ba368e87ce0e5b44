"""The text encoders of an SDXL checkpoint as the hosts have them, and conditionings as they pass them on."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from lib_uniid.hosts.diffusers.tokenizer import clip_tokenizer
from tests import narrow_xl

WORDS = 75
"""Tokens of a chunk between those of begin and end."""


class Conditioning(dict[str, Tensor]):
    """``crossattn`` and ``vector``, for a text or for rows; the hosts' ``DictWithShape``."""

    @property
    def shape(self) -> torch.Size:
        return self["crossattn"].shape


Cond = Tensor | Conditioning


def stack(conds: Sequence[Cond]) -> Any:
    """Rows of texts."""
    return _joined(torch.stack, conds)


def cat(conds: Sequence[Cond]) -> Any:
    """Rows after rows."""
    return _joined(torch.cat, conds)


def rows(cond: Any, place: slice) -> Any:
    """Some of the rows."""
    return Conditioning({k: v[place] for k, v in cond.items()}) if isinstance(cond, dict) else cond[place]


def repeated(cond: Any, times: int) -> Any:
    """Every row's tokens so many times, one after another."""
    if isinstance(cond, dict):
        return Conditioning({**cond, "crossattn": cond["crossattn"].repeat(1, times, 1)})
    return cond.repeat(1, times, 1)


def keywords(cond: Any) -> dict[str, Tensor]:
    """As the UNet is called with them."""
    if isinstance(cond, dict):
        return {"context": cond["crossattn"], "y": cond["vector"]}
    return {"context": cond}


def _joined(join: Any, conds: Sequence[Any]) -> Any:
    if isinstance(conds[0], dict):
        return Conditioning({name: join([cond[name] for cond in conds]) for name in conds[0]})
    return join(list(conds))


class Table(nn.Module):
    """A table of token embeddings wrapped for textual inversion; Forge's wrapper has the weight, too."""

    def __init__(self, wrapped: nn.Embedding, own: bool) -> None:
        super().__init__()
        self.wrapped = wrapped
        if own:
            self.weight = wrapped.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.wrapped(tokens)


class Encoder(nn.Module):
    """A text model behind a table."""

    def __init__(self, model: CLIPTextModel | CLIPTextModelWithProjection, own: bool) -> None:
        super().__init__()
        self.transformer = model
        holder: Any = next(one for one in model.modules() if hasattr(one, "token_embedding"))
        holder.token_embedding = Table(holder.token_embedding, own)


class XLTexts(nn.Module):
    """Both text encoders; an empty negative prompt is encoded as zeros where ``zeroing``."""

    def __init__(self, own_weights: bool = False, zeroing: bool = True) -> None:
        super().__init__()
        models = (narrow_xl.narrow_text_model(), narrow_xl.narrow_text_model_2())
        self.embedders = nn.ModuleList(Encoder(model, own_weights) for model in models)
        self.requires_grad_(False)
        self.zeroing, self.encoded = zeroing, 0

    def conditioning(self, prompts: list[str], negative: bool = False) -> Conditioning:
        """Of prompts whose texts have as many chunks as the longest."""
        self.encoded += 1
        tokens = [
            clip_tokenizer()(one, add_special_tokens=False, verbose=False)["input_ids"] for one in prompts
        ]
        chunks = max(1, *(-(-len(one) // WORDS) for one in tokens))
        parts = [self._chunk([one[n * WORDS : (n + 1) * WORDS] for one in tokens]) for n in range(chunks)]
        states, pooled = torch.cat([part[0] for part in parts], dim=1), parts[0][1]
        if negative and self.zeroing and not any(prompts):
            states, pooled = torch.zeros_like(states), torch.zeros_like(pooled)
        return Conditioning(crossattn=states, vector=pooled)

    def process_texts(self, texts: list[str]) -> tuple[list[list[Any]], int]:
        """Each text's chunks."""
        begin, end = 49406, 49407
        found: list[list[Any]] = []
        for text in texts:
            words = clip_tokenizer()(text, add_special_tokens=False)["input_ids"]
            parts = [words[n : n + WORDS] for n in range(0, max(1, len(words)), WORDS)]
            filled = [[begin, *part, *[end] * (WORDS + 1 - len(part))] for part in parts]
            found.append([SimpleNamespace(tokens=tokens) for tokens in filled])
        return found, max(len(chunks) for chunks in found) * WORDS

    def _chunk(self, words: list[list[int]]) -> tuple[Tensor, Tensor]:
        states: list[Tensor] = []
        pooled = torch.zeros(0)
        for encoder, padding in zip(self.embedders, (None, 0), strict=True):
            begin, end = 49406, 49407
            fill = end if padding is None else padding
            rows = [[begin, *one, end, *[fill] * (WORDS - len(one))] for one in words]
            output: Any = encoder.transformer(torch.tensor(rows), output_hidden_states=True)  # pyright: ignore[reportCallIssue]
            states.append(output.hidden_states[-2])
            pooled = output.text_embeds if padding == 0 else pooled
        return torch.cat(states, dim=-1), pooled
