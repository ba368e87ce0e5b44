"""``docs/api.md``: its requests are allowed, its errors are raised, and its client works."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from lib_uniid.api.infotext import NOTES, RESULT
from lib_uniid.api.request import Request, from_arguments, parse_json
from lib_uniid.errors import ConfigError
from tests.docs.pages import blocks, rows, run

PAGE = "docs/api.md"
ADDRESS = "http://127.0.0.1:7860"
PICTURE = b"a picture"


def asked(body: str) -> Request:
    """The request for identities in the body of an API call."""
    (argument,) = json.loads(body)["alwayson_scripts"]["UniID"]["args"]
    request = from_arguments(argument, api=True)
    assert request
    return request


@pytest.mark.parametrize("page", [PAGE, "README.md"])
def test_every_curl_body_requests_people(page: str):
    bodies = re.findall(r"-d '(.+?)'", "\n".join(blocks(page, "bash")), re.DOTALL)
    assert [[person.name for person in asked(body).people] for body in bodies] == [["Anna", "Ben"]]


@pytest.mark.parametrize("example", blocks(PAGE, "json"))
def test_every_request_on_the_page_is_allowed(example: str):
    assert len(parse_json(example).people) == 2


@pytest.mark.parametrize(("request_", "message"), rows(PAGE, "request"))
def test_every_wrong_request_on_the_page_has_its_message(request_: str, message: str):
    with pytest.raises(ConfigError) as refused:
        parse_json(request_.strip("`"))
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("key", [NOTES, RESULT])
def test_the_keys_of_an_answer_are_on_the_page(key: str):
    assert f"`{key}`" in [cells[0] for cells in rows(PAGE, "key")]


class Answering(BaseHTTPRequestHandler):
    """Reads a request as a WebUI does, and answers in its form."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        found = [{"name": one.name, "face": 1, "similarity": 0.5} for one in asked(body).people]
        info = {"extra_generation_params": {RESULT: json.dumps([found])}}
        answer = {"images": [base64.b64encode(PICTURE).decode()], "info": json.dumps(info)}
        self.send_response(200 if self.path == "/sdapi/v1/txt2img" else 404)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, the base class's name
        """Tests print nothing."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_client_in_python_keeps_the_picture_and_reads_the_result(
    server: HTTPServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    (program,) = blocks(PAGE, "python")
    assert ADDRESS in program
    run(program.replace(ADDRESS, f"http://127.0.0.1:{server.server_port}"), tmp_path)
    assert (tmp_path / "park.png").read_bytes() == PICTURE
    assert '"name": "Ben", "face": 1' in capsys.readouterr().out
