"""Tests of plugins: a plugin's method makes a picture, and a failing plugin is named and stops nothing."""

import re
from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import house
from lib_uniid import hookspecs
from lib_uniid.api import v1
from lib_uniid.api.request import parse
from lib_uniid.attention.plan import PlanOptions
from lib_uniid.bases import SD15, SD21, SDXL
from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import CheckpointMismatchError, ConfigError, EncoderMismatchError, PluginError
from lib_uniid.hosts.diffusers.studio import open_studio, studio_of
from lib_uniid.identity_pipeline import IdentityPipeline
from lib_uniid.library.identity import FIRST_ENCODER
from lib_uniid.library.store import Identity, Library
from lib_uniid.methods.registry import bases, default, methods, require
from lib_uniid.pipeline import Reference, Studio
from lib_uniid.plugins import KINDS, plugins
from lib_uniid.runtime import Runtime
from lib_uniid.ui.status import status_of
from tests.device import DEVICE
from tests.encoders import flat
from tests.encoders.flat import FlatEncoder, FlatPlugin
from tests.methods.toy import NAME, Toy, ToyPlugin
from tests.red_faces import red_face_picture
from tests.standalone import needs_standalone_host

PLAIN = GenerationSettings(prompt="a person in a park", steps=2, people=(PersonSettings(name="Anna"),))
ROOT = Path(__file__).parents[1]
TOY = replace(PLAIN, method=NAME)
PNG = red_face_picture((64, 64))
OFF = "the plugin odd is switched off until restart: "


pytestmark = pytest.mark.usefixtures("own_plugins")


@pytest.fixture(scope="module")
def anna(models: Path) -> Identity:
    return open_studio(models, device=DEVICE).enrol("Anna", [Reference(picture=PNG, label="a")])[0]


@pytest.fixture
def studio(models: Path) -> Studio:
    return open_studio(models, device=DEVICE)


def made(studio: Studio, anna: Identity, settings: GenerationSettings) -> np.ndarray:
    return studio.generate(settings, {"Anna": anna})[0].picture


def fail(*_: object) -> float:
    raise ValueError("a wrong number")


# --- a method of a plugin ---


@needs_standalone_host
def test_a_method_of_a_plugin_makes_a_picture_and_the_built_in_one_stays_as_it_was(
    studio: Studio, anna: Identity
):
    before = made(studio, anna, PLAIN)
    v1.register(plugin := ToyPlugin(), name="toy", needs=">=0.1,<1")
    assert parse({"version": 1, "method": NAME, "people": [{"name": "Anna"}]}).method == NAME
    toy = made(studio, anna, TOY)
    assert not np.array_equal(toy, before)
    assert not np.array_equal(toy, made(studio, anna, replace(PLAIN, people=())))
    assert np.array_equal(before, made(studio, anna, PLAIN))
    assert plugin.told == ["started", "finished"] * 2  # nothing is planned without people


def test_the_hook_identity_saved_is_called_for_saved_identities(anna: Identity, tmp_path: Path):
    v1.register(plugin := ToyPlugin(), name="toy")
    Library(folder=tmp_path).save(anna)
    Library(folder=tmp_path).extend(anna, force=True)
    assert plugin.told == ["saved", "saved"]


