"""One sentence for every expected failure: what is wrong, with the value, and what to do.

Each interface (command line, page, panel, API) passes caught errors to this module. Errors of libraries are
recognised by the names of their classes, so nothing heavy is imported.
"""

import errno
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import overload

from lib_uniid import installation, logs
from lib_uniid.errors import FileError, UniIDError
from lib_uniid.printing import shortened, visible

AGAIN = "get the file again (uniid doctor lists the source)"

# --- for the interfaces ---


def explain(error: BaseException, doing: str = "") -> str:
    """The sentence for any failure; an unexpected one is written to the log file, which the sentence names.

    ``doing`` names the action in a word or two, for the log.
    """
    if expected := sentence(error):
        return expected
    path = logs.record(error, doing)
    what = f"an unexpected failure: {_named(error)}"
    if path is None:
        file = _quoted(logs.log_file())
        return f"{what}; the log file {file} could not be written, please report this line"
    return f"{what}; please report it with the last entry of {_quoted(path)}"


@overload
def sentence(error: OSError) -> str: ...
@overload
def sentence(error: BaseException) -> str | None: ...
def sentence(error: BaseException) -> str | None:
    """The sentence for an expected failure, on one line; None for any other."""
    if isinstance(error, UniIDError):
        return visible(" ".join(str(error).split()))
    for found in (out_of_memory, _packages, _libraries):
        if words := found(error):
            return words
    if isinstance(error, OSError):
        return _system(error)
    return next((say(error) for kind, say in _OUT_OF_FILES if isinstance(error, kind)), None)


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Name the file in every error raised while it is read.

    Raises:
        FileError: for ``OSError``, and for errors of decoders on damaged data (``ValueError``, ``EOFError``,
        ``KeyError``, errors of pickle, zip and safetensors).
    """
    try:
        yield
    except UniIDError:
        raise
    except OSError as error:
        words = sentence(error) if error.errno else None
        raise FileError(words or f"{_quoted(path)} cannot be read ({_message(error)}); {AGAIN}") from error
    except (ValueError, EOFError, KeyError, IndexError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise FileError(f"{_quoted(path)} is damaged ({_message(error)}); {AGAIN}") from error
    except Exception as error:
        if not _is_a(error, "SafetensorError"):
            raise
        raise FileError(f"{_quoted(path)} is damaged ({_message(error)}); {AGAIN}") from error


# --- memory ---

_NO_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|failed to allocate|bad allocation|std::bad_alloc"
    r"|ALLOC_FAILED|Invalid buffer size",
    re.IGNORECASE,
)
_ON_THE_CARD = re.compile(r"CUDA|CUBLAS|HIP|MPS|XPU", re.IGNORECASE)


def out_of_memory(error: BaseException) -> str | None:
    """The sentence for too little memory, of the computer or of its graphics card."""
    short = isinstance(error, MemoryError) or _is_a(error, "OutOfMemoryError")
    short = short or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    short = short or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None)
    if not short:
        return None
    where = "of the graphics card" if _ON_THE_CARD.search(f"{type(error)} {error}") else "of this computer"
    return (
        f"the memory {where} is not enough; lower the width and height, the number of pictures"
        " or the number of identities, or close other programs"
    )


# --- packages ---

PACKAGES = {"cv2": "opencv-python", "PIL": "pillow", "open_clip": "open_clip_torch", "yaml": "pyyaml"}
"""Packages whose name differs from the module's."""

_MISSING = re.compile(
    r"No module named '([\w.]+)'|import dependency (\w+)|requires the (\w+) (?:library|package)"
)
_NUMPY = re.compile(
    r"binary incompatibility|multiarray failed to import|compiled using NumPy|_ARRAY_API not found"
)


def _packages(error: BaseException) -> str | None:
    if isinstance(error, ImportError | ValueError | AttributeError) and _NUMPY.search(str(error)):
        module = _imported(error)
        return (
            f"{module} was built for a numpy version other than the installed one;"
            f" reinstall both: pip install --force-reinstall numpy {PACKAGES.get(module, module)}"
        )
    if not isinstance(error, ImportError):
        return None
    named = _MISSING.search(str(error))
    missing = next((group for group in named.groups() if group), None) if named else None
    if missing is None and isinstance(error, ModuleNotFoundError):
        missing = error.name
    module = (missing or _imported(error)).split(".")[0]
    if module == "lib_uniid":
        return f"UniID is not installed completely ({_message(error)}); reinstall it"
    if words := installation.advice(module, "it is not installed" if missing else _message(error)):
        return words
    remedy = f"pip install {PACKAGES.get(module, module)}"
    if missing:
        return f"{module} is not installed; install it ({remedy}), or see what is missing with uniid doctor"
    return f"{module} cannot be imported ({_message(error)}); reinstall it: {remedy} --force-reinstall"


def _imported(error: BaseException) -> str:
    """The package whose import failed: the first in the traceback that is neither ours nor Python's."""
    step = error.__traceback__
    while step is not None:
        top = str(step.tb_frame.f_globals.get("__name__", "")).split(".")[0]
        file = step.tb_frame.f_code.co_filename
        if "site-packages" in file and top not in {"lib_uniid", "importlib"}:
            return top
        step = step.tb_next
    return (getattr(error, "name", None) or "a package").split(".")[0]


# --- other libraries, by the names of their classes ---

