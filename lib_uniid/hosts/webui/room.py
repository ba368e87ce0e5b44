"""The words of a prompt that make room for the text tokens of identities."""

from collections.abc import Sequence
from typing import Any

from lib_uniid.attention.context import words_kept
from lib_uniid.hosts.webui.own_words import prompt_parts


def notes_on_room(p: Any, tokens: int) -> list[str]:
    """A sentence if ``tokens`` of identities push words out of the first chunk of some prompt of the batch.

    Without a sentence where the host's tokenizer is unknown.
    """
    counts = _first_counts(p) if tokens else []
    kept, most = words_kept(tokens), max(counts, default=0)
    if most <= kept:
        return []
    which = f"token {most}" if most == kept + 1 else f"tokens {kept + 1} to {most}"
    return [
        f"{which} of the prompt made room for {tokens} tokens of identities and had no effect; shorten the "
        "prompt, or put BREAK before these words"
    ]


def _first_counts(p: Any) -> list[int]:
    """Tokens of words in the first chunk of each text of the prompts."""
    engine = _engine(p)
    if engine is None:
        return []
    texts = [part for parts in prompt_parts(p) for part in parts]
    prompts, _ = engine.process_texts([*dict.fromkeys(texts)])
    return [_words(chunks[0].tokens) for chunks in prompts]


def _engine(p: Any) -> Any:
    """What splits a text into chunks: in AUTOMATIC1111, in Forge with two text encoders and with one."""
    names = ("cond_stage_model", "text_processing_engine_l", "text_processing_engine")
    found = (getattr(p.sd_model, name, None) for name in names)
    return next((one for one in found if hasattr(one, "process_texts")), None)


def _words(tokens: Sequence[int]) -> int:
    """Those between the token of the begin and the first of the end, which is also the last."""
    return tokens.index(tokens[-1]) - 1
