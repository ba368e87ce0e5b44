"""Which requests the page answers, and which files remain."""

import asyncio
import os
import stat
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lib_uniid.errors import ConfigError
from lib_uniid.faces.picture import MAX_BYTES
from lib_uniid.ui.guard import Guard, TooLarge, login, private_temporary_folder, require_apart
from tests.standalone import needs_standalone_page
from tests.ui.browser import served

ANNA = "uniid/library"


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def address(webui_models: Path, temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    out = tmp_path_factory.mktemp("out")
    (out / "00001-7.png").write_bytes(b"of an earlier page")
    arguments = ["serve", "--models", str(webui_models), "--out", str(out), "--device", "cpu"]
    with served(sys.executable, "lib_uniid.cli", *arguments, TMPDIR=str(temporary)) as address:
        yield address
    assert [*temporary.iterdir()] == []


def uploaded(address: str, data: bytes, **headers: str) -> httpx.Response:
    files = {"files": ("anna.png", data)}
    return httpx.post(f"{address}/gradio_api/upload", files=files, headers=headers, timeout=60)


@needs_standalone_page
@pytest.mark.slow
class TestServed:
    @pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info"])
    def test_a_host_name_that_is_not_this_machines_is_refused(self, address: str, path: str):
        port = address.rpartition(":")[2]
        assert httpx.get(address + path).status_code == 200
        assert httpx.get(address + path, headers={"Host": f"localhost:{port}"}).status_code == 200
        assert httpx.get(address + path, headers={"Host": f"evil.example:{port}"}).status_code == 400

    @pytest.mark.parametrize(
        "origin", ["null", "http://evil.example", "http://127.0.0.1:1", "http://localhost"]
    )
    def test_changes_from_another_origin_are_refused(self, address: str, origin: str):
        assert uploaded(address, b"one", Origin=address).status_code == 200
        assert uploaded(address, b"one", Origin=origin).status_code == 403
        joined = httpx.post(f"{address}/gradio_api/queue/join", json={}, headers={"Origin": origin})
        assert joined.status_code == 403

    def test_no_other_page_shows_it_in_a_frame(self, address: str):
        headers = httpx.get(address).headers
        assert headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]

    def test_an_upload_beyond_its_limit_is_refused_while_it_arrives(self, address: str, temporary: Path):
        (folder,) = temporary.glob("uniid-page-*")
        before = {*folder.rglob("*")}
        assert uploaded(address, bytes(MAX_BYTES + 1)).status_code == 413
        assert {*folder.rglob("*")} == before

    def test_uploads_are_for_this_user_alone(self, address: str, temporary: Path):
        (path,) = uploaded(address, b"a face").json()
        (folder,) = temporary.glob("uniid-page-*")
        assert Path(path).is_relative_to(folder.resolve())
        for one in (Path(path), *Path(path).parents):
            if one == temporary.resolve():
                break
            assert stat.S_IMODE(one.stat().st_mode) & 0o077 == 0, one

    def test_only_what_was_shown_is_served(self, address: str, temporary: Path, webui_models: Path):
        library = next((webui_models / "uniid" / "library").glob("*.safetensors"))
        earlier = next(temporary.parent.glob("out*/00001-7.png"))
        for path in (library, earlier, Path("/etc/hostname")):
            assert httpx.get(f"{address}/gradio_api/file={path}").status_code in {403, 404}


@needs_standalone_page
@pytest.mark.slow
def test_with_auth_nothing_is_answered_before_the_password(webui_models: Path, tmp_path: Path):
    arguments = ["serve", "--models", str(webui_models), "--out", str(tmp_path / "out"), "--device", "cpu"]
    with (
        served(sys.executable, "lib_uniid.cli", *arguments, UNIID_AUTH="me:secret:2") as address,
        httpx.Client(base_url=address) as client,
    ):
        for path in ("/config", "/gradio_api/info"):
            assert client.get(path).status_code == 401
        assert uploaded(address, b"one").status_code == 401
        assert client.post("/login", data={"username": "me", "password": "no"}).status_code == 400
        assert client.post("/login", data={"username": "me", "password": "secret:2"}).status_code == 200
        assert client.get("/config").status_code == 200


@pytest.mark.parametrize("text", ["me", "me:", ":secret", ":"])
def test_a_login_needs_a_name_and_a_password(text: str):
    with pytest.raises(ConfigError, match="--auth must be NAME:PASSWORD"):
        login(text)
    assert login("me:a:b") == ("me", "a:b")
    assert login(None) is None


def test_an_output_folder_above_the_models_or_the_library_is_refused(tmp_path: Path):
    models = tmp_path / "models"
    for out in (tmp_path, models, models / "uniid", models / "uniid" / "library", tmp_path / "x" / ".."):
        with pytest.raises(ConfigError, match="choose another folder"):
            require_apart(out, models)
    require_apart(tmp_path / "out", models)


def test_a_body_is_cut_at_its_limit(monkeypatch: pytest.MonkeyPatch):
    read: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            read.append(len((await receive())["body"]))

    async def receive() -> Any:
        return {"type": "http.request", "body": bytes(2**20), "more_body": True}

    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    scope = {"type": "http", "method": "POST", "path": "/gradio_api/queue/join", "headers": []}
    try:
        asyncio.run(Guard(app)(scope, receive, send))
    except TooLarge:
        pytest.fail("an oversized body is answered")
    assert said[0]["status"] == 413
    assert sum(read) == 16 * 2**20


def test_the_temporary_folder_ends_with_the_page_and_a_killed_pages_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed = tmp_path / "uniid-page-0-killed"
    killed.mkdir()
    (killed / "face.png").write_bytes(b"x")
    mask = os.umask(0o022)
    try:
        with private_temporary_folder() as folder:
            assert not killed.exists()
            (folder / "face.png").write_bytes(b"x")
            assert stat.S_IMODE((folder / "face.png").stat().st_mode) == 0o600
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            with private_temporary_folder() as other:  # another page beside leaves it alone
                assert folder.exists()
                assert other != folder
        assert [*tmp_path.iterdir()] == []
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(mask)
