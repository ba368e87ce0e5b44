"""The prompts of a batch, for people with words of their own."""

import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from lib_uniid.config import PersonSettings
from lib_uniid.errors import ConfigError

AND = re.compile(r"\bAND\b")
WEIGHT = re.compile(r":\s*[-+]?(\d+\.?\d*|\.\d+)\s*$")
"""The weight at the end of one of several prompts that are joined by AND."""

NETWORK = re.compile(r"<\w[\w-]*:[^<>]*>")
"""How a prompt names a network to load, such as a LoRA."""


def prompts_of(p: Any, people: Sequence[PersonSettings]) -> tuple[str, ...]:
    """What the pictures of a batch show: one prompt if it is the same for all, else one for each picture.

    Of prompts that change with the steps it is the one of the first step, of prompts joined by AND the first.
    Empty if no person has words of their own. ``ConfigError`` for words that would load a network, and for
    pictures with different prompts joined by AND.
    """
    for person in people:
        if found := NETWORK.search(person.prompt):
            raise ConfigError(
                f"{person.name}: own words cannot load a network: put {found[0]} into the prompt",
                field="prompt",
            )
    if not any(person.prompt.strip() for person in people):
        return ()
    first = prompt_parts(p)
    if len(set(map(tuple, first))) > 1 and any(len(parts) > 1 for parts in first):
        raise ConfigError(
            "own words do not go with prompts joined by AND that differ from picture to picture; give all "
            "pictures of a batch the same prompt, or set the batch size to 1",
            field="prompt",
        )
    prompts = tuple(WEIGHT.sub("", parts[0]).strip() if len(parts) > 1 else parts[0] for parts in first)
    return prompts[:1] if len(set(prompts)) == 1 else prompts


def prompt_parts(p: Any) -> list[list[str]]:
    """The prompt of each picture of the batch at the first step, in the parts that AND joins."""
    prompts = (getattr(p, "hr_prompts", None) if p.is_hr_pass else None) or p.prompts
    parser = import_module("modules.prompt_parser")
    schedules = parser.get_learned_conditioning_prompt_schedules(prompts, p.steps)
    return [AND.split(schedule[0][1]) for schedule in schedules]
