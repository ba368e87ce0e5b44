"""``bench house``: the number of files that a change touches, and the structure of the code.

python dev.py bench house [--json]

A number of a person is added in a copy of the tree. The tests of the table of fields then check it in every
place: request, settings, panel, infotext, axis, option, docs, and its effect on the picture.
"""

import argparse
import hashlib
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grimp
from importlinter import configuration
from importlinter.application.use_cases import read_user_options

from benchmarks.report import Figure, report
from lib_uniid.checkpoints.sources import Source
from lib_uniid.declarations import IDEncoderDeclaration
from lib_uniid.methods.registry import MethodDeclaration
from lib_uniid.plugins import PROJECT, Plugins

ROOT = Path(__file__).resolve().parents[1]
PRODUCT, METHODS, TOY = "lib_uniid", Path("lib_uniid/methods"), Path("tests/methods/toy.py")
FILES, LINES, MEGABYTES = 3, 100, 70

REGISTERED: Mapping[str, type[Any]] = {
    "register_methods": MethodDeclaration,
    "register_id_encoders": IDEncoderDeclaration,
    "register_checkpoint_formats": Source,
}
"""The hooks whose values have names that belong to a method."""

GENERAL = frozenset({"router", "config.json", "model.safetensors"})
"""Registered names that are words of the field: any method may have a router, and any model such files."""

OTHERS = "IP-Adapter FaceID"
"""A type of file that UniID recognises and does not use."""

FIELD = "test_strength"
ROW = f"""\
    Row(
        name="{FIELD}",
        kind="number",
        default=1.0,
        high=2.0,
        label="Test strength",
        meaning="strength of the test",
    ),
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Replace the pattern ``anchor`` by ``text`` in the one file that matches ``files`` and contains it."""

    files: str
    anchor: str
    text: str


ADDED = (
    Edit(
        files="lib_uniid/fields/person.py",
        anchor=r'(?=    Row\(name="enabled", kind="flag", default=True, label="On")',
        text=ROW,
    ),
    Edit(
        files="lib_uniid/fields/person.py",
        anchor=r'(?<=    end: float = PERSON\["end"\]\.default\n)',
        text=f'    {FIELD}: float = PERSON["{FIELD}"].default\n',
    ),
    Edit(
        files="lib_uniid/methods/uniportrait/*.py",
        anchor=r"weight=(\w+\.settings)\.weight\b",
        text=rf"weight=\1.weight * \1.{FIELD} ** 2",
    ),
)
"""Edits that add a number of a person, from 0 to 2, and its use."""

PROOFS = (
    ("-m", "tools.field_table"),  # writes the tables of the docs
    ("-m", "pytest", "tests/test_fields.py", "-k", FIELD),  # fails if no test covers this field
    ("-m", "pytest", "tests/test_fields.py"),
    (
        "-m",
        "pytest",
        "tests/hosts/webui/test_identities.py",
        "-k",
        "every_field_of_a_person_changes_the_picture",
    ),
)


def figures() -> Iterator[Figure]:
    """All figures, the quick ones first."""
    graph = grimp.build_graph(PRODUCT, cache_dir=None)
    yield Figure.at_most("house/method_lines", lines_of(ROOT / TOY), "lines", LINES)
    outside = len(names_outside(method_names(ROOT / METHODS), ROOT / PRODUCT))
    yield Figure.at_most("house/names_of_a_method_outside", outside, "", 0)
    yield Figure.at_most("house/back_arrows", len(back_arrows(imports(graph), layers())), "", 0)
    yield Figure.at_most("house/circles", len(circles(imports(graph))), "", 0)
    yield Figure.at_most("house/weights_mb", weights(tracked(ROOT)) / 1e6, "MB", MEGABYTES)
    yield Figure.at_most("house/files_touched_by_a_field", files_touched(), "files", FILES)


# --- adding a field ---


def files_touched() -> float:
    """Number of files that change for the new number, written documents included; NaN if a proof fails."""
    with TemporaryDirectory() as folder:
        copy, files = Path(folder), tracked(ROOT)
        for name in files:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
        before = digests(copy, files)
        for edit in ADDED:
            change(copy, edit)
        passed = proved(copy)
        after = digests(copy, files)
        return sum(before[name] != after[name] for name in files) if passed else math.nan


def digests(tree: Path, files: Iterable[Path]) -> dict[Path, str]:
    """SHA-256 of files of a tree."""
    return {name: hashlib.sha256((tree / name).read_bytes()).hexdigest() for name in files}


