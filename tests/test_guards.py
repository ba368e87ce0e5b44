"""Tests of encoders, detectors and checks of plugins: each is chosen by name; one that raises is named."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lib_uniid.api import v1
from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.encoders.cache import EncodingCache
from lib_uniid.encoders.encoder import FaceEncoder
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import ConfigError, EncoderMismatchError, PluginError
from lib_uniid.evaluation.presence import Presence
from lib_uniid.faces.detection import Face
from lib_uniid.faces.finder import Finder
from lib_uniid.guards import guarded_encoder
from lib_uniid.hosts.diffusers.studio import studio_of
from lib_uniid.identity_pipeline import IdentityPipeline, Reference
from lib_uniid.methods import registry
from lib_uniid.models import Models
from lib_uniid.runtime import Runtime
from tests.methods.toy import NAME, ToyPlugin
from tests.red_faces import red_face_picture
from tests.standalone import needs_standalone_host

CROPS = np.zeros((1, 224, 224, 3), np.uint8)
PICTURE = red_face_picture((64, 64))
OFF = "the plugin odd is switched off until restart: "
SETTINGS = GenerationSettings(prompt="a person", steps=1, people=(PersonSettings(name="Anna"),))


pytestmark = pytest.mark.usefixtures("own_plugins")


@dataclass(eq=False)
class Encoder:
    """A :class:`FaceEncoder` whose features are all ``value``; ``failing`` names what raises."""

    value: float = 1.0
    failing: str = ""
    opened: list[ModelFolder] = field(default_factory=list[ModelFolder])
    modules: tuple[nn.Module, ...] = ()
    fingerprint: str = "of-the-plugin"
    reads_structure: bool = False
    gives: object = None
    """What it encodes in the place of features, if anything."""

    def open(self, folder: ModelFolder) -> FaceEncoder:
        self.opened.append(folder)
        return self

    def in_float32(self) -> None:
        """Nothing to convert."""

    def encode(self, crops: np.ndarray, structure: bool = True) -> IDFeatures:
        if self.failing == "encode":
            raise ValueError("no such crop")
        return self.uncond() if self.gives is None else self.gives  # pyright: ignore[reportReturnType]

    def uncond(self, structure: bool = True) -> IDFeatures:
        if self.failing == "uncond":
            return None  # pyright: ignore[reportReturnType]
        tokens = torch.full((2, 3), self.value)
        return IDFeatures(tensors={"intrinsic": tokens}, fingerprint=self.fingerprint, references=1)


@dataclass(eq=False)
class Detector:
    """A :class:`Finder` of one face in every picture."""

    failing: bool = False
    face: dict[str, Any] = field(default_factory=dict[str, Any])
    found: object = None
    """What it finds in the place of its face, if anything."""
    domain: None = None
    recogniser: str = "of the plugin"

    def open(self, _: ModelFolder) -> Finder:
        return self

    def find(self, picture: np.ndarray) -> tuple[Face, ...]:
        if self.failing:
            raise ValueError("no such picture")
        landmarks = np.array([[20, 25], [44, 25], [32, 35], [24, 45], [40, 45]], np.float32)
        if self.found is not None:
            return self.found  # pyright: ignore[reportReturnType]
        embedding = np.ones(4, np.float32) / 2
        face = Face(
            number=1, box=(10.0, 10.0, 54.0, 54.0), landmarks=landmarks, score=0.9, embedding=embedding
        )
        for name, value in self.face.items():
            object.__setattr__(face, name, value)  # unchecked, as without jaxtyping
        return (face,)


def plugin(
    encoder: Encoder | None = None, detector: Detector | None = None, check: Any = None
) -> SimpleNamespace:
    """One with a method ``Toy`` that reads the encoder, if one is given."""
    hooks: dict[str, Callable[..., None]] = {}
    if encoder is not None:
        declared = v1.IDEncoderDeclaration(name="Other", open=encoder.open)
        hooks["register_id_encoders"] = lambda register: register(declared)

        def methods(register: Callable[[v1.MethodDeclaration], None]) -> None:
            ToyPlugin().register_methods(lambda one: register(replace(one, encoder="Other")))

        hooks["register_methods"] = methods
    if detector is not None:
        found = v1.FaceDetector(name="other", source="insightface", open=detector.open)
        hooks["register_face_detectors"] = lambda register: register(found)
    if check is not None:
        scorer = v1.Scorer(name="other", load=lambda: check)
        hooks["register_scorers"] = lambda register: register(scorer)
    return SimpleNamespace(**hooks)


@pytest.fixture
def networks(models: Path, tmp_path: Path) -> Models:
    return Models(
        folder=ModelFolder(models),
        device=torch.device("cpu"),
        cache=EncodingCache(folder=tmp_path / "cache"),
        notify=lambda _: None,
    )


# --- encoders ---


def test_each_method_has_its_own_encoder_which_is_opened_once(networks: Models):
    v1.register(plugin(encoder := Encoder()), name="odd")
    built_in = networks.encode(CROPS)
    for _ in range(2):
        assert networks.encode(CROPS + 1, NAME).fingerprint == "of-the-plugin"
    assert networks.null_identity(encoder.uncond(), NAME).fingerprint == "of-the-plugin"
    assert len(encoder.opened) == 1
    assert networks.encode(CROPS, registry.default()).fingerprint == built_in.fingerprint != "of-the-plugin"
    with pytest.raises(EncoderMismatchError):
        networks.null_identity(built_in, NAME)


def test_a_method_whose_encoder_is_not_there_is_refused_with_those_there_are(networks: Models):
    def methods(register: Callable[[v1.MethodDeclaration], None]) -> None:
        ToyPlugin().register_methods(lambda one: register(replace(one, encoder="Absent")))

    v1.register(SimpleNamespace(register_methods=methods), name="odd")
    with pytest.raises(ConfigError, match=r"the ID encoder must be one of .*, got 'Absent'"):
        networks.encode(CROPS, NAME)


@pytest.mark.parametrize(
    ("failing", "reason"),
    [("encode", "ValueError: no such crop"), ("uncond", "TypeError: NoneType instead of IDFeatures")],
)
def test_an_encoder_that_fails_is_named_and_the_built_in_one_goes_on(
    networks: Models, failing: str, reason: str
):
    v1.register(plugin(Encoder(failing=failing)), name="odd")
    with pytest.raises(PluginError, match=f"{OFF}encoding faces with Other raised {reason}"):
        networks.encode(CROPS, NAME) if failing == "encode" else networks.null_identity(features(2, 3), NAME)
    with pytest.raises(ConfigError, match=f"got 'Toy'; {OFF}"):
        networks.encode(CROPS, NAME)
    assert networks.encode(CROPS).finite


def features(*shape: int, references: int = 1) -> IDFeatures:
    tensors = {"intrinsic": torch.ones(shape)}
    return IDFeatures(tensors=tensors, fingerprint="p", references=references)


@pytest.mark.parametrize(
    ("gives", "reason"),
    [
        (3, "TypeError: int instead of IDFeatures"),
        (
            features(0, 3),
            r"ValueError: intrinsic has the shape \(0, 3\), and the number of references is 1",
        ),
        (features(2, 3, references=2), "ValueError: ID features of 2 references instead of 1"),
    ],
)
def test_an_encoder_that_gives_no_features_of_the_crops_is_named(
    networks: Models, gives: object, reason: str
):
    v1.register(plugin(Encoder(gives=gives)), name="odd")
    with pytest.raises(PluginError, match=f"{OFF}encoding faces with Other raised {reason}"):
        networks.encode(CROPS, NAME)


def test_an_encoder_whose_modules_are_no_networks_is_named():
    odd = Encoder()
    encoder = guarded_encoder(lambda: odd, plugin="odd", name="Other")
    odd.modules = (3,)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(PluginError, match=f"{OFF}encoding faces with Other raised TypeError: int instead of"):
        _ = encoder.modules


# --- detectors ---


def test_a_detector_is_chosen_by_its_name_or_by_the_environment(
    models: Path, monkeypatch: pytest.MonkeyPatch
):
    v1.register(plugin(detector=Detector()), name="odd")
    assert Runtime(models).finder.recogniser != "of the plugin"
    assert Runtime(models, detector="other").finder.recogniser == "of the plugin"
    monkeypatch.setenv("UNIID_DETECTOR", "other")
    person, (seen,) = IdentityPipeline(Runtime(models)).enrol("Anna", [Reference(picture=PICTURE, label="a")])
    assert (person.recogniser, seen.face.box) == ("of the plugin", (10, 10, 54, 54))
    monkeypatch.setenv("UNIID_DETECTOR", "absent")
    with pytest.raises(ConfigError, match="face detector must be one of insightface, other, got 'absent'"):
        _ = Runtime(models).finder


def test_a_detector_that_raises_is_named_and_no_longer_used(models: Path):
    v1.register(plugin(detector=Detector(failing=True)), name="odd")
    runtime = Runtime(models, detector="other")
    with pytest.raises(PluginError, match=f"{OFF}detecting faces with other raised ValueError: no such pic"):
        IdentityPipeline(runtime).faces(PICTURE)
    with pytest.raises(ConfigError, match=f"got 'other'; {OFF}"):
        _ = runtime.finder
    assert Runtime(models).finder.find(PICTURE)


@pytest.mark.parametrize(
    ("detector", "reason"),
    [
        (Detector(found=5), "TypeError: 'int' object is not iterable"),
        (Detector(found=[None]), "TypeError: NoneType instead of Face"),
        (Detector(face={"embedding": None}), "TypeError: NoneType instead of ndarray"),
        (Detector(face={"embedding": np.ones((2, 2))}), "ValueError: an ID embedding that is not a vector"),
        (Detector(face={"embedding": np.array([np.nan])}), "ValueError: an ID embedding that is not a vect"),
        (Detector(face={"landmarks": np.ones((3, 2))}), "ValueError: a face without four sides or five lan"),
        (Detector(face={"box": (1.0, 2.0)}), "ValueError: a face without four sides or five landmarks"),
    ],
)
def test_a_detector_whose_faces_lack_something_is_named_at_the_enrolment(
    models: Path, detector: Detector, reason: str
):
    v1.register(plugin(detector=detector), name="odd")
    pipeline = IdentityPipeline(Runtime(models, detector="other"))
    with pytest.raises(PluginError, match=f"{OFF}detecting faces with other raised {reason}"):
        pipeline.enrol("Anna", [Reference(picture=PICTURE, label="a")])


def test_a_detector_whose_embeddings_change_their_length_is_named(models: Path):
    v1.register(plugin(detector=(detector := Detector())), name="odd")
    finder = Runtime(models, detector="other").finder
    assert finder.find(PICTURE)
    detector.face["embedding"] = np.ones(5, np.float32)
    with pytest.raises(PluginError, match=r"ID embeddings of several lengths: \[4, 5\]"):
        finder.find(PICTURE)


# --- checks ---


def failing_check(*_: Any) -> Presence:
    raise ValueError("no such face")


@needs_standalone_host
def test_a_check_that_raises_is_named_and_the_picture_is_made(models: Path):
    v1.register(plugin(check=failing_check), name="odd")
    studio = studio_of(Runtime(models, check="other"))
    anna, _ = studio.enrol("Anna", [Reference(picture=PICTURE, label="a")])
    for sentence in (f"{OFF}checking a picture with other raised ValueError", "must be one of presence, got"):
        (made,) = studio.generate(SETTINGS, {"Anna": anna})
        assert sentence in (made.presence.people[0].unchecked or "")


def test_a_check_of_a_plugin_is_chosen_by_its_name(models: Path):
    v1.register(plugin(check=lambda *_: Presence(people=(), unknown=(7,))), name="odd")
    assert IdentityPipeline(Runtime(models, check="other")).check(PICTURE, []).unknown == (7,)
    assert IdentityPipeline(Runtime(models)).check(PICTURE, []).unknown == ()
