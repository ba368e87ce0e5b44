"""Fetching model files from a server on this machine that behaves as the hub does."""

import hashlib
import io
import zipfile
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lib_uniid.checkpoints import download
from lib_uniid.checkpoints.download import fetch
from lib_uniid.checkpoints.sources import Piece, Source, sources
from lib_uniid.errors import DownloadError
from tests.hub import Hub, running

DATA = bytes(range(256)) * 4096  # a megabyte


@pytest.fixture
def hub() -> Generator[Hub]:
    with running() as state:
        yield state


def source(**values: Any) -> Source:
    defaults: dict[str, Any] = {
        "name": "faceid",
        "purpose": "generates with one person",
        "repository": "someone/something",
        "path": "weights.bin",
        "placed": "uniid",
        "licence": "Apache-2.0",
        "pieces": (Piece(path="weights.bin", name="weights.bin"),),
    }
    return Source(**{**defaults, **values})


def get(hub: Any, root: Path, what: Source, **values: Any) -> list[Path]:
    return fetch(what, root, environment={"HF_ENDPOINT": hub.address + "/"}, **values)


ADDRESS = "/someone/something/resolve/main/weights.bin"


def test_a_file_comes_from_the_mirror_into_its_folder_and_is_not_fetched_twice(hub: Hub, tmp_path: Path):
    hub.files[ADDRESS] = DATA
    seen: list[tuple[str, int, int | None]] = []
    (path,) = get(hub, tmp_path, source(), progress=lambda *step: seen.append(step))
    assert path == tmp_path / "uniid" / "weights.bin"
    assert path.read_bytes() == DATA
    assert [one.name for one in path.parent.iterdir()] == ["weights.bin"]
    assert seen[-1] == ("weights.bin", len(DATA), len(DATA))
    assert get(hub, tmp_path, source()) == [path]
    assert len(hub.asked) == 1


def test_an_interrupted_download_is_resumed(hub: Hub, tmp_path: Path):
    hub.files[ADDRESS], hub.breaks_after = DATA, 1000
    with pytest.raises(DownloadError, match=r"try again to continue|cannot be reached"):
        get(hub, tmp_path, source())
    assert not (tmp_path / "uniid" / "weights.bin").exists()
    hub.breaks_after = 0
    (path,) = get(hub, tmp_path, source())
    assert path.read_bytes() == DATA
    assert [one for _, one in hub.asked] == [None, "bytes=1000-"]


def test_a_cancelled_download_is_resumed_too(hub: Hub, tmp_path: Path):
    hub.files[ADDRESS] = DATA * 3

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(hub, tmp_path, source(), progress=stop)
    assert get(hub, tmp_path, source())[0].read_bytes() == DATA * 3
    assert hub.asked[1][1] == f"bytes={download.BLOCK}-"


@pytest.mark.parametrize("takes_ranges", [True, False])
def test_a_file_that_was_changed_meanwhile_is_fetched_anew(hub: Hub, tmp_path: Path, takes_ranges: bool):
    hub.files[ADDRESS], hub.breaks_after = DATA, 1000
    with pytest.raises(DownloadError):
        get(hub, tmp_path, source())
    hub.files[ADDRESS], hub.breaks_after, hub.takes_ranges = DATA[::-1], 0, takes_ranges
    assert get(hub, tmp_path, source())[0].read_bytes() == DATA[::-1]


def test_a_file_that_is_not_the_published_one_is_refused_with_both_sums(hub: Hub, tmp_path: Path):
    hub.files[ADDRESS] = DATA
    wanted = "a" * 64
    what = source(pieces=(Piece(path="weights.bin", name="weights.bin", sha256=wanted),))
    with pytest.raises(DownloadError, match=f"{hashlib.sha256(DATA).hexdigest()}, not {wanted}"):
        get(hub, tmp_path, what)
    assert [*(tmp_path / "uniid").iterdir()] == []


def test_without_a_recorded_checksum_the_servers_is_used(hub: Hub, tmp_path: Path):
    hub.files[ADDRESS], hub.lies = DATA, True
    with pytest.raises(DownloadError, match="not 0000"):
        get(hub, tmp_path, source())
    hub.lies, hub.states_sum = False, False
    assert get(hub, tmp_path, source())[0].is_file()