def change(tree: Path, edit: Edit) -> Path:
    """Make an edit and return the file; ``ValueError`` unless it matches exactly one place."""
    places = [path for path in tree.glob(edit.files) if re.search(edit.anchor, path.read_text("utf-8"))]
    if len(places) != 1:
        message = f"{edit.anchor!r} must be in one file of {edit.files}, is in {len(places)}; correct ADDED"
        raise ValueError(message)
    text, count = re.subn(edit.anchor, edit.text, places[0].read_text("utf-8"))
    if count != 1:
        message = f"{edit.anchor!r} must occur once in {places[0].name}, occurs {count} times; correct ADDED"
        raise ValueError(message)
    places[0].write_text(text, "utf-8")
    return places[0].relative_to(tree)


def proved(tree: Path) -> bool:
    """Whether all proofs pass in a copy of the tree; failures are printed to stderr."""
    for proof in PROOFS:
        done = subprocess.run(
            [sys.executable, *proof],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
            return False
    return True


# --- structure ---


def lines_of(path: Path) -> float:
    """Lines of a file; NaN if it does not exist."""
    return len(path.read_text("utf-8").splitlines()) if path.is_file() else math.nan


def method_names(folder: Path) -> list[str]:
    """Names of the methods' packages, and of what their plugins register, in lower case.

    These are methods, ID encoders, model files, and the files' published names.
    """
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    names, found = set(packages), Plugins()
    for hook, kind in REGISTERED.items():
        values = [one.value for one in found.registered(hook, kind).values() if one.plugin in packages]
        names |= {value.name for value in values}
        names |= {piece.name for value in values if isinstance(value, Source) for piece in value.pieces}
    return sorted({name.lower() for name in names} - GENERAL - {PROJECT})  # a method has the project's name


def names_outside(names: Iterable[str], product: Path) -> list[str]:
    """Lines of the product with one of the names, in any case, outside the folder of the methods.

    The folder of the encoders may have the names of its own modules: each is a network that any method may
    use. The built-in plugin may name what it registers.
    """
    names, networks = set(names), {path.stem for path in (product / "encoders").glob("*.py")}
    found: list[str] = []
    for path in sorted(product.rglob("*.py")):
        if product / "methods" in path.parents or path == product / "builtin.py":
            continue
        foreign = names - networks if product / "encoders" in path.parents else names
        named = re.compile("|".join(map(re.escape, sorted(foreign))), re.IGNORECASE)
        lines = [path.stem, *path.read_text("utf-8").replace(OTHERS, "").splitlines()]
        found += [
            f"{path.relative_to(product)}:{number}"
            for number, line in enumerate(lines)
            if foreign and named.search(line)
        ]
    return found


def imports(graph: Any) -> dict[str, set[str]]:
    """The product's modules that each module imports, including imports for types."""
    modules = {name for name in graph.modules if name.startswith(PRODUCT)}
    return {name: graph.find_modules_directly_imported_by(name) & modules for name in modules}


def layers() -> list[list[str]]:
    """Layers from top to bottom, from import-linter's section of ``pyproject.toml``."""
    configuration.configure()
    options = read_user_options(str(ROOT / "pyproject.toml"))
    (contract,) = [one for one in options.contracts_options if one["type"] == "layers"]
    return [re.findall(r"\w+", layer) for layer in contract["layers"]]


def back_arrows(graph: Mapping[str, set[str]], order: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """Imports that do not point down, including exceptions of the contract."""
    rank = {name: number for number, names in enumerate(order) for name in names}
    part = {module: module.split(".")[1] for module in graph if "." in module}
    return [
        (module, other)
        for module in part
        for other in graph[module]
        if other in part and part[module] != part[other] and rank[part[other]] <= rank[part[module]]
    ]


def circles(graph: Mapping[str, set[str]]) -> set[frozenset[str]]:
    """Groups of modules that import one another, directly or indirectly."""
    reached = {module: _reached(graph, module) for module in graph}
    groups = (frozenset(other for other in reached[module] if module in reached[other]) for module in graph)
    return {group for group in groups if group}


def _reached(graph: Mapping[str, set[str]], module: str) -> set[str]:
    found: set[str] = set()
    ahead = [*graph[module]]
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += graph[name]
    return found


def weights(files: Iterable[Path]) -> int:
    """Bytes of the weights files among them."""
    kinds = {".safetensors", ".onnx", ".bin", ".pt"}
    return sum((ROOT / path).stat().st_size for path in files if path.suffix in kinds)


def tracked(root: Path) -> list[Path]:
    """Files of a checkout that git tracks or does not ignore."""
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.split("\0") if name and (root / name).is_file()]


def main(argv: list[str]) -> int:
    """Print the figures; 1 if one misses its target."""
    parser = argparse.ArgumentParser(prog="bench house", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object per line")
    return report(figures(), as_json=parser.parse_args(argv).json)
