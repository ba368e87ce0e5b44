"""Tests of the repository: cost of imports, what ``dev.py`` may import, what no file may hold."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "numpy", "gradio", "insightface", "onnxruntime", "diffusers", "transformers", "cv2"}
IMPORT_MILLISECONDS = 50

# Printed by a fresh interpreter: milliseconds of the import, and the heavy modules it brought in.
PROBE = """
import sys, time
before = time.perf_counter()
import {module}
milliseconds = 1000 * (time.perf_counter() - before)
print(milliseconds, *sorted(set(sys.modules) & {heavy}))
"""


def import_cost(module: str) -> tuple[float, list[str]]:
    """Milliseconds and heavy modules of one import in a fresh interpreter."""
    code = PROBE.format(module=module, heavy=HEAVY)
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    milliseconds, *heavy = printed.split()
    return float(milliseconds), heavy


def python_files(*folders: str) -> list[Path]:
    """Every Python file below the folders, relative to the repository."""
    files = (file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    return sorted(file.relative_to(ROOT) for file in files)


def repository_texts() -> Iterator[tuple[str, str]]:
    """Name and text of every file that git tracks or would track, but for this one: it names the dangers."""
    # A checkout may belong to another user than the one who runs the tests; to list its files is safe.
    git = ["git", "-c", "safe.directory=*"]
    command = [*git, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        file = ROOT / name
        data = file.read_bytes() if file.is_file() and file != Path(__file__).resolve() else b""
        if b"\0" not in data:
            yield name, data.decode()


# --- importing ---


def test_importing_lib_uniid_is_light_and_quick():
    fastest, heavy = min(import_cost("lib_uniid") for _ in range(3))  # the machine may be busy
    assert heavy == []
    assert fastest < IMPORT_MILLISECONDS


def test_the_import_check_sees_a_heavy_module():
    _, heavy = import_cost("numpy")
    assert heavy == ["numpy"]


@pytest.mark.parametrize("module", ["errors", "config", "hosts", "cli", "runtime"])
def test_modules_of_the_start_import_no_torch(module: str):
    _, heavy = import_cost(f"lib_uniid.{module}")
    assert "torch" not in heavy


# --- dev.py ---


def foreign_imports(source: str) -> set[str]:
    """Top-level names of imports that are not in the standard library."""
    tree = ast.parse(source)
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    from_ = {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in plain | from_} - sys.stdlib_module_names


@pytest.mark.parametrize("file", ["dev.py", "tools/environment.py"])
def test_dev_imports_only_the_standard_library(file: str):
    assert foreign_imports((ROOT / file).read_text()) <= {"tools"}


def test_the_standard_library_check_sees_a_foreign_import():
    source = "import os, numpy.linalg\ndef f():\n    from torch import nn"
    assert foreign_imports(source) == {"numpy", "torch"}


# --- files ---

# Folders of one machine; and where packages come from is a setting of a machine, not of a project.
MACHINE = re.compile(
    r"(?<![\w.~/$}>-])/(?:home|root|Users|tmp|mnt|opt|srv|work)/\w"  # a path, not a part of an address
    r"|[A-Z]:\\+Users"
    r"|\b(?:pypi\.org|pythonhosted\.org|registry\.npmjs\.org)"
    r"|--(?:extra-)?index-url"
)


def test_no_file_names_a_machine_or_a_registry():
    found = [f"{name}: {hit[0]}" for name, text in repository_texts() for hit in MACHINE.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    "text", ['open("/home/ann/x")', "see /tmp/x", r"C:\Users\ann", "https://pypi.org/simple"]
)
def test_the_machine_check_sees_a_path(text: str):
    assert MACHINE.search(text)


@pytest.mark.parametrize("text", ["https://example.org/home/page", "models/tmp/x", "runs/work/x"])
def test_the_machine_check_lets_addresses_and_relative_paths_pass(text: str):
    assert not MACHINE.search(text)


@pytest.mark.parametrize(
    "file", python_files("lib_uniid", "miniature", "tests", "benchmarks", "tools"), ids=str
)
def test_every_module_has_a_docstring(file: Path):
    assert ast.get_docstring(ast.parse((ROOT / file).read_text()))


def test_the_extension_has_a_name_and_orders_no_other_extension():
    metadata = ConfigParser()
    metadata.read(ROOT / "metadata.ini")
    assert {name: dict(section) for name, section in metadata.items() if section} == {
        "Extension": {"name": "uniid"}
    }


LINK = re.compile(r"\]\(([^)#:]+)[^):]*\)")  # relative ones: an address has a colon


def test_every_relative_link_leads_to_a_file():
    pages = [ROOT / name for name, _ in repository_texts() if name.endswith(".md")]
    links = [page.parent / link for page in pages for link in LINK.findall(page.read_text())]
    assert ROOT / "docs/weights.md" in links
    assert [str(link) for link in links if not link.exists()] == []


@pytest.mark.parametrize("file", python_files("lib_uniid", "scripts"), ids=str)
def test_the_product_does_not_name_the_miniature(file: Path):
    assert "miniature" not in (ROOT / file).read_text(encoding="utf-8").lower()


# --- unsafe reading and running ---


def _is_true(keywords: Iterable[ast.keyword], name: str) -> bool:
    return any(keyword.arg == name and ast.unparse(keyword.value) == "True" for keyword in keywords)


def _is_unsafe(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):
            return any(alias.name in {"dill", "marshal", "shelve"} for alias in names)
        case ast.ImportFrom(module=module):
            return module in {"dill", "marshal", "pickle", "shelve"}
        case ast.ClassDef(bases=bases, body=body):
            # An unpickler of our own is safe if it decides which names a file may call for.
            decides = any(isinstance(part, ast.FunctionDef) and part.name == "find_class" for part in body)
            return not decides and any(ast.unparse(base) == "pickle.Unpickler" for base in bases)
        case ast.Call(func=func, keywords=keywords):
            name = ast.unparse(func)
            unlimited = name == "torch.load" and not _is_true(keywords, "weights_only")
            runs = name in {"eval", "exec", "os.system"} or name.startswith("pickle.")
            return unlimited or runs or _is_true(keywords, "shell")
        case _:
            return False


def unsafe_places(source: str) -> list[str]:
    """What may run code out of a file: pickle, eval, a shell, ``torch.load`` without limits."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(source)) if _is_unsafe(node)]


@pytest.mark.parametrize("file", python_files("lib_uniid", "miniature"), ids=str)
def test_the_product_never_runs_code_from_a_file(file: Path):
    assert unsafe_places((ROOT / file).read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import shelve",
        "from pickle import loads",
        "pickle.load(file)",
        "class Anything(pickle.Unpickler): pass",
        "eval(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_safety_check_sees_each_danger(source: str):
    assert len(unsafe_places(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        'torch.load(path, weights_only=True, map_location="cpu")',
        "model.eval()",
        "class Limited(pickle.Unpickler):\n    def find_class(self, module, name): raise Refused",
    ],
)
def test_the_safety_check_lets_limited_reading_pass(source: str):
    assert unsafe_places(source) == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a checkout")
@pytest.mark.parametrize("name", ["presets.json", "cache/a.safetensors", "library/a.safetensors"])
def test_what_a_user_keeps_beside_the_miniature_is_never_committed(name: str):
    path = f"miniature/models/uniid/{name}"
    assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0