@pytest.mark.parametrize("variable", ["UNIID_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_no_request_is_sent_and_manual_steps_are_printed(hub: Any, tmp_path: Path, variable: str):
    with pytest.raises(DownloadError, match=r"put weights.bin from someone/something into .*uniid"):
        fetch(source(), tmp_path, environment={"HF_ENDPOINT": hub.address, variable: "1"})
    assert hub.asked == []


@pytest.mark.parametrize(
    ("path", "said"), [("nowhere.bin", "was not found"), ("gated.bin", "accept its licence there")]
)
def test_the_message_of_a_refusal_has_a_remedy(hub: Hub, tmp_path: Path, path: str, said: str):
    with pytest.raises(DownloadError, match=said):
        get(hub, tmp_path, source(pieces=(Piece(path=path, name=path),)))


def test_without_a_server_or_with_no_address_nothing_hangs(tmp_path: Path):
    for endpoint, said in (
        ("http://127.0.0.1:9", "cannot be reached"),
        ("file:///etc", "not an https address"),
    ):
        with pytest.raises(DownloadError, match=said):
            fetch(source(), tmp_path, environment={"HF_ENDPOINT": endpoint})


def test_what_does_not_fit_on_the_disk_is_not_begun(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub.files[ADDRESS] = DATA
    monkeypatch.setattr(download, "SPARE", 10**18)
    with pytest.raises(DownloadError, match="free some space"):
        get(hub, tmp_path, source())


@pytest.mark.parametrize("stated", [True, False])
def test_a_file_without_end_is_given_up_and_not_kept(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: bool
):
    hub.files[ADDRESS], hub.states_size = DATA * 3, stated
    monkeypatch.setattr(download, "MAX_BYTES", len(DATA))
    with pytest.raises(DownloadError, match=r"weights\.bin is not the published file: it has \d+ bytes"):
        get(hub, tmp_path, source())
    assert [*(tmp_path / "uniid").iterdir()] == []


def test_a_file_of_unknown_size_is_fetched(hub: Hub, tmp_path: Path):
    hub.files[ADDRESS], hub.states_size = DATA, False
    assert get(hub, tmp_path, source())[0].read_bytes() == DATA


def test_an_answer_that_makes_no_sense_is_a_sentence(hub: Hub, tmp_path: Path):
    hub.files[ADDRESS], hub.states_size = DATA, "a lot"
    with pytest.raises(DownloadError, match=r"cannot be reached|the download of"):
        get(hub, tmp_path, source())
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch(source(), tmp_path, environment={"HF_ENDPOINT": "http://[nowhere"})


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, data in members.items():
            opened.writestr(f"pack/{name}", data)
    return buffer.getvalue()


def test_of_an_archive_only_what_is_wanted_is_kept_and_it_is_fetched_once(hub: Any, tmp_path: Path):
    hub.files["/pack.zip"] = archive(wanted=b"1", other=b"2")
    members = {"wanted": hashlib.sha256(b"1").hexdigest()}
    piece = Piece(path="", name="pack.zip", url=f"{hub.address}/pack.zip", members=members)
    for _ in range(2):
        fetch(source(pieces=(piece,)), tmp_path, environment={})
    assert [(one.name, one.read_bytes()) for one in (tmp_path / "uniid").iterdir()] == [("wanted", b"1")]
    assert len(hub.asked) == 1
    (tmp_path / "uniid" / "wanted").unlink()
    wrong = replace(piece, members={"wanted": "0" * 64})
    with pytest.raises(DownloadError, match="wanted is not the published file"):
        fetch(source(pieces=(wrong,)), tmp_path, environment={})
    assert [*(tmp_path / "uniid").iterdir()] == []


def test_the_checksum_that_the_hub_states_before_a_redirect_is_used(hub: Hub, tmp_path: Path):
    hub.files[ADDRESS], hub.files["/elsewhere"] = DATA, DATA
    hub.moved = {ADDRESS: "/elsewhere"}
    assert get(hub, tmp_path, source())[0].read_bytes() == DATA
    (tmp_path / "uniid" / "weights.bin").unlink()
    hub.files["/elsewhere"] = DATA[::-1]
    with pytest.raises(DownloadError, match="not the published file"):
        get(hub, tmp_path, source())


def test_an_archive_is_checked_before_it_is_unpacked(hub: Hub, tmp_path: Path):
    hub.files["/pack.zip"] = archive(wanted=b"1")
    members = {"wanted": hashlib.sha256(b"1").hexdigest()}
    piece = Piece(
        path="",
        name="pack.zip",
        url=f"{hub.address}/pack.zip",
        members=members,
        sha256=hashlib.sha256().hexdigest(),
    )
    with pytest.raises(DownloadError, match=r"pack\.zip from .* is not the published file"):
        fetch(source(pieces=(piece,)), tmp_path, environment={})
    assert [*(tmp_path / "uniid").iterdir()] == []


def test_a_small_archive_of_a_huge_file_is_refused_before_it_is_unpacked(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(download, "MAX_MEMBER", 1000)
    hub.files["/pack.zip"] = archive(wanted=bytes(1001))
    members = {"wanted": hashlib.sha256(bytes(1001)).hexdigest()}
    piece = Piece(path="", name="pack.zip", url=f"{hub.address}/pack.zip", members=members)
    with pytest.raises(DownloadError, match=r"wanted is not the published file: .* of 1001 bytes"):
        fetch(source(pieces=(piece,)), tmp_path, environment={})
    assert [*(tmp_path / "uniid").iterdir()] == []


def test_everything_that_is_needed_can_be_fetched_but_the_base_model():
    assert [row.name for row in sources() if not row.pieces] == ["base", "uniid_router"]
    with pytest.raises(DownloadError, match="base cannot be downloaded automatically"):
        fetch(sources()[0], Path(), environment={})
    for row in sources():
        for piece in row.pieces:
            assert piece.sha256 in (None, row.sha256)
            assert download.address(piece, row, {}).startswith("https://")
