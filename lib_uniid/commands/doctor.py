"""``uniid doctor``: installed packages, found model files, what is missing and where to get it.

Runs without any of the packages that it checks.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from lib_uniid import __version__
from lib_uniid.checkpoints.folder import Entry, ModelFolder, require_models
from lib_uniid.checkpoints.shipped import Shipped
from lib_uniid.checkpoints.sources import sources
from lib_uniid.commands import Outcome
from lib_uniid.commands.command_runtime import runtime_of
from lib_uniid.commands.plugins import kinds
from lib_uniid.declarations import FaceDetector, face_detector
from lib_uniid.errors import ConfigError, UnknownCheckpointError
from lib_uniid.methods import needs
from lib_uniid.plugins import plugins
from lib_uniid.runtime import Runtime

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "open_clip_torch",
    "insightface",
    "onnxruntime",
    "opencv-python",
    "safetensors",
    "einops",
    "numpy",
    "pillow",
    "packaging",
    "pluggy",
    "tqdm",
)


def run(options: Namespace) -> Outcome:
    if options.models.exists():
        require_models(options.models)
    packages = {name: _version(name) for name in PACKAGES}
    folder = runtime_of(options).index if options.models.is_dir() else None
    manifest, problem = _shipped(options.models)
    entries = _entries(folder, options.hash)
    needed = _needed(runtime_of(options), folder, entries)
    files = [_file(entry, options.models, manifest, needed=entry.source.name in needed) for entry in entries]
    others = {one.path: one.kind for one in folder.unused()} if folder else {}
    purposes = {path: manifest.purpose(path) for path in others} if manifest else {}
    shipped = {str(path): purpose for path, purpose in purposes.items() if purpose}
    unused = {str(path): kind for path, kind in others.items() if str(path) not in shipped}
    note = _domain_note(runtime_of(options), folder)
    kinds()  # calls all plugins, so their errors are recorded
    ready = None not in packages.values() and all(file["found"] for file in files if file["needed"])
    result = {
        "version": __version__,
        "python": sys.version.split()[0],
        "packages": packages,
        "models": str(options.models),
        "files": files,
        "shipped": shipped,
        "shipped_problem": problem,
        "unused": unused,
        "domain": note,
        "plugins_off": dict(plugins().off),
        "ready": ready,
    }
    words = [f"uniid {__version__}, Python {result['python']}", "packages"]
    words += [f"  {name} {version or f'MISSING: pip install {name}'}" for name, version in packages.items()]
    state = "" if folder else ", which does not exist yet"
    words += [
        f"models in {options.models}{state}",
        *(line for file in files for line in _in_words(file)),
    ]
    words += [f"  {path}: {purpose}" for path, purpose in shipped.items()]
    words += [] if problem is None else [f"  {problem}"]
    words += [f"  not used: {path} is {kind}" for path, kind in unused.items()]
    words += [f"  not read yet, run uniid doctor again: {path}" for path in (folder.unread if folder else [])]
    if any(not file["found"] and file["needed"] and file["fetched"] for file in files):
        words.append("uniid fetch downloads the missing files, except a base model")
    words += [] if note is None else [note]
    words += plugins().off.values()
    words.append("ready to generate" if ready else "not ready to generate yet: files or packages are missing")
    return Outcome(result=result, words=words, code=0 if ready else 1)


def _needed(runtime: Runtime, folder: ModelFolder | None, entries: Sequence[Entry]) -> frozenset[str]:
    """The files of the method that the folder is for: one method with its base model is enough."""
    detector, found = _detector(runtime), {one.source.name for one in entries if one.found}
    families = folder.families() if folder else ()
    return needs.needed(needs.method_of(found, families, detector), detector, found)


def _domain_note(runtime: Runtime, folder: ModelFolder | None) -> str | None:
    """The note on which pictures the face models fit; None without a note or the packages to read it."""
    with suppress(ImportError):
        from lib_uniid.faces.domain import note_of

        return None if folder is None else note_of(folder.look_up(_detector(runtime).source))
    return None


def _detector(runtime: Runtime) -> FaceDetector:
    """The chosen face detector, or the built-in one where that is not there: its plugin is in the list."""
    with suppress(ConfigError):
        return runtime.detector.value
    return face_detector(None).value


def _shipped(models: Path) -> tuple[Shipped | None, str | None]:
    """The folder's description of its own files, or why it cannot be read."""
    try:
        return Shipped.of(models), None
    except UnknownCheckpointError as error:
        return None, str(error)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _entries(folder: ModelFolder | None, sha256: bool) -> tuple[Entry, ...]:
    if folder is not None:
        return folder.report(sha256=sha256, values=True)
    return tuple(Entry(source=row, path=None, size=None, sha256=None, problem=None) for row in sources())


def _file(entry: Entry, root: Path, shipped: Shipped | None, *, needed: bool) -> dict[str, Any]:
    source, path = entry.source, entry.path
    return {
        "name": source.name,
        "purpose": source.purpose,
        "needed": needed,
        "found": entry.found,
        "path": None if path is None else str(path),
        "size": entry.size,
        "sha256": entry.sha256,
        "problem": entry.problem,
        "unchecked": list(entry.unchecked),
        "licence": shipped.licence if shipped and path and shipped.includes(path) else source.licence,
        "fetched": bool(source.pieces),
        "get": source.to_get(root),
        "source": {"from": source.address, "file": source.path, "put": source.placed, "note": source.note},
        "published": {"size": source.size, "sha256": source.sha256},
    }


def _in_words(file: dict[str, Any]) -> list[str]:
    """One line per file; a second one for a requested hash."""
    if file["found"]:
        words = [f"  {file['name']} {file['path']} ({file['size'] / 1e6:.1f} MB; licence: {file['licence']})"]
        words += [f"    {line}" for line in file["unchecked"]]
        return words + ([f"    sha256 {file['sha256']}"] if file["sha256"] else [])
    if file["problem"]:
        return [f"  {file['name']} DAMAGED: {file['problem']}"]
    note = f"; {file['source']['note']}" if file["source"]["note"] else ""
    state = "MISSING" if file["needed"] else "missing, optional"
    return [f"  {state}: {file['get']} (licence: {file['licence']}{note})"]
