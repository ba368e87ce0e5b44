"""``uniid generate``: generate pictures with people, check the result, and write the files."""

import time
from argparse import Namespace

from lib_uniid.commands import Outcome
from lib_uniid.commands.inputs import (
    library_folder,
    require_detector,
    require_encoder,
    require_file,
    require_method,
    require_models,
)
from lib_uniid.commands.settings import arguments_of
from lib_uniid.config import GenerationSettings
from lib_uniid.files import require_writable


def run(options: Namespace) -> Outcome:
    """Inputs and outputs are checked before anything is loaded."""
    begun = time.monotonic()
    wanted = arguments_of(options)
    if options.base is not None:
        require_file(options.base)
    require_writable(options.out)
    library_folder(options)
    if options.base is None:
        require_models(options, "base")
    if wanted.settings.people:
        require_method(options, wanted.settings, several=_routed(wanted.settings))
        require_detector(options)
    if wanted.pictures:
        require_encoder(options, wanted.settings.method)

    from lib_uniid.commands.making import make  # imports torch, which takes some seconds

    return make(wanted, options, begun)


def _routed(settings: GenerationSettings) -> bool:
    """Whether the method chooses between several people."""
    return settings.routing == "auto" and sum(one.mask is None for one in settings.people) > 1
