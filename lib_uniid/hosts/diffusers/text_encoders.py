"""The text models of a base family as one encoder of prompts.

Equal to ``encode_prompt`` of diffusers' ``StableDiffusionPipeline`` and ``StableDiffusionXLPipeline``. An
empty negative prompt is encoded as any other; where there is a pooled text, AUTOMATIC1111 and Forge give
zeros for it.
"""

import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lib_uniid.attention.context import words_kept
from lib_uniid.bases import TextEncoder
from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.hosts.diffusers.ldm_text import TextModel
from lib_uniid.hosts.diffusers.tokenizer import clip_tokenizer
from lib_uniid.typing import Float, Int

SAMPLES = 16
"""Values of each tensor from which a text model is known again."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedText:
    """One row per prompt: the text models' states joined on the channels, and what is pooled of them."""

    states: Float[Tensor, "b t d"]
    pooled: Float[Tensor, "b p"] | None


class DiffusersTextEncoders:
    """transformers' text models with the settings of a base family; they share CLIP's tokenizer.

    Raises:
        CheckpointMismatchError: a text model has fewer tokens than the tokenizer.
    """

    def __init__(self, models: Sequence[TextModel], encoders: Sequence[TextEncoder]) -> None:
        self.models, self.encoders = tuple(models), tuple(encoders)
        self._tokenizer = clip_tokenizer()
        for model in self.models:
            known = len(_table(model).weight)
            if known < len(self._tokenizer):
                raise CheckpointMismatchError(
                    f"a text model has {known} tokens, CLIP's tokenizer has {len(self._tokenizer)}; "
                    "give a checkpoint with CLIP's vocabulary"
                )

    def overlong(self, prompt: str, tokens: int = 0) -> str:
        """The end of ``prompt`` that is beyond the text models' limit; empty if all of it fits.

        ``tokens`` of identities are put among those of the prompt.
        """
        last = 1 + words_kept(tokens)  # the first position that is lost, after that of the begin token
        offsets = self._tokenizer(prompt, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        return prompt[offsets[last][0] :] if len(offsets) > last + 1 else ""

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> EncodedText:
        """One row per prompt; equal prompts are encoded once."""
        distinct = list(dict.fromkeys(prompts))
        rows = [distinct.index(prompt) for prompt in prompts]
        states: list[Tensor] = []
        pooled: list[Tensor] = []
        for model, encoder in zip(self.models, self.encoders, strict=True):
            output = self._run(model, self._tokens(distinct, encoder))
            states.append(
                output.hidden_states[-1 - encoder.skipped] if encoder.skipped else output.last_hidden_state
            )
            if encoder.pooled:
                pooled.append(output.text_embeds)
        return EncodedText(
            states=torch.cat(states, dim=-1)[rows], pooled=torch.cat(pooled, dim=-1)[rows] if pooled else None
        )

    @property
    def key(self) -> str:
        """The same for text models of the same weights; it is made of a few values of every tensor."""
        digest = hashlib.sha256()
        for model in self.models:
            samples = [_sample(tensor) for tensor in model.parameters()]
            digest.update(torch.cat(samples).cpu().numpy().tobytes())
        return digest.hexdigest()

    def table(self, number: int) -> Float[Tensor, "v d"]:
        """The token embeddings of a text model."""
        return _table(self.models[number]).weight.detach()

    @torch.no_grad()
    def penultimate(self, number: int, embeddings: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
        """The states before the last layer, without norm, at these embeddings between begin and end token."""
        model, encoder, count = self.models[number], self.encoders[number], len(embeddings)
        (tokens,) = self._tokens([""], encoder).tolist()
        begin, end, *padding = tokens
        sequence = [begin, *(0,) * count, end, *padding[: len(padding) - count]]

        def put(_module: nn.Module, _inputs: Any, embedded: Tensor) -> Tensor:
            return torch.cat(
                [embedded[:, :1], embeddings.to(embedded)[None], embedded[:, 1 + count :]], dim=1
            )

        with _changed(_table(model), put):
            output = self._run(model, torch.tensor([sequence]))
        return output.hidden_states[-2][0, 1 : 1 + count]

    def _run(self, model: TextModel, tokens: Int[Tensor, "b t"]) -> Any:
        return model(tokens.to(_table(model).weight.device), output_hidden_states=True)

    def _tokens(self, prompts: list[str], encoder: TextEncoder) -> Int[Tensor, "b t"]:
        found = self._tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt")
        if encoder.padding is None:
            return found["input_ids"]
        return found["input_ids"].masked_fill(found["attention_mask"] == 0, encoder.padding)


def _table(model: TextModel) -> nn.Embedding:
    table = model.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    return table


def _sample(tensor: Tensor) -> Float[Tensor, " n"]:
    values = tensor.detach().flatten()
    return values[:: max(1, len(values) // SAMPLES)][:SAMPLES].float()


@contextmanager
def _changed(module: nn.Module, change: Callable[[nn.Module, Any, Tensor], Tensor]) -> Generator[None]:
    """Inside, the module's output is what ``change`` makes of it."""
    hook = module.register_forward_hook(change)
    try:
        yield
    finally:
        hook.remove()
