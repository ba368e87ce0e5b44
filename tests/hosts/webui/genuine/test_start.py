"""The host starts with the extension, and hardly later than without."""

from collections.abc import Callable

from tests.hosts.webui.genuine.host import Running

START_MILLISECONDS = 150
HEAVY = {"torch", "insightface", "open_clip", "onnxruntime", "cv2", "diffusers", "transformers"}


def test_the_host_lists_the_script_in_both_tabs(webui: Running):
    listed = webui.api.get("/sdapi/v1/scripts").body
    assert "uniid" in listed["txt2img"]
    assert "uniid" in listed["img2img"]
    ours = [one for one in webui.api.get("/sdapi/v1/script-info").body if one["name"] == "uniid"]
    assert [(one["is_alwayson"], one["is_img2img"]) for one in ours] == [(True, False), (True, True)]


def test_loading_is_quick_and_imports_nothing_heavy(webui: Running, tell: Callable[[str], None]):
    loads = webui.api.get("/uniid-probe/loads").body
    ours = next(load for path, load in loads.items() if path.endswith("uniid/scripts/uniid.py"))
    figures = ", ".join(f"{name} {ours[name]:.0f}" for name in ours if name != "modules")
    tell(f"uniid.py: {figures}")
    assert {name.partition(".")[0] for name in ours["modules"]} & HEAVY == set()
    assert ours["processor_milliseconds"] < START_MILLISECONDS


def test_the_host_logs_no_error_of_the_extension_at_the_start(webui: Running):
    log = webui.log.read_text(encoding="utf-8").partition("Startup time")[0]  # refusals are logged later
    assert "Error loading script: uniid.py" not in log  # Forge may lack something for a script of its own
    assert "extensions/uniid" not in log