def test_a_plugin_that_raises_at_a_saved_identity_is_reported_and_the_identity_is_kept(
    anna: Identity, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    library = Library(folder=tmp_path)
    said: list[str] = []
    for save in (library.save, library.extend):
        v1.register(SimpleNamespace(identity_saved=fail), name="odd")
        save(anna, notify=said.append)
    assert [one.startswith(f"{OFF}identity_saved raised ValueError: a wrong number") for one in said] == [
        True
    ] * 2
    assert library.load("Anna").references == 2
    assert caplog.messages == []
    v1.register(SimpleNamespace(identity_saved=fail), name="odd")
    library.save(anna, replace=True)
    assert caplog.messages == said[:1]


def test_the_built_in_method_is_the_default_and_an_unknown_one_is_refused_with_those_there_are():
    built_in = list(methods())
    assert default() in built_in
    v1.register(ToyPlugin(), name="toy")
    assert list(methods()) == [*built_in, NAME]
    with pytest.raises(ConfigError, match=rf"one of {', '.join(built_in)}, {NAME}, got 'Other'") as raised:
        parse({"version": 1, "method": "Other", "people": [{"name": "Anna"}]})
    assert raised.value.field == "method"


@needs_standalone_host
def test_a_method_for_another_base_family_is_refused(studio: Studio, anna: Identity):
    v1.register(ToyPlugin(bases=(SD21,)), name="toy")
    with pytest.raises(CheckpointMismatchError, match=r"Toy works with Stable Diffusion 2, and the base"):
        made(studio, anna, TOY)


def test_without_a_name_the_base_model_decides():
    before = default()
    v1.register(ToyPlugin(bases=(SD21,)), name="toy")
    assert (require(None, SD21).value.name, require(None, SD15).value.name) == (NAME, before)
    assert (default(), set(bases())) == (before, {SD15, SD21, SDXL})


def test_without_a_name_people_are_enrolled_for_the_method_of_the_base_model(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    v1.register(FlatPlugin(), name="flat")
    v1.register(ToyPlugin(bases=(SD21,), encoder=flat.NAME), name="toy")
    reference = Reference(picture=PNG, label="a")

    def encoder(method: str | None = None) -> str:
        runtime = Runtime(models, cache=tmp_path)
        person, _ = studio_of(runtime).enrol("Anna", [reference], method=method)
        (features,) = person.features.values()
        return features.fingerprint

    usual = encoder()
    assert usual != flat.FINGERPRINT
    monkeypatch.setattr(ModelFolder, "base", lambda *_: SD21)
    assert (encoder(), encoder(default())) == (flat.FINGERPRINT, usual)
    monkeypatch.setattr(ModelFolder, "base", lambda *_: None)
    assert encoder() == usual


@pytest.fixture
def flat_toy(own_plugins: None) -> None:
    """A method that reads another encoder than the default one."""
    v1.register(FlatPlugin(), name="flat")
    v1.register(ToyPlugin(encoder=flat.NAME), name="toy")


@needs_standalone_host
@pytest.mark.usefixtures("flat_toy")
def test_a_person_enrolled_for_another_method_gets_features_from_the_crops_once(
    models: Path, anna: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    library = Library(folder=tmp_path / "people")
    library.save(anna)
    encode, encoded = FlatEncoder.encode, list[int]()

    def counted(self: FlatEncoder, crops: np.ndarray, structure: bool = True) -> IDFeatures:
        encoded.append(len(crops))
        return encode(self, crops, structure)

    monkeypatch.setattr(FlatEncoder, "encode", counted)
    studio = studio_of(Runtime(models, cache=tmp_path / "cache"))
    first = made(studio, library.load("Anna"), TOY)
    kept = library.load("Anna")
    assert list(kept.features) == [*anna.features, flat.NAME]
    assert kept.features[flat.NAME].fingerprint == flat.FINGERPRINT
    studio.runtime.cache.clear()
    assert np.array_equal(made(studio, kept, TOY), first)
    assert encoded == [1]
    assert np.array_equal(made(studio, kept, PLAIN), made(studio, anna, PLAIN))


def of_the_first_format(person: Identity) -> Identity:
    (features,) = person.features.values()
    return replace(person, features={FIRST_ENCODER: features}, crops=None)


@needs_standalone_host
@pytest.mark.usefixtures("flat_toy")
def test_a_person_of_the_first_format_works_with_the_default_method_alone(
    models: Path, anna: Identity, tmp_path: Path
):
    library, old = Library(folder=tmp_path / "people"), of_the_first_format(anna)
    library.save(old)
    old = library.load("Anna")
    studio = studio_of(Runtime(models, cache=tmp_path / "cache"))
    assert np.array_equal(made(studio, old, PLAIN), made(studio, anna, PLAIN))
    with pytest.raises(EncoderMismatchError, match=r"^Anna was enrolled by an earlier .* enrol the person"):
        made(studio, old, TOY)


@needs_standalone_host
@pytest.mark.usefixtures("flat_toy")
def test_a_person_who_is_mixed_in_gets_features_from_the_crops_as_well(
    models: Path, anna: Identity, tmp_path: Path
):
    library = Library(folder=tmp_path / "people")
    for name in ("Anna", "Ben"):
        library.save(replace(anna, name=name))
    people = {name: library.load(name) for name in ("Anna", "Ben")}
    mixed = replace(TOY, people=(PersonSettings(name="Anna", mix=(("Ben", 0.5),)),))
    studio_of(Runtime(models, cache=tmp_path / "cache")).generate(mixed, people)
    assert flat.NAME in library.load("Ben").features


@pytest.mark.parametrize("structure", [True, False])
def test_the_null_identity_of_a_plugin_s_encoder_has_structure_if_the_people_have(
    structure: bool, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def uncond(_: FlatEncoder, structure: bool = True) -> IDFeatures:
        names = ("intrinsic", "structure") if structure else ("intrinsic",)
        tensors = {name: torch.zeros(1, 4) for name in names}
        return IDFeatures(tensors=tensors, fingerprint=flat.FINGERPRINT, references=1)

    nulls: list[IDFeatures] = []

    def plan(_: Toy, sites: object, people: object, null: Callable[[], IDFeatures], options: object) -> None:
        nulls.extend([null(), null()])  # made, and read from the cache

    monkeypatch.setattr(FlatEncoder, "uncond", uncond)
    monkeypatch.setattr(Toy, "plan", plan)
    v1.register(FlatPlugin(), name="flat")
    v1.register(ToyPlugin(encoder=flat.NAME), name="toy")
    features = {flat.NAME: uncond(FlatEncoder(), structure)}
    person = Identity(name="Anna", features=features, embedding=np.ones(1, dtype=np.float32))
    options = PlanOptions(identity_scale=1.0, routing="auto", latent_size=(8, 8))
    pipeline = IdentityPipeline(Runtime(models, cache=tmp_path))
    pipeline.plan_for((), [PersonSettings(name="Anna")], {"Anna": person}, options, NAME)
    assert [one.get("structure") is not None for one in nulls] == [structure] * 2


def test_a_number_of_a_person_has_the_range_of_its_method(models: Path, anna: Identity):
    scale = v1.MethodNumber(name="structure_scale", low=0.0, high=0.5, alone=0.5, together=0.5)
    v1.register(ToyPlugin(numbers=(scale,)), name="toy")
    v1.register(ToyPlugin(name="Plain"), name="plain")

    def planned(method: str, value: float) -> None:
        person = PersonSettings(name="Anna", structure_scale=value)
        options = PlanOptions(identity_scale=1.0, routing="auto", latent_size=(8, 8))
        IdentityPipeline(Runtime(models)).plan_for((), [person], {"Anna": anna}, options, method)

    planned(NAME, 0.5)
    with pytest.raises(ConfigError, match=r"structure scale of the method Toy must lie in \[0, 0.5\], got 1"):
        planned(NAME, 1.0)
    with pytest.raises(ConfigError, match="Anna: the method Plain has no structure scale; leave it out"):
        planned("Plain", 0.5)


def test_files_that_only_another_method_needs_do_not_count_as_missing(tmp_path: Path):
    source = v1.Source(
        name="toy", purpose="toys", repository="a/b", path="toy.bin", placed="uniid", licence="MIT"
    )
    toy = ToyPlugin(bases=(SDXL,), sources=("toy",))
    v1.register(
        SimpleNamespace(
            register_methods=toy.register_methods,
            register_checkpoint_formats=lambda register: register(source),  # pyright: ignore[reportUnknownLambdaType]
        ),
        name="toy",
    )
    missing = {one.name: one for one in status_of(Runtime(tmp_path), None, ()).missing}
    assert "toy" in missing
    assert not missing["toy"].needed
    assert missing["insightface"].needed
    assert sum(one.needed for one in missing.values()) > 1


# --- plugins that fail ---


def odd_hook(error: BaseException) -> object:
    def register_methods(register: Callable[[object], None]) -> None:
        raise error

    return SimpleNamespace(register_methods=register_methods)


BAD = [
    pytest.param(odd_hook(ValueError("oh")), "", "register_methods raised ValueError: oh", id="hook"),
    pytest.param(ToyPlugin(), ">=0.2", "it needs UniID >=0.2, and this is 0.1", id="newer"),
    pytest.param(ToyPlugin(), ">=0.1,<0.1", "it needs UniID >=0.1,<0.1", id="older"),
    pytest.param(ToyPlugin(), "new", "cannot be read: 'new'", id="range"),
    pytest.param(
        SimpleNamespace(register_dreams=print), "", "has no hook register_dreams", id="unknown hook"
    ),
    pytest.param(
        SimpleNamespace(register_methods=lambda register: register(3)),  # pyright: ignore[reportUnknownLambdaType]
        "",
        "it registered 3 where a MethodDeclaration is needed",
        id="no method",
    ),
    pytest.param(
        SimpleNamespace(register_methods=lambda other: other),  # pyright: ignore[reportUnknownLambdaType]
        "",
        "other",
        id="argument",
    ),
]


@pytest.mark.parametrize(("plugin", "needs", "reason"), BAD)
def test_a_plugin_that_cannot_be_used_is_named_and_switched_off(plugin: object, needs: str, reason: str):
    v1.register(plugin, name="odd", needs=needs)
    assert NAME not in methods()
    assert default() in methods()
    (sentence,) = plugins().off.values()
    assert sentence.startswith(OFF)
    assert reason in sentence
    assert "\n" not in sentence


def test_of_two_methods_of_one_name_the_second_is_switched_off():
    v1.register(ToyPlugin(), name="toy")
    v1.register(ToyPlugin(), name="odd")
    assert methods()[NAME].plugin == "toy"
    assert (
        plugins()
        .off["odd"]
        .startswith(f"{OFF}it registered the method 'Toy', which the plugin toy has already")
    )


def test_each_hook_that_registers_has_words_for_what_it_registers():
    assert list(KINDS) == [name for name in vars(hookspecs) if name.startswith("register_")]


def refusal(method: str) -> str:
    with pytest.raises(ConfigError) as raised:
        parse({"version": 1, "method": method, "people": [{"name": "Anna"}]})
    return str(raised.value)


def test_a_refusal_gives_the_reason_of_the_plugin_that_has_the_name_and_of_no_other():
    def register_methods(register: Callable[[v1.MethodDeclaration], None]) -> None:
        ToyPlugin().register_methods(register)
        raise ValueError("oh")

    v1.register(SimpleNamespace(register_methods=register_methods), name="odd")
    ended = f"must be one of {', '.join(methods())}, got "
    assert refusal(NAME).startswith(f"the method {ended}'Toy'; {OFF}register_methods raised")
    assert refusal("Tow").endswith(f"{ended}'Tow'")
    v1.register(odd_hook(ValueError("oh")), name="other")  # may have any name
    assert refusal("Tow").endswith(f"{ended}'Tow'; uniid plugins lists the plugins that are switched off")
    assert refusal(NAME).count("switched off") == 1


def test_a_name_of_a_plugin_that_is_switched_off_is_free():
    def register_methods(register: Callable[[v1.MethodDeclaration], None]) -> None:
        ToyPlugin().register_methods(register)
        register(3)  # pyright: ignore[reportArgumentType]

    v1.register(SimpleNamespace(register_methods=register_methods), name="odd")
    v1.register(ToyPlugin(), name="toy")
    assert methods()[NAME].plugin == "toy"
    assert list(plugins().off) == ["odd"]


@needs_standalone_host
def test_a_plugin_that_raises_while_sampling_is_named_and_the_next_picture_is_made(
    studio: Studio, anna: Identity
):
    before = made(studio, anna, PLAIN)
    v1.register(ToyPlugin(amount=fail), name="odd")
    with pytest.raises(PluginError, match=rf"{OFF}injecting identities raised ValueError: a wrong number"):
        made(studio, anna, TOY)
    with pytest.raises(ConfigError, match=OFF):
        made(studio, anna, TOY)
    assert np.array_equal(before, made(studio, anna, PLAIN))


@needs_standalone_host
def test_a_plugin_that_raises_at_the_start_of_a_generation_is_reported_and_the_picture_is_made(
    models: Path, anna: Identity
):
    said: list[str] = []
    studio = open_studio(models, device=DEVICE, notify=said.append)
    before = made(studio, anna, PLAIN)
    v1.register(SimpleNamespace(generation_started=fail), name="odd")
    assert np.array_equal(before, made(studio, anna, PLAIN))
    assert said[-1].startswith(f"{OFF}generation_started raised ValueError")


def test_the_name_of_a_built_in_plugin_is_refused_and_that_of_another_is_replaced():
    for name in plugins().found:
        with pytest.raises(PluginError, match="built-in"):
            v1.register(ToyPlugin(), name=name)
    v1.register(odd_hook(ValueError("oh")), name="odd")
    assert NAME not in methods()
    v1.register(ToyPlugin(), name="odd")  # the WebUI loads its scripts again
    assert not plugins().off
    assert NAME in methods()


# --- the documentation ---


def test_the_list_of_hooks_is_that_of_the_specifications():
    specs = [one for one in vars(hookspecs).values() if hasattr(one, "uniid_spec")]
    wanted = [f"{one.__name__}({', '.join(signature(one).parameters)})" for one in specs]
    listed = re.findall(r"^\| `(\w+\(\w+\))` \|", (ROOT / "docs" / "plugins.md").read_text(), re.MULTILINE)
    assert listed == wanted


def test_the_example_of_the_documentation_registers_a_method():
    text = (ROOT / "docs" / "plugins.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(example, "plugins.md", "exec"), {"open_toy": lambda folder, notify: None})  # pyright: ignore[reportUnknownLambdaType]
    assert methods()[NAME].value.bases == (SD15,)
    assert not plugins().off


def test_the_toy_method_is_short():
    assert len((ROOT / "tests" / "methods" / "toy.py").read_text().splitlines()) < 100


def test_nothing_outside_methods_names_a_method():
    names = house.method_names(ROOT / house.METHODS)
    assert default().lower() in names
    assert house.names_outside(names, ROOT / house.PRODUCT) == []
