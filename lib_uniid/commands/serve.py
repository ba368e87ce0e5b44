"""``uniid serve``: the stand-alone page, on this machine alone, until it is interrupted."""

import threading
import webbrowser
from argparse import Namespace

from lib_uniid.commands import Outcome
from lib_uniid.ui.page import launch, make_page


def run(options: Namespace) -> Outcome:
    options.models.mkdir(parents=True, exist_ok=True)
    out = options.out.resolve()
    page = make_page(options.models, out, base=options.base, device=options.device)
    address, server = launch(page, port=options.port, out=out)
    try:
        options.say(f"UniID is at {address} (on this machine alone); Ctrl+C ends it")
        if options.open:
            webbrowser.open(address)
        threading.Event().wait()
    finally:
        server.close(verbose=False)
    return Outcome(result={"address": address}, words=[])
