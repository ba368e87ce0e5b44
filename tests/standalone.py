"""What only the stand-alone environment has, and not a WebUI's."""

from importlib import metadata

import pytest


def _needs(package: str, major: int, what: str) -> pytest.MarkDecorator:
    version = metadata.version(package)
    reason = f"{what} needs {package} {major}; this is {version}"
    return pytest.mark.skipif(int(version.partition(".")[0]) < major, reason=reason)


needs_standalone_host = _needs("transformers", 5, "the stand-alone host")
needs_standalone_page = _needs("gradio", 6, "the stand-alone page")
