"""``uniid``: enrol people, put them into pictures, and see what is installed.

Standard output carries the result (with ``--json`` one object), standard error everything else. Exit codes:
0 done, 1 ``doctor`` found that people cannot be put into pictures, 2 something has to be changed and one
sentence says what, 130 interrupted. Nothing heavy is imported before a command needs it.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import get_args

from lib_uniid import __version__
from lib_uniid.config import SAMPLERS, Routing
from lib_uniid.errors import UniIDError

UNSET = argparse.SUPPRESS  # so that defaults stand in one place, the settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    # Nothing is fetched unasked, and libraries keep their chatter to themselves.
    os.environ.setdefault("UNIID_OFFLINE", os.environ.get("HF_HUB_OFFLINE", "0"))
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", DIFFUSERS_VERBOSITY="error")
    try:
        outcome = import_module(f"lib_uniid.commands.{options.command}").run(options)
    except UniIDError as error:
        print(f"uniid: {' '.join(str(error).split())}", file=sys.stderr)  # one line, whatever it quotes
        return 2
    except ModuleNotFoundError as error:
        print(f"uniid: {error.name} is not installed; see what is missing with uniid doctor", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("uniid: interrupted, nothing was left behind", file=sys.stderr)
        return 130
    print(json.dumps(outcome.result, ensure_ascii=False) if options.json else "\n".join(outcome.words))
    return outcome.code


def default_models() -> Path:
    """``UNIID_MODELS``, or a folder of the user's own where the system keeps such things."""
    if named := os.environ.get("UNIID_MODELS"):
        return Path(named)
    home = Path.home()
    data = {
        "win32": Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")),
        "darwin": home / "Library" / "Application Support",
    }.get(sys.platform, Path(os.environ.get("XDG_DATA_HOME", home / ".local" / "share")))
    return data / "uniid" / "models"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="uniid", description="Puts chosen people into pictures.")
    parser.add_argument("--version", action="version", version=f"uniid {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_enrol, _add_faces, _add_generate, _add_serve, _add_fetch, _add_doctor):
        _add_common(add(subparsers.add_parser))
    return parser


AddParser = Callable[..., argparse.ArgumentParser]
AddArgument = Callable[..., argparse.Action]


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        default=default_models(),
        help="folder with the models (default: UNIID_MODELS, or %(default)s)",
    )


def _add_library(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--library",
        type=Path,
        metavar="DIR",
        help="folder of enrolled people (default: uniid/library below the models)",
    )
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: the best there is)"
    )


def _add_enrol(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser("enrol", help="remember a person from pictures of them")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a file; FILE#2 takes its second face")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--face", type=int, metavar="N", help="the Nth face from the left in every picture")
    choice.add_argument("--point", metavar="X,Y", help="the face at this place, in pixels")
    choice.add_argument("--largest", action="store_true", help="the largest face in every picture")
    parser.add_argument("--replace", action="store_true", help="enrol anew where the name is taken")
    _add_library(parser)
    return parser


def _add_faces(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser("faces", help="list the faces in pictures")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE")
    return parser


def _add_generate(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser("generate", help="make pictures of people")
    parser.add_argument("prompt", metavar="PROMPT", help='may be "" with --style-from')
    _add_people(parser.add_argument_group("people").add_argument)
    _add_settings(parser.add_argument_group("picture").add_argument)
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("out"), help="default: %(default)s")
    parser.add_argument("--base", type=Path, metavar="FILE", help="checkpoint, where there are several")
    _add_library(parser)
    return parser


def _add_people(add: AddArgument) -> None:
    add(
        "--person",
        action="append",
        default=[],
        metavar="NAME[=PICTURE]",
        help="somebody enrolled, or anybody from a picture (FILE#2 takes its second face); up to 8 times",
    )
    for name, meaning in (
        ("weight", "how strongly the person is injected, 0 to 2"),
        ("structure", "how much of the reference's face shape is copied, 0 to 2"),
        ("start", "share of the steps before the person is injected, 0 to 1"),
        ("end", "share of the steps after which they no longer are, 0 to 1"),
    ):
        add(f"--{name}", action="append", default=[], metavar="[NAME=]NUMBER", help=meaning)
    add("--mix", action="append", default=[], metavar="NAME=OTHER:SHARE", help="blend another person in")
    add("--mask", action="append", default=[], metavar="NAME=PICTURE", help="white where the person may be")
    add("--routing", choices=get_args(Routing), default=UNSET)
    add("--identity-scale", type=float, default=UNSET, metavar="NUMBER", help="0 to 2")
    add("--retries", type=int, default=UNSET, metavar="N", help="further seeds while somebody is missing")


def _add_settings(add: AddArgument) -> None:
    add("--negative-prompt", default=UNSET, metavar="TEXT")
    for name in ("width", "height", "steps", "seed", "pictures"):
        add(f"--{name}", type=int, default=UNSET, metavar="N")
    add("--cfg-scale", type=float, default=UNSET, metavar="NUMBER")
    add(
        "--sampler", default=UNSET, metavar="NAME", help=f"{', '.join(SAMPLERS)}, or a scheduler of diffusers"
    )
    add("--from", dest="start_picture", type=Path, metavar="PICTURE", help="start picture")
    add("--strength", type=float, default=UNSET, metavar="NUMBER", help="change of it, 0 to 1")
    add("--style-from", type=Path, metavar="PICTURE", help="picture whose style is taken (by DDIM)")
    add("--style-strength", type=float, metavar="NUMBER", help="how much of it, 0.01 to 2")
    add("--maps", action="store_true", help="also write who was given which place")


def _add_fetch(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser("fetch", help="get the model files that are missing (mirror: HF_ENDPOINT)")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="as doctor lists them (default: what is needed and missing, but for a base model)",
    )
    return parser


def _add_serve(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser("serve", help="the page, in a browser on this machine")
    parser.add_argument("--port", type=int, metavar="N", help="default: the first that is free from 7860 on")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    parser.add_argument(
        "--auth",
        metavar="NAME:PASSWORD",
        help="ask for them first (or UNIID_AUTH, which no process list shows)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("out"), help="default: %(default)s")
    parser.add_argument("--base", type=Path, metavar="FILE", help="checkpoint, where there are several")
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: the best there is)"
    )
    parser.set_defaults(say=_say)
    return parser


def _say(line: str) -> None:
    """At once, also through a pipe."""
    print(line, file=sys.stderr, flush=True)


def _add_doctor(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser("doctor", help="what is installed, what is missing and where to get it")
    parser.add_argument("--hash", action="store_true", help="also compute sha256 of every model file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
