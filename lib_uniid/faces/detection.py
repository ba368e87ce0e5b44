"""Face detection with insightface's detector, from a local pack."""

import contextlib
import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib_uniid import installation
from lib_uniid.errors import ConfigError, MissingModelError, MissingPackageError, UnknownCheckpointError
from lib_uniid.faces.alignment import align
from lib_uniid.faces.domain import Domain
from lib_uniid.faces.looks import Box, Found, better, is_doubtful, is_likely, merged, parts
from lib_uniid.files import sha256
from lib_uniid.onnx_values import require_finite
from lib_uniid.typing import Float, UInt8

CPU = ("CPUExecutionProvider",)
_MARGIN = 0.5  # of each side, in the second pass
_MARGIN_GREY = 128


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Face:
    """One face found in a picture, in pixels of that picture.

    ``box`` is left, top, right, bottom. ``embedding`` is the recogniser's ID embedding, of norm 1,
    or None if not requested.
    """

    number: int
    box: tuple[float, float, float, float]
    landmarks: Float[np.ndarray, "5 2"]
    score: float
    embedding: Float[np.ndarray, " d"] | None = None

    @property
    def area(self) -> float:
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)

    def contains(self, point: tuple[float, float]) -> bool:
        (x, y), (left, top, right, bottom) = point, self.box
        return left <= x <= right and top <= y <= bottom


class FaceFinder:
    """insightface's detector, and its recogniser if embeddings are requested.

    Args:
        pack: folder with the pack's ONNX files, usually ``<models>/insightface/models/buffalo_l``.
        det_size: side in pixels of the detector's square input; a detector of fixed size keeps its own.
        recognise: also compute ID embeddings.
        providers: onnxruntime's execution providers, best first.

    Raises:
        MissingModelError: the pack is missing, or lacks a detector or recogniser.
        MissingPackageError: insightface cannot be imported.
        UnknownCheckpointError: a file of the pack cannot be loaded, or its weights are NaN or infinite.
    """

    def __init__(
        self,
        pack: Path,
        det_size: int = 640,
        *,
        recognise: bool = False,
        providers: Sequence[str] = CPU,
    ) -> None:
        if det_size < 32 or det_size % 32:
            raise ConfigError(
                f"det_size must be a positive multiple of 32 (the detector's coarsest stride), got {det_size}"
            )
        _check_pack(pack)
        tasks = ["detection", "recognition"] if recognise else ["detection"]
        models = _load(pack, tasks, list(providers), det_size)
        self._detector = models["detection"]
        self._recogniser = models["recognition"] if recognise else None
        self._det_size = det_size
        self._lock = threading.Lock()  # the detector's buffers are not for two at once
        self.domain = Domain.of(pack)

    @property
    def recogniser(self) -> str | None:
        """Fingerprint of the recogniser's file (12 hex digits of its SHA-256); None without a recogniser.

        ID embeddings of two recognisers cannot be compared. The whole file is read once.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str | None:
        return None if self._recogniser is None else sha256(Path(self._recogniser.model_file))[:12]

    def find(self, picture: UInt8[np.ndarray, "height width 3"]) -> tuple[Face, ...]:
        """Every face, numbered from 1 by the centre of its box, left to right; one thread at a time.

        Raises UnknownCheckpointError: the models return NaN or infinite values.
        """
        height, width = picture.shape[:2]
        if min(height, width) * self._det_size < max(height, width):
            return ()  # a strip whose short side would become 0 pixels in the detector's input
        with self._lock:
            return self._find(picture)

    def _find(self, picture: UInt8[np.ndarray, "height width 3"]) -> tuple[Face, ...]:
        height, width = picture.shape[:2]
        bgr = np.ascontiguousarray(picture[..., ::-1])
        found = [] if self._excludes(picture, 1.0) else self._search(bgr)
        if self._excludes(picture, max((one.score for one in found), default=1.0)):
            return ()
        found = [_clamped(one, width, height) for one in found]
        found = [one for one in found if one.box[0] < one.box[2] and one.box[1] < one.box[3]]
        found.sort(key=lambda face: ((face.box[0] + face.box[2]) / 2, face.box[1]))
        return tuple(
            Face(
                number=number,
                box=one.box,
                landmarks=one.landmarks,
                score=one.score,
                embedding=self._embed(bgr, one.landmarks),
            )
            for number, one in enumerate(found, start=1)
        )

    def _excludes(self, picture: UInt8[np.ndarray, "height width 3"], score: float) -> bool:
        """Whether the models do not fit such a picture, so that their detections are ignored."""
        return self.domain is not None and self.domain.excludes(picture, score)

    def _search(self, bgr: UInt8[np.ndarray, "height width 3"]) -> Sequence[Found]:
        """One pass; if doubtful, one with a margin; if no face is found, passes over parts."""
        height, width = bgr.shape[:2]
        found: Sequence[Found] = self._detect(bgr)
        if is_doubtful(found, width, height):
            found = better(found, self._detect_with_margin(bgr))
        if any(map(is_likely, found)):
            return found
        for boxes in parts(width, height, self._det_size):
            closer = merged([one for box in boxes for one in self._detect_part(bgr, box)])
            if any(map(is_likely, closer)):
                return closer
            found = found or closer
        return found

    def _detect(self, bgr: UInt8[np.ndarray, "height width 3"]) -> list[Found]:
        boxes, landmarks = self._detector.detect(bgr)
        _require_numbers(self._detector, boxes, landmarks)
        return [
            Found(tuple(box[:4].tolist()), points.astype(np.float32), float(box[4]))
            for box, points in zip(boxes, landmarks, strict=True)
        ]

    def _detect_with_margin(self, bgr: UInt8[np.ndarray, "height width 3"]) -> list[Found]:
        """Detect with a margin, in a copy of the detector's size, which limits memory."""
        scale = min(1.0, self._det_size / max(bgr.shape[:2]))
        small = (
            bgr if scale == 1.0 else cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        )
        rows, columns = (int(side * _MARGIN) for side in small.shape[:2])
        wide = np.pad(small, ((rows, rows), (columns, columns), (0, 0)), constant_values=_MARGIN_GREY)
        return [one.placed(scale, -columns / scale, -rows / scale) for one in self._detect(wide)]

    def _detect_part(self, bgr: UInt8[np.ndarray, "height width 3"], box: Box) -> list[Found]:
        left, top, right, bottom = map(round, box)
        part = np.ascontiguousarray(bgr[top:bottom, left:right])
        return [one.placed(1.0, float(left), float(top)) for one in self._detect(part)]

    def _embed(
        self, bgr: UInt8[np.ndarray, "height width 3"], landmarks: Float[np.ndarray, "5 2"]
    ) -> Float[np.ndarray, " d"] | None:
        """Embed from the unpadded picture; insightface's alignment uses deprecated code of scikit-image."""
        if self._recogniser is None:
            return None
        crop = align(bgr, landmarks, self._recogniser.input_size[0])
        embedding = self._recogniser.get_feat(crop).ravel()
        _require_numbers(self._recogniser, embedding)
        return embedding / max(float(np.linalg.norm(embedding)), 1e-12)


