"""Exceptions that UniID raises.

Each message says what is wrong, with the value, and what to do. Core code raises these; each interface
(command line, page, panel, API) catches them and calls :func:`lib_uniid.failures.explain` for the sentence.
"""

from collections.abc import Iterable


class UniIDError(Exception):
    """Base of every error that a user can act on.

    ``field`` names what is wrong: the path of a field in a request, such as ``people[0].weight``, the name
    of a setting, or the caller's label of a picture. It is None if no field is concerned.
    """

    field: str | None

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field

    def within(self, path: str) -> None:
        """Prefix ``field`` and the message with ``path``."""
        self.field = f"{path}.{self.field}" if self.field else path
        self.args = (f"{path}: {self}",)


class ConfigError(UniIDError):
    """A setting outside its range."""


class PictureError(UniIDError):
    """A file that is not a picture, is damaged, or is too large to open safely."""


class NoFaceError(UniIDError):
    """No face was found, and one is needed."""


class SeveralFacesError(UniIDError):
    """Several faces were found and none was chosen."""


class DifferentPeopleError(UniIDError):
    """References of one person that seem to show several people; a user may confirm that they do not."""


class FileError(UniIDError):
    """A file or folder that cannot be read, or cannot be written."""


class MissingModelError(UniIDError):
    """A model file that is needed and missing."""


class MissingPackageError(UniIDError):
    """A Python package that is needed and missing, or cannot be imported."""


class DownloadError(UniIDError):
    """A model file that could not be downloaded, or is not the published one."""


class UnknownCheckpointError(UniIDError):
    """A weights file that cannot be read safely, or whose type is unknown."""


class CheckpointMismatchError(UniIDError):
    """A weights file of a known type whose tensors do not match that type exactly."""

    def __init__(
        self,
        message: str,
        *,
        missing: Iterable[str] = (),
        unexpected: Iterable[str] = (),
        misshapen: Iterable[str] = (),
    ) -> None:
        self.missing = frozenset(missing)
        self.unexpected = frozenset(unexpected)
        self.misshapen = frozenset(misshapen)
        super().__init__(message)


class EncoderMismatchError(UniIDError):
    """Features made by an encoder other than the one the weights expect."""


class HostTooOldError(UniIDError):
    """A host that lacks something the extension needs."""


class HooksIgnoredError(UniIDError):
    """A UNet that ran without the hooks registered on its layers."""


class PluginError(UniIDError):
    """A plugin that raised or is not compatible; the message names it."""
