"""The host's HTTP, as a client uses it."""

import json
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

TIMEOUT = 300
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # loopback, whatever is set


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; ``body`` is the parsed JSON."""

    status: int
    body: Any

    @property
    def images(self) -> list[str]:
        """Pictures as the host sent them: PNG files in base64."""
        assert self.status == 200, self.body
        return self.body["images"]

    @property
    def info(self) -> dict[str, Any]:
        assert self.status == 200, self.body
        return json.loads(self.body["info"])

    @property
    def infotext(self) -> str:
        return self.info["infotexts"][0]

    @property
    def result(self) -> list[list[dict[str, Any]]]:
        """Who was found in each picture."""
        return json.loads(self.info["extra_generation_params"]["UniID result"])


class Api:
    """Requests to one running host."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Answer:
        return self._send(urllib.request.Request(self.address + path))

    def post(self, path: str, values: object) -> Answer:
        data, kind = json.dumps(values).encode(), {"Content-Type": "application/json"}
        return self._send(urllib.request.Request(self.address + path, data=data, headers=kind))

    def txt2img(self, **values: Any) -> Answer:
        return self.post("/sdapi/v1/txt2img", {**SMALL, **values})

    def img2img(self, **values: Any) -> Answer:
        return self.post("/sdapi/v1/img2img", {**SMALL, **values})

    @contextmanager
    def options(self, **values: Any) -> Generator[None]:
        """Settings for a while; a request's own ``override_settings`` would leave them as they are."""
        before = self.get("/sdapi/v1/options").body
        assert self.post("/sdapi/v1/options", values).status == 200
        try:
            yield
        finally:
            self.post("/sdapi/v1/options", {name: before[name] for name in values})

    def _send(self, request: urllib.request.Request) -> Answer:
        try:
            with _open(request, timeout=TIMEOUT) as answer:
                return Answer(status=answer.status, body=json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            try:
                body: Any = json.loads(text)
            except ValueError:
                body = text
            return Answer(status=error.code, body=body)


SMALL: dict[str, Any] = {
    "prompt": "two friends at a winter market",
    "seed": 7,
    "steps": 4,
    "width": 128,
    "height": 128,
    "cfg_scale": 5.0,
    "sampler_name": "Euler",
}
"""A picture that takes a moment, and always the same."""
