"""However AUTOMATIC1111 computes a picture with people, it is the same within a grey level."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask, person
from tests.hosts.webui.genuine.pictures import apart

ONE = ask(person("Anna"))
# Without the router, for which a rounding error can decide to whom a place belongs.
BOTH = ask(person("Anna"), person("Ben", weight=0.5), routing="off")
LONG = "two friends, " + "snow, " * 90


@pytest.fixture(autouse=True)
def only_a1111(webui: Running) -> None:
    if webui.kind != "a1111":
        pytest.skip("Forge chooses by itself how attention is computed and which rows go together")


def test_attention_optimisations_agree(webui: Running, tell: Callable[[str], None]):
    names: list[str] = webui.api.get("/uniid-probe/optimizations").body
    assert len(names) >= 6
    plain = webui.api.txt2img().images[0]
    made: dict[str, list[str]] = {}
    for name in names:
        with webui.api.options(cross_attention_optimization=name):
            made[name] = [webui.api.txt2img(alwayson_scripts=who).images[0] for who in (ONE, BOTH)]
    first = made[names[0]]
    assert all(apart(picture, plain) > 1 for picture in first)
    furthest = {
        name: max(apart(*pair) for pair in zip(pictures, first, strict=True))
        for name, pictures in made.items()
    }
    tell(f"grey levels from {names[0]}: {furthest}")
    assert max(furthest.values()) <= 1


@pytest.mark.parametrize("padded", [False, True])
def test_batched_and_unbatched_guidance_agree(webui: Running, tell: Callable[[str], None], padded: bool):
    requests: dict[str, dict[str, Any]] = {
        "plain": {},
        "AND": {"prompt": "two friends AND a winter market", "batch_size": 2},
        "long": {"prompt": LONG, "batch_size": 2},
    }
    furthest: dict[str, int] = {}
    for name, values in requests.items():
        made: list[list[str]] = []
        for batched in (True, False):
            with webui.api.options(batch_cond_uncond=batched, pad_cond_uncond=padded):
                made.append(webui.api.txt2img(**values, alwayson_scripts=BOTH).images)
                plain = webui.api.txt2img(**values).images
            assert all(apart(*pair) > 1 for pair in zip(made[-1], plain, strict=True))
        furthest[name] = max(apart(*pair) for pair in zip(*made, strict=True))
    tell(f"grey levels between batched and unbatched, padded {padded}: {furthest}")
    assert max(furthest.values()) <= 1