_NETWORK = ("httpx", "requests", "urllib3", "urllib", "huggingface_hub", "http", "socket", "ssl")
_CARD = re.compile(r"^(CUDA|HIP|MPS) |CUDA error|no NVIDIA driver|not compiled with CUDA", re.IGNORECASE)


def _libraries(error: BaseException) -> str | None:
    if _is_a(error, "SafetensorError"):
        return f"a weights file is damaged or was changed while it was read ({_message(error)}); {AGAIN}"
    if _is_a(error, "DecompressionBombError"):
        return "a picture declares more pixels than can be opened safely; save a smaller copy"
    if _is_a(error, "UnidentifiedImageError"):
        return f"a file is not a picture that can be opened ({_message(error)}); choose another file"
    if _from(error, "onnxruntime"):
        return f"onnxruntime cannot run a model file ({_message(error)}); {AGAIN}"
    if _from(error, *_NETWORK):
        return f"the network did not answer ({_message(error)}); check the connection and try again"
    if isinstance(error, RuntimeError | AssertionError) and _CARD.search(str(error)):
        return f"the graphics card cannot be used ({_message(error)}); restart, or choose --device cpu"
    return None


# --- the system ---

_BY_NUMBER: dict[int, str] = {
    errno.ENOSPC: "the disk is full, {file} cannot be written; free some space and try again",
    errno.EROFS: "{file} cannot be written: its disk is read-only; choose another folder",
    errno.EACCES: "{file} cannot be opened: permission denied; check its permissions, or choose another file",
    errno.EPERM: "{file} cannot be changed: not permitted; check its owner, or choose another folder",
    errno.ENOENT: "file or folder {file} not found; check the path",
    errno.EISDIR: "{file} is a folder, and a file is needed; check the path",
    errno.ENOTDIR: "{file} is a file, and a folder is needed; choose another folder",
    errno.EEXIST: "{file} already exists and cannot be replaced; choose another folder",
    errno.ENAMETOOLONG: "the name {file} is too long for this disk; choose a shorter one",
    errno.ELOOP: "{file} is a link to itself; remove the link",
    errno.EMFILE: "too many files are open; close other programs and try again",
    errno.ENFILE: "too many files are open; close other programs and try again",
    errno.EIO: "the disk reports an error at {file}; check the disk, or choose another folder",
    errno.EADDRINUSE: "the port is in use by another program; choose another with --port",
    errno.EADDRNOTAVAIL: "the address does not belong to this computer; choose another",
    errno.EPIPE: "the output was closed before everything was written",
}
_BY_NUMBER[getattr(errno, "EDQUOT", errno.ENOSPC)] = _BY_NUMBER[errno.ENOSPC]
_OFF_LINE = {errno.EHOSTUNREACH, errno.ENETUNREACH}


def _system(error: OSError) -> str:
    cut = isinstance(error, ConnectionError | TimeoutError) and not isinstance(error, BrokenPipeError)
    if cut or error.errno in _OFF_LINE:
        return f"the network did not answer ({_message(error)}); check the connection and try again"
    file, number = _file(error), error.errno
    if number in {errno.ENOTDIR, errno.EEXIST} and (blocking := _file_on_the_way(file)):
        file, number = blocking, errno.ENOTDIR
    known = _BY_NUMBER.get(number or 0)
    if known and (file or "{file}" not in known):
        return known.format(file=_quoted(file))
    where = f" {_quoted(file)}" if file else ""
    return f"a file cannot be read or written:{where} ({_message(error)}); check the disk and the path"


def _file(error: OSError) -> str:
    """The file of an error; for a temporary file, its folder."""
    given = error.filename
    if not isinstance(given, str | bytes) or not given:
        return ""
    name = os.fsdecode(given)
    return os.path.dirname(name) or "." if name.endswith(".part") else name


def _file_on_the_way(name: str) -> str | None:
    """The part of a path that is a file, although a folder is needed."""
    for path in (Path(name), *Path(name).parents):
        try:
            if path.is_file():
                return str(path)
        except OSError:
            return None
    return None


# --- contents of files, and text for terminals ---


def _not_text(error: BaseException) -> str:
    return f"a file is not text ({_message(error)}); check the file, or download it again"


def _not_encodable(error: BaseException) -> str:
    assert isinstance(error, UnicodeEncodeError)
    letters = visible(error.object[error.start : error.end])
    where = f"are not in the encoding {error.encoding}"
    return f"the characters '{letters}' {where}; rename it, or set PYTHONIOENCODING=utf-8"


def _damaged(error: BaseException) -> str:
    return f"a file ends too early or is damaged ({_message(error)}); download it again"


_OUT_OF_FILES: tuple[tuple[type[BaseException], Callable[[BaseException], str]], ...] = (
    (UnicodeDecodeError, _not_text),
    (UnicodeEncodeError, _not_encodable),
    (EOFError, _damaged),
    (pickle.UnpicklingError, _damaged),
    (zipfile.BadZipFile, _damaged),
)

# --- words ---


def _is_a(error: BaseException, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(error).__mro__)


def _from(error: BaseException, *packages: str) -> bool:
    """Whether a class of the error comes from one of these packages."""
    return any(kind.__module__.split(".")[0] in packages for kind in type(error).__mro__)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {_message(error)}"


def _message(error: BaseException) -> str:
    """The library's message on one line, shortened."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return shortened(visible(" ".join(text.split())) or type(error).__name__, 200)


def _quoted(path: str | Path) -> str:
    return shortened(visible(str(path)), 120)
