"""Everything that can be wrong, by name.

Each message says what is wrong, with the value, and what to do about it. Core code raises these; each door
catches what reaches it and asks :func:`lib_uniid.failures.explain` for the sentence.
"""

from collections.abc import Iterable


class UniIDError(Exception):
    """Base of every error that a person can do something about.

    ``field`` says where it is wrong: the path of a field in a request, such as ``people[0].weight``, the name
    of a setting, or a picture by the label that its caller gave it. It is None for an error of no field.
    """

    field: str | None

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field

    def within(self, path: str) -> None:
        """Say that what is wrong lies in ``path``; the message begins with it from then on."""
        self.field = f"{path}.{self.field}" if self.field else path
        self.args = (f"{path}: {self}",)


class ConfigError(UniIDError):
    """A setting outside its range."""


class PictureError(UniIDError):
    """A file that is no picture, is damaged, or is too large to open safely."""


class NoFaceError(UniIDError):
    """No face was found where one is needed."""


class SeveralFacesError(UniIDError):
    """Several faces were found and none was chosen."""


class DifferentPeopleError(UniIDError):
    """References of one person that seem to show several people; a user may confirm that they do not."""


class FileError(UniIDError):
    """A file or folder that cannot be read, or cannot be written."""


class MissingModelError(UniIDError):
    """A model file that is needed and not there."""


class MissingPackageError(UniIDError):
    """A Python package that is needed and not there, or cannot be imported."""


class DownloadError(UniIDError):
    """A model file that could not be fetched, or is not the published one."""


class UnknownCheckpointError(UniIDError):
    """A weights file that cannot be read safely, or is of no known kind."""


class CheckpointMismatchError(UniIDError):
    """A weights file of a known kind whose tensors do not fit it exactly."""

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
    """Features made by another encoder than the one the weights expect."""


class HostTooOldError(UniIDError):
    """A host without something that the extension needs."""


class HooksIgnoredError(UniIDError):
    """A UNet that was computed without the hooks that were set on its layers."""


class PluginError(UniIDError):
    """A plugin that raised, or that does not fit; it is named."""
