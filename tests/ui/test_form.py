"""The panel's values and the request are two forms of one thing."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.corpus.pictures import FILES, jpeg
from lib_uniid.api.regions import REGIONS
from lib_uniid.api.request import MixRequest, PersonRequest, Request, StyleRequest, parse, to_dict
from lib_uniid.errors import ConfigError
from lib_uniid.fields.request import REQUEST
from lib_uniid.methods.registry import default
from lib_uniid.ui.form import DETECTING, DRAWN, TABS, Form, PersonForm, Upload, text_of
from lib_uniid.ui.form_request import request_of
from lib_uniid.ui.pasting import form_of, readers
from lib_uniid.ui.uploads import Kept, Uploads

ANNA = "0a1b2c3d-0000-4000-8000-00000000000a"
NAMES = {ANNA: "Anna"}


def filled(*people: PersonForm, **values: Any) -> Form:
    return Form(enabled=True, people=(*people, *Form().people[len(people) :]), **values)


def asked(form: Form, uploads: Uploads | None = None) -> dict[str, Any]:
    request = request_of(form.values(), uploads or Uploads())
    assert request is not None
    return to_dict(request)


def test_no_person_is_left_out_while_faces_are_detected():
    form = filled(PersonForm(who="Anna"), PersonForm(uploads=DETECTING))
    with pytest.raises(ConfigError, match="try again in a moment"):
        request_of(form.values(), Uploads())


def test_values_and_form_are_one():
    form = filled(PersonForm(who="Anna", weight=0.5), identity_scale=0.9)
    assert Form.of(form.values()) == form
    assert Form.of([]) == Form()
    assert Form.of(["", True]) == Form(enabled=True)


def test_the_identity_scale_counts_where_its_switch_is_off():
    form = filled(PersonForm(who="Anna"), identity_scale=0.9)
    assert "identity_scale" not in asked(form)
    own: dict[str, Any] = {"identity_scale_automatic": False}
    assert asked(replace(form, **own))["identity_scale"] == 0.9


def test_a_panel_that_is_off_makes_no_request():
    assert (
        request_of(replace(filled(PersonForm(who="Anna", weight=9.0)), enabled=False).values(), Uploads())
        is None
    )


def test_a_dict_of_the_api_overrides_the_controls():
    raw = {"version": 1, "people": [{"name": "Ben"}]}
    assert request_of([raw], Uploads()) == parse(raw)
    assert request_of(replace(filled(PersonForm(who="Anna")), request=raw).values(), Uploads()) == parse(raw)


def test_a_request_as_text_overrides_the_controls():
    text = json.dumps({"version": 1, "people": [{"name": "Ben"}]})
    assert asked(filled(PersonForm(who="Anna"), request=text))["people"] == [{"name": "Ben"}]


def test_tabs_that_are_empty_or_off_request_no_person():
    form = filled(PersonForm(who="Anna", enabled=False), PersonForm(), PersonForm(who=" Ben "))
    assert asked(form) == {"version": 1, "people": [{"name": "Ben"}]}


def test_a_form_without_people_fails_with_a_remedy():
    with pytest.raises(ConfigError, match="no person is selected; select a person"):
        request_of(filled().values(), Uploads())


@pytest.mark.parametrize(
    ("field", "value"), [("weight", 3), ("weight", None), ("start", "0"), ("enabled", 1)]
)
def test_the_controls_are_checked_as_the_api_is(field: str, value: Any):
    person: Any = replace(PersonForm(who="Anna"), **{field: value})
    with pytest.raises(ConfigError, match=rf"people\[0\]\.{field} must be"):
        request_of(filled(person).values(), Uploads())


def test_the_method_is_that_of_the_base_model_unless_one_is_chosen():
    form = filled(PersonForm(who="Anna"))
    assert "method" not in asked(form)
    assert asked(replace(form, method=default()))["method"] == default()
    with pytest.raises(ConfigError, match="the method must be one of"):
        asked(replace(form, method="Other"))


def test_the_structure_scale_is_used_only_if_it_is_not_automatic():
    assert "structure_scale" not in asked(filled(PersonForm(who="Anna", structure_scale=0.9)))["people"][0]
    own = replace(PersonForm(who="Anna", structure_scale=0.9), **{"structure_automatic": False})
    assert asked(filled(own))["people"][0]["structure_scale"] == 0.9


def test_a_mask_becomes_a_picture_in_base64():
    mask = Image.new("RGB", (3, 2), "white")
    encoded = asked(filled(PersonForm(who="Anna", where=DRAWN, mask=mask)))["people"][0]["mask"]
    decoded = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert (decoded.size, decoded.getpixel((0, 0))) == ((3, 2), 255)


def test_a_mask_is_used_only_with_the_region_drawn():
    mask = Image.new("L", (3, 2), "white")
    assert asked(filled(PersonForm(who="Anna", mask=mask)))["people"] == [{"name": "Anna"}]
    there = filled(PersonForm(who="Anna", where="left half", mask=mask))
    assert asked(there)["people"] == [{"name": "Anna", "region": "left half"}]
    with pytest.raises(ConfigError, match="person 1: the mask is empty"):
        asked(filled(PersonForm(who="Anna", where=DRAWN)))
    with pytest.raises(ConfigError, match=r"people\[0\]\.region must be one of left half"):
        asked(filled(PersonForm(who="Anna", where="the left")))


@pytest.mark.parametrize("later", [False, True])
def test_a_drawing_is_added_to_the_uploaded_mask(later: bool):
    left, right = Image.new("L", (4, 2)), Image.new("L", (4, 2))
    left.paste(255, (0, 0, 1, 2))
    right.paste(255, (3, 0, 4, 2))
    strokes = Image.merge("LA", (right, right)).convert("RGBA")
    both = {"composite": Image.alpha_composite(Image.merge("LA", (left, left)).convert("RGBA"), strokes)}
    value = both if later else {"image": left.convert("RGB"), "mask": right.convert("RGB")}
    encoded = asked(filled(PersonForm(who="Anna", where=DRAWN, mask=value)))["people"][0]["mask"]
    decoded = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert list(decoded.tobytes()) == [255, 0, 0, 255] * 2


@pytest.mark.parametrize(
    "value",
    [
        {"composite": None, "background": None, "layers": []},
        {"composite": Image.new("RGBA", (4, 2))},
        {"image": Image.new("RGB", (4, 2)), "mask": Image.new("RGB", (4, 2))},
    ],
)
def test_an_empty_canvas_is_no_mask(value: dict[str, Any]):
    with pytest.raises(ConfigError, match="person 1: the mask is empty"):
        asked(filled(PersonForm(who="Anna", where=DRAWN, mask=value)))


def test_uploads_become_references_under_the_name_that_was_typed():
    uploads = Uploads()
    key = uploads.put(Kept(data=b"picture", faces=()))
    text = text_of([Upload(key=key, name="a.png", faces=2, face=2)])
    (person,) = asked(filled(PersonForm(who="Zoe", uploads=text)), uploads)["people"]
    assert person["name"] == "Zoe"
    assert person["references"] == [{"picture": base64.b64encode(b"picture").decode(), "face": 2}]


def test_expired_and_invalid_uploads_are_refused():
    gone = text_of([Upload(key="0", name="a.png", faces=1, face=1)])
    with pytest.raises(ConfigError, match="no longer kept"):
        request_of(filled(PersonForm(uploads=gone)).values(), Uploads())
    with pytest.raises(ConfigError, match="through the API, give references in the request"):
        request_of(filled(PersonForm(uploads='["/etc/passwd"]')).values(), Uploads())


def test_a_style_is_used_only_if_it_is_switched_on():
    picture = Image.new("RGB", (2, 1))
    assert "style" not in asked(filled(PersonForm(who="Anna"), style=picture))
    there = asked(filled(PersonForm(who="Anna"), style=picture, style_enabled=True))["style"]
    with Image.open(io.BytesIO(base64.b64decode(there["picture"]))) as encoded:
        assert (encoded.mode, encoded.size) == ("RGB", (2, 1))
    with pytest.raises(ConfigError, match="the style reference has no picture"):
        asked(filled(PersonForm(who="Anna"), style_enabled=True))
    with pytest.raises(ConfigError, match=r"style\.picture must be a text of 1 to \d+ characters, got 7"):
        asked(filled(PersonForm(who="Anna"), style_enabled=True, style=7))


# --- infotexts ---

shares = st.floats(0, 1, allow_nan=False)
scales = st.floats(0, 2, allow_nan=False)
# In the panel a share of 0 means no mix; the panel cannot show references of a request.
people = st.builds(
    PersonRequest,
    id=st.just(ANNA) | st.none(),
    name=st.just("Ben"),
    fingerprint=st.none() | st.just("0123456789ab"),
    weight=scales,
    structure_scale=st.none() | scales,
    mix=st.lists(st.builds(MixRequest, name=st.just("Chloe"), share=st.floats(0.01, 0.3)), max_size=2).map(
        tuple
    ),
    mask=st.none() | st.just("sha256:00"),
    start=st.floats(0, 0.4),
    region=st.none() | st.sampled_from([*REGIONS]),
    prompt=st.sampled_from(["", 'red coat, "hat" (blue:1.2)']),
    end=st.floats(0.5, 1),
).map(
    lambda person: replace(
        person, name=None if person.id else person.name, mask=None if person.region else person.mask
    )
)
requests = st.builds(
    Request,
    version=st.just(1),
    people=st.lists(people, min_size=1, max_size=TABS + 1).map(tuple),
    identity_scale=st.none() | scales,
    merge_start=st.none() | st.floats(0, 1),
    text_before=st.sampled_from([None, None, 0.5]),
    branches=st.sampled_from(REQUEST["branches"].choices),
    rescaling=st.sampled_from(REQUEST["rescaling"].choices),
    order=st.sampled_from(REQUEST["order"].choices),
    check=st.booleans(),
    show_routing=st.booleans(),
    fallback=st.sampled_from(["fail", "plain"]),
    method=st.none() | st.just(default()),
    style=st.none() | st.builds(StyleRequest, picture=st.just("sha256:00"), strength=st.floats(0.01, 2)),
)


@given(requests)
def test_a_pasted_request_makes_an_equal_request(request: Request):
    form = form_of(request, NAMES.get)
    again = request_of(form.values(), Uploads())
    assert again is not None
    named = [replace(one, id=None, name=NAMES[ANNA]) if one.id else one for one in request.people]
    expected = request.people if form.request else tuple(named)
    assert again == replace(request, people=expected)
    mixed = any(len(one.mix) > 1 for one in request.people)
    assert bool(form.request) == (
        len(request.people) > TABS or mixed or request.text_before is not None  # which no control shows
    )


def test_a_mask_that_is_kept_whole_is_shown_again():
    mask = Image.new("L", (2, 1))
    mask.putpixel((1, 0), 255)
    request = request_of(filled(PersonForm(who="Anna", where=DRAWN, mask=mask)).values(), Uploads())
    assert request is not None
    (shown, *_) = form_of(request, NAMES.get).people
    assert list(shown.mask.tobytes()) == [0, 255]
    assert request_of(form_of(request, NAMES.get).values(), Uploads()) == request


def test_a_style_picture_that_is_kept_whole_is_shown_again():
    picture = Image.new("RGB", (2, 1), (1, 2, 3))
    form = filled(PersonForm(who="Anna"), style_enabled=True, style=picture, style_strength=0.5)
    request = request_of(form.values(), Uploads())
    assert request is not None
    shown = form_of(request, NAMES.get)
    assert list(shown.style.tobytes()) == [1, 2, 3] * 2
    assert request_of(shown.values(), Uploads()) == request


def test_a_pasted_style_makes_room_for_a_picture():
    request = parse({"version": 1, "people": [{"name": "Anna"}], "style": {"picture": "sha256:00"}})
    form = replace(form_of(request, NAMES.get), style=Image.new("RGB", (2, 1)))
    assert not asked(form)["style"]["picture"].startswith("sha256:")


def test_a_person_who_is_not_enrolled_stays_an_id():
    text = json.dumps({"version": 1, "people": [{"id": ANNA}]})
    values = [read({"UniID": text}) for read in readers("UniID", {}.get)]
    assert asked(Form.of(values))["people"] == [{"id": ANNA}]


def test_pasted_data_is_used_only_for_its_own_person():
    def with_ben(**values: Any) -> Form:
        request = parse({"version": 1, "people": [{"id": ANNA, "fingerprint": "0123", **values}]})
        form = form_of(request, NAMES.get)
        return replace(form, people=(replace(form.people[0], who="Ben"), *form.people[1:]))

    assert asked(with_ben())["people"] == [{"name": "Ben"}]
    assert asked(with_ben(region="left half"))["people"] == [{"name": "Ben", "region": "left half"}]
    with pytest.raises(ConfigError, match="the mask is empty"):
        asked(with_ben(mask="sha256:00"))


def test_a_picture_without_people_switches_the_panel_off_and_leaves_the_rest():
    values = [read({"Steps": "20"}) for read in readers("UniID", NAMES.get)]
    assert values == ["", False, *[None] * (len(values) - 2)]


def test_an_invalid_infotext_is_refused_at_the_next_generation():
    values = [read({"UniID": '{"version": 9, "people": []}'}) for read in readers("UniID", NAMES.get)]
    with pytest.raises(ConfigError, match="version must be 1"):
        request_of(values, Uploads())


# --- uploads ---


def test_the_oldest_uploads_make_room():
    uploads = Uploads(most=10)
    first, second = (uploads.put(Kept(data=data, faces=())) for data in (b"12345", b"123456"))
    with pytest.raises(ConfigError, match="upload it again"):
        uploads.picture(first)
    assert uploads.picture(second) == b"123456"


@pytest.mark.parametrize("name", ["eps", "png/169_megapixels", "webp/canvas", "tiff/compression"])
def test_a_paste_opens_no_file_that_load_picture_refuses(name: str, monkeypatch: pytest.MonkeyPatch):
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(Image, "open", opened)
    text = base64.b64encode(FILES[name]()).decode()
    pasted = Request(
        version=1, people=(PersonRequest(name="Anna", mask=text),), style=StyleRequest(picture=text)
    )
    form = form_of(pasted, NAMES.get)
    assert form.style is None
    assert form.people[0].mask is None


def test_an_uploaded_style_picture_is_sent_as_its_file(tmp_path: Path):
    path = tmp_path / "painting.jpg"
    path.write_bytes(jpeg())
    there = asked(filled(PersonForm(who="Anna"), style=path, style_enabled=True))["style"]
    assert base64.b64decode(there["picture"]) == path.read_bytes()


@pytest.mark.parametrize("colour", ["black", "white"])
def test_what_is_painted_on_a_clear_picture_is_the_mask(colour: str):
    clear = Image.new("RGBA", (4, 2))
    clear.paste(colour, (0, 0, 1, 2))
    encoded = asked(filled(PersonForm(who="Anna", where=DRAWN, mask=clear)))["people"][0]["mask"]
    assert list(Image.open(io.BytesIO(base64.b64decode(encoded))).tobytes()) == [255, 0, 0, 0] * 2


def test_what_gradio_3_sends_of_a_sketch_is_the_mask():
    def sent(picture: Image.Image) -> str:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

    strokes = Image.new("RGBA", (4, 2))
    strokes.paste("white", (0, 0, 1, 2))
    value = {"image": sent(Image.new("RGB", (4, 2))), "mask": sent(strokes)}
    encoded = asked(filled(PersonForm(who="Anna", where=DRAWN, mask=value)))["people"][0]["mask"]
    assert list(Image.open(io.BytesIO(base64.b64decode(encoded))).tobytes()) == [255, 0, 0, 0] * 2