def _clamped(one: Found, width: int, height: int) -> Found:
    """The face with its box clipped to the picture; landmarks stay unchanged."""
    low, high = np.zeros(4), np.array([width, height, width, height])
    return one._replace(box=tuple(np.clip(one.box, low, high).tolist()))


def _require_numbers(model: Any, *answers: np.ndarray) -> None:
    if not all(np.isfinite(answer).all() for answer in answers):
        raise UnknownCheckpointError(
            f"{Path(model.model_file).name} returns values that are NaN or infinite; download it again"
        )


def _check_pack(pack: Path) -> None:
    """Raise MissingModelError for a missing pack, because insightface would download it."""
    if not pack.is_dir() or not any(pack.glob("*.onnx")):
        raise MissingModelError(
            f"no insightface pack found in {pack}; put the ONNX files of buffalo_l there "
            "(det_10g.onnx and w600k_r50.onnx are enough)"
        )


def _load(pack: Path, tasks: list[str], providers: list[str], det_size: int) -> dict[str, Any]:
    try:
        from insightface.model_zoo import get_model
    except ImportError as error:
        raise MissingPackageError(installation.advice("insightface", str(error)) or str(error)) from error

    models: dict[str, Any] = {}
    try:
        with _silence():
            # FaceAnalysis finds no files in folders with [, * or ? in their names.
            for file in sorted(pack.resolve().glob("*.onnx")):
                model = get_model(str(file), providers=providers)
                task = getattr(model, "taskname", None)  # a face swapper has none
                if task in tasks:
                    models.setdefault(task, model)
            if "detection" in models:
                models["detection"].prepare(0, input_size=(det_size, det_size), det_thresh=0.5)
    except Exception as error:  # onnxruntime's errors have no other common base
        raise UnknownCheckpointError(
            f"the insightface pack in {pack} cannot be loaded ({error}); download its ONNX files again"
        ) from error
    for model in models.values():
        require_finite(Path(model.model_file))
    if "detection" not in models:
        raise MissingModelError(
            f"the insightface pack in {pack} has no face detector; add det_10g.onnx of buffalo_l"
        )
    if not models["detection"].use_kps:
        raise MissingModelError(f"the detector in {pack} gives no landmarks; use det_10g.onnx of buffalo_l")
    if "recognition" in tasks and "recognition" not in models:
        raise MissingModelError(
            f"the insightface pack in {pack} has no face recogniser; add w600k_r50.onnx of buffalo_l"
        )
    return models


def _silence() -> contextlib.redirect_stdout[io.StringIO]:
    """Suppress insightface's prints, which would break ``--json``."""
    return contextlib.redirect_stdout(io.StringIO())
