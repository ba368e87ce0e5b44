"""``uniid serve``: the stand-alone page, only on this machine, until it is interrupted."""

import os
import signal
import webbrowser
from argparse import Namespace
from contextlib import ExitStack, suppress
from threading import Event
from typing import Any, NoReturn

from lib_uniid.commands import Outcome
from lib_uniid.commands.command_runtime import runtime_of
from lib_uniid.commands.inputs import require_file, require_port
from lib_uniid.files import require_writable
from lib_uniid.ui.guard import login, private_temporary_folder, require_apart


def run(options: Namespace) -> Outcome:
    """Inputs and outputs are checked before anything is loaded."""
    if options.port is not None:
        require_port(options.port)
    if options.base is not None:
        require_file(options.base)
    out, auth = options.out.resolve(), login(options.auth or os.environ.get("UNIID_AUTH"))
    require_writable(out)
    options.models.mkdir(parents=True, exist_ok=True)
    require_apart(out, options.models)
    signal.signal(signal.SIGTERM, _interrupt)  # so that temporary files are removed too
    with ExitStack() as stack:
        folder = stack.enter_context(private_temporary_folder())
        os.environ["GRADIO_TEMP_DIR"] = str(folder)  # read when gradio is imported
        from lib_uniid.faces.domain import note_of
        from lib_uniid.ui.page import launch, make_page

        runtime = runtime_of(options)
        page = make_page(runtime, out, base=options.base)
        address, server = launch(page, port=options.port, auth=auth)
        stack.callback(server.close, verbose=False)
        with suppress(KeyboardInterrupt):
            options.say(f"UniID is at {address} (only on this machine); Ctrl+C ends it")
            if known := note_of(runtime.index.look_up(runtime.detector.value.source)):
                options.say(known)
            if options.open:
                webbrowser.open(address)
            _wait()
    return Outcome(result={"address": address}, words=[])


def _wait() -> None:
    """Wait for Ctrl+C; on Windows it does not end a wait without a timeout."""
    while not Event().wait(1.0):
        pass


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt
