"""``uniid serve``: the stand-alone page, on this machine alone, until it is interrupted."""

import os
import signal
import threading
import webbrowser
from argparse import Namespace
from contextlib import ExitStack
from typing import Any, NoReturn

from lib_uniid.commands import Outcome
from lib_uniid.ui.guard import login, private_temporary_folder, require_apart


def run(options: Namespace) -> Outcome:
    options.models.mkdir(parents=True, exist_ok=True)
    out, auth = options.out.resolve(), login(options.auth or os.environ.get("UNIID_AUTH"))
    require_apart(out, options.models)
    signal.signal(signal.SIGTERM, _interrupt)  # so that what is temporary is removed then, too
    with ExitStack() as stack:
        folder = stack.enter_context(private_temporary_folder())
        os.environ["GRADIO_TEMP_DIR"] = str(folder)  # read when gradio is imported
        from lib_uniid.ui.page import launch, make_page

        page = make_page(options.models, out, base=options.base, device=options.device)
        address, server = launch(page, port=options.port, auth=auth)
        stack.callback(server.close, verbose=False)
        options.say(f"UniID is at {address} (on this machine alone); Ctrl+C ends it")
        if options.open:
            webbrowser.open(address)
        threading.Event().wait()
    return Outcome(result={"address": address}, words=[])


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt
