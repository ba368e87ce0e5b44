"""The command line of ``uniid``: its commands, their options, and the help with every default."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lib_uniid import __version__
from lib_uniid.fields.generation import GENERATION, MAX_SIDE
from lib_uniid.fields.person import MAX_PEOPLE, PERSON
from lib_uniid.fields.request import STYLE
from lib_uniid.fields.rows import Row, numbers
from lib_uniid.printing import Parser

UNSET = argparse.SUPPRESS  # defaults are defined in one place, the settings

Number = TypeVar("Number", int, float)
AddParser = Callable[..., argparse.ArgumentParser]
AddArgument = Callable[..., argparse.Action]


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    whole = Parser(prog="uniid", description="Adds chosen people to pictures.")
    whole.add_argument("--version", action="version", version=f"uniid {__version__}")
    subparsers = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_enrol,
        _add_faces,
        _add_generate,
        _add_serve,
        _add_forget,
        _add_fetch,
        _add_plugins,
        _add_doctor,
    ):
        _add_common(add(subparsers.add_parser))
    _add_managing(subparsers.add_parser)
    return whole


def default_models() -> Path:
    """``UNIID_MODELS``, or a folder in the system's place for the user's data."""
    if named := os.environ.get("UNIID_MODELS"):
        return Path(named)
    home = Path.home()
    data = {
        "win32": Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")),
        "darwin": home / "Library" / "Application Support",
    }.get(sys.platform, Path(os.environ.get("XDG_DATA_HOME", home / ".local" / "share")))
    return data / "uniid" / "models"


def _add_common(add: argparse.ArgumentParser) -> None:
    add.add_argument("--json", action="store_true", help="print one JSON object")
    add.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        default=default_models(),
        help="folder with the models (default: UNIID_MODELS, or %(default)s)",
    )


def _add_library(add: AddArgument) -> None:
    add(
        "--library",
        type=Path,
        metavar="DIR",
        help="folder of enrolled people (default: uniid/library in the models folder)",
    )


def _add_device(add: AddArgument) -> None:
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: the best available)")


def _add_outputs(add: AddArgument) -> None:
    add(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path("out"),
        help="folder for the pictures (default: %(default)s)",
    )
    add("--base", type=Path, metavar="FILE", help="checkpoint (default: the first in the models folder)")


def _add_enrol(add_parser: AddParser) -> argparse.ArgumentParser:
    add = add_parser("enrol", help="store a person's face features from pictures")
    add.add_argument("name", metavar="NAME")
    add.add_argument("pictures", nargs="+", metavar="PICTURE", help="a file; FILE#2 chooses its second face")
    choice = add.add_mutually_exclusive_group()
    choice.add_argument(
        "--face", type=whole, metavar="N", help="the Nth face from the left in every picture, from 1"
    )
    choice.add_argument("--point", metavar="X,Y", help="the face at this point, in pixels")
    choice.add_argument("--largest", action="store_true", help="the largest face in every picture")
    add.add_argument("--replace", action="store_true", help="re-enrol a person if the name is taken")
    add.add_argument(
        "--force", action="store_true", help="accept pictures that seem to show different people"
    )
    add.add_argument(
        "--method", metavar="NAME", help="the method to enrol for (default: the first; see uniid plugins)"
    )
    _add_library(add.add_argument)
    _add_device(add.add_argument)
    return add


def _add_managing(add_parser: AddParser) -> None:
    """``uniid people`` has commands of its own, each with the common options."""
    actions = add_parser("people", help="list, show, rename and delete enrolled people").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    for action, names, meaning in (
        ("list", (), "list enrolled people and the people in the bin"),
        ("show", ("name",), "show what is stored of a person"),
        ("rename", ("name", "new"), "rename a person"),
        ("delete", ("name",), "move a person into the bin, and delete the encodings of their pictures"),
        ("restore", ("name",), "restore a person from the bin, by name or by id"),
    ):
        add = actions.add_parser(action, help=meaning)
        for name in names:
            add.add_argument(name, metavar=name.upper())
        _add_library(add.add_argument)
        _add_common(add)


def _add_forget(add_parser: AddParser) -> argparse.ArgumentParser:
    add = add_parser("forget", help="permanently erase the bin and the encodings of pictures")
    add.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="also delete this person permanently (default: no enrolled person)",
    )
    _add_library(add.add_argument)
    return add


def _add_faces(add_parser: AddParser) -> argparse.ArgumentParser:
    add = add_parser("faces", help="list the faces in pictures")
    add.add_argument("pictures", nargs="+", metavar="PICTURE")
    return add


def _add_generate(add_parser: AddParser) -> argparse.ArgumentParser:
    add = add_parser("generate", help="generate pictures with people")
    add.add_argument("prompt", metavar="PROMPT", help='may be "" with --style-from')
    _add_people(add.add_argument_group("people").add_argument)
    _add_settings(add.add_argument_group("picture").add_argument)
    _add_outputs(add.add_argument)
    _add_library(add.add_argument)
    _add_device(add.add_argument)
    return add


def _add_people(add: AddArgument) -> None:
    add(
        "--person",
        action="append",
        default=[],
        metavar="NAME[=PICTURE]",
        help=f"an enrolled person, or a new one from a picture (FILE#2 chooses its second face); up to"
        f" {MAX_PEOPLE} times",
    )
    for row in numbers(PERSON, "option"):
        add(f"--{row.flag}", action="append", default=[], metavar="[NAME=]NUMBER", help=_help(row))
    add("--mix", action="append", default=[], metavar="NAME=OTHER:SHARE", help="blend in another person")
    add(
        "--mask",
        action="append",
        default=[],
        metavar="NAME=PICTURE",
        help="white where the person may appear",
    )
    words = PERSON["prompt"]
    add(
        f"--{words.flag}",
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help=f"{words.meaning} (default: none)",
    )
    add(
        "--preset",
        metavar="NAME",
        help="numbers of the method for a kind of checkpoint: few-steps for Lightning, Turbo, Hyper and LCM; "
        "options beside it win (default: none)",
    )
    for row in GENERATION.values():
        if row.of_people:
            _setting(add, row)


def _add_settings(add: AddArgument) -> None:
    add("--negative-prompt", default=UNSET, metavar="TEXT", help="what to avoid (default: nothing)")
    side = f"in pixels, a multiple of 8 up to {MAX_SIDE} (default: the model's training size)"
    seed = "of the first picture; -1 is a random seed (default: -1)"
    for name, meaning in (("width", side), ("height", side), ("seed", seed)):
        add(f"--{name}", type=whole, default=UNSET, metavar="N", help=meaning)
    for row in GENERATION.values():
        if not row.of_people:
            _setting(add, row)
    add("--from", dest="start_picture", metavar="PICTURE", help="start picture")
    add("--style-from", metavar="PICTURE", help="style reference (sets the sampler to DDIM)")
    _setting(add, STYLE["strength"])
    add("--maps", action="store_true", help="also write routing maps; needs two people or more")


def _setting(add: AddArgument, row: Row) -> None:
    """Add an option for a field of the settings; the parsed options lack it if it is not given."""
    kinds: dict[str, dict[str, Any]] = {
        "whole": {"type": whole, "metavar": "N"},
        "number": {"type": decimal, "metavar": "NUMBER"},
        "choice": {"choices": row.choices},
    }
    more = kinds.get(row.kind, {"metavar": "NAME"})
    add(f"--{row.flag}", default=UNSET, help=_help(row), **more)


def _help(row: Row) -> str:
    ranged = f", {row.range}" if row.kind in ("number", "whole") else ""
    return f"{row.meaning}{ranged} (default: {row.default_text})"


def _add_fetch(add_parser: AddParser) -> argparse.ArgumentParser:
    add = add_parser("fetch", help="download missing model files (mirror: HF_ENDPOINT)")
    add.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="names as doctor lists them (default: all that are needed and missing, except a base model)",
    )
    return add


def _add_serve(add_parser: AddParser) -> argparse.ArgumentParser:
    add = add_parser("serve", help="serve the stand-alone page to a browser on this machine")
    add.add_argument(
        "--port", type=_port, metavar="N", help="1 to 65535 (default: the first free port from 7860 on)"
    )
    add.add_argument("--open", action="store_true", help="open the page in the browser")
    add.add_argument(
        "--auth",
        metavar="NAME:PASSWORD",
        help="require this login (default: UNIID_AUTH, which process lists do not show, or no login)",
    )
    _add_outputs(add.add_argument)
    _add_device(add.add_argument)
    return add


def whole(text: str) -> int:
    """Parse a whole number for argparse."""
    return _read(int, text, "a whole number")


def decimal(text: str) -> float:
    """Parse a number for argparse."""
    return _read(float, text, "a number")


def _read(kind: Callable[[str], Number], text: str, what: str) -> Number:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be {what}, got {text!r}") from None


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        message = f"a port is a number from 1 to 65535, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _add_plugins(add_parser: AddParser) -> argparse.ArgumentParser:
    return add_parser("plugins", help="list what each plugin registers, and which plugins are switched off")


def _add_doctor(add_parser: AddParser) -> argparse.ArgumentParser:
    add = add_parser("doctor", help="list what is installed, what is missing and where to get it")
    add.add_argument("--hash", action="store_true", help="also compute sha256 of every model file")
    return add
