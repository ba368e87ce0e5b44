"""The host's API: how what a client sends becomes the arguments of scripts, and what comes back.

Loaded under the name that the module has in the hosts, as scripts may look for its functions in the stack.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

from tests.hosts.webui.standin.processing import Processed, parse_infotext, process_images


class HTTPException(Exception):  # noqa: N818, fastapi's own name has no suffix either
    """Answered with this status and detail."""

    def __init__(self, status_code: int, detail: str) -> None:
        self.status_code, self.detail = status_code, detail
        super().__init__(detail)


@dataclass
class Request:
    """A request to txt2img or img2img; all other fields are those of the processing object."""

    alwayson_scripts: dict[str, Any] = field(default_factory=dict[str, Any])
    script_name: str | None = None
    script_args: list[Any] = field(default_factory=list[Any])
    infotext: str | None = None
    values: dict[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, payload: dict[str, Any]) -> "Request":
        """As pydantic would check it."""
        if not isinstance(payload.get("alwayson_scripts", {}), dict):
            raise HTTPException(422, "alwayson_scripts: value is not a valid dict")
        own = {name: payload[name] for name in payload if name in cls.__dataclass_fields__}
        return cls(**own, values={name: one for name, one in payload.items() if name not in own})


def init_script_args(
    request: Request, defaults: list[Any], runner: Any, mentioned: dict[int, Any]
) -> list[Any]:
    """Arguments of all scripts: what is at rest, then what an infotext says, then what is sent."""
    script_args = defaults.copy()
    for index, value in mentioned.items():
        script_args[index] = value
    if request.script_name:
        number, selected = runner.selectable(request.script_name)
        script_args[selected.args_from : selected.args_from + len(request.script_args)] = request.script_args
        script_args[0] = number
    for name in request.alwayson_scripts:
        script = runner.titled(name)
        if script is None:
            raise HTTPException(422, f"always on script {name} not found")
        if "args" in request.alwayson_scripts[name]:
            given = request.alwayson_scripts[name]["args"]
            for idx in range(0, min(script.args_to - script.args_from, len(given))):
                script_args[script.args_from + idx] = given[idx]
    return script_args


def apply_infotext(request: Request, webui: Any, tab: str) -> dict[int, Any]:
    """Values of arguments by their place; None leaves one alone."""
    mentioned: dict[int, Any] = {}
    if not request.infotext:
        return mentioned
    parameters, components = parse_infotext(request.infotext), webui.components(tab)
    for component, read in webui.runners[tab].scripts[0].infotext_fields:
        value = read(parameters) if callable(read) else parameters.get(read)
        if value is not None and component.value is not None:
            place = next(n for n, one in enumerate(components) if one is component)
            mentioned[webui.first + place] = type(component.value)(value)
    return mentioned


def text2imgapi(webui: Any, txt2imgreq: Request) -> tuple[Any, Processed]:
    """One generation, or one run of the script that is selected; also its processing object."""
    p = processing(webui, txt2imgreq)
    webui.state.job = "scripts_txt2img"
    try:
        processed = p.scripts.run_selected(p) or process_images(p)
    finally:
        webui.state.job = ""
    return p, processed


def processing(webui: Any, request: Request, tab: str = "txt2img") -> Any:
    """What the API makes of a request before anything runs."""
    runner = webui.runners[tab]
    mentioned = apply_infotext(request, webui, tab)
    script_args = init_script_args(request, webui.defaults[tab], runner, mentioned)
    p = webui.new_processing(scripts=runner, script_args=script_args, **copy.copy(request.values))
    p.is_api = True
    return p
