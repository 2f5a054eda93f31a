"""The errors of hostbuild: what happened, why, and what to do next.

Every error that a user can meet derives from `HostbuildError`. It carries three short texts, an exit
code and whether trying again later can help, and it survives pickling, because workers send their
errors to the parent process.

Exit codes (promise): 1 failed, 2 wrong usage, 75 try again later (EX_TEMPFAIL of sysexits.h),
130 and 143 after SIGINT and SIGTERM.
"""

from __future__ import annotations

import errno
from typing import Any

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_TRY_LATER = 75


class HostbuildError(Exception):
    """Base of all errors that hostbuild raises on purpose.

    `what` says what happened, quoting the offending value; `why` the reason; `fix` what to do next;
    `detail` holds text that is to be shown as it is (a compiler's output). Each may be empty except
    `what`. `platform` names the platform whose build failed, where one did.
    """

    exit_code: int = EXIT_FAILED
    retryable: bool = False

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        fix: str = "",
        detail: str = "",
        platform: str = "",
        **extra: Any,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.detail = detail
        self.platform = platform
        self.extra: dict[str, Any] = extra

    def __str__(self) -> str:
        """One line: what, and why where it is known."""
        return f"{self.what}: {self.why}" if self.why else self.what

    def __reduce__(self) -> tuple[Any, ...]:
        state = {
            "why": self.why,
            "fix": self.fix,
            "detail": self.detail,
            "platform": self.platform,
            **self.extra,
        }
        return (_rebuild, (type(self), self.what, state))


def _rebuild(kind: type[HostbuildError], what: str, state: dict[str, Any]) -> HostbuildError:
    return kind(what, **state)


#: What a file's reader can do about an error that is not the file's fault.
_REMEDIES = {
    errno.EMFILE: "raise the limit of open files (ulimit -n), then try again",
    errno.ENFILE: "close other programs, then try again: the system has too many open files",
    errno.ENOMEM: "close other programs, then try again: the system has no memory left",
    errno.EIO: "check the disk (dmesg), then try again",
    errno.ESTALE: "try again: the network file system lost this file",
}


def remedy(error: OSError, otherwise: str) -> str:
    """What to do about a file that could not be read: `otherwise`, unless the file is not to blame."""
    return _REMEDIES.get(error.errno or 0, otherwise)


class UsageError(HostbuildError):
    """The request itself is wrong: a flag, a setting, a combination of them."""

    exit_code = EXIT_USAGE


class SettingsError(UsageError):
    """func.yaml, hostbuild.toml or [tool.hostbuild] cannot be read or holds a wrong value."""


class InvalidValueError(UsageError):
    """A text is not a digest, a platform, a reference, …; `what` quotes it."""


class InvalidDigestError(InvalidValueError):
    """Not a digest of the image specification's grammar, or of an unsupported algorithm."""


class InvalidPlatformError(InvalidValueError):
    """Not a platform specifier (os/arch[/variant])."""


class InvalidReferenceError(InvalidValueError):
    """Not an image reference by Docker's grammar."""


class InvalidDocumentError(HostbuildError):
    """A JSON document (manifest, index, config, layout) is not what the image specification asks."""


class SourceError(HostbuildError):
    """The source directory cannot be read or holds what cannot be shipped."""


class LinkEscapesError(SourceError):
    """A symbolic link leaves the source directory, judged by where it resolves."""


class SourceChangedError(SourceError):
    """A file was changed, added or removed while it was being built."""


class IgnoreFileError(SourceError):
    """The ignore file holds a pattern that cannot be understood; `what` names file and line."""


class DetectionError(SourceError):
    """No language, or no way to start the program, could be told from the source."""


class RuntimeNotImplementedError(HostbuildError):
    """A runtime that knative func knows and hostbuild does not build."""


class RuntimeNotRecognisedError(HostbuildError):
    """A runtime that nobody knows."""


class ToolError(HostbuildError):
    """A tool that hostbuild starts failed; `detail` is what it printed, as it was."""


class ToolMissingError(HostbuildError):
    """A tool that the build needs is not on this machine."""


class StoreError(HostbuildError):
    """The cache or the build directory cannot be written or read (full, read-only, no permission)."""


class CorruptBlobError(StoreError):
    """A blob's bytes are not what its digest and size say."""


class TryLaterError(HostbuildError):
    """The same command may succeed later without a change."""

    exit_code = EXIT_TRY_LATER
    retryable = True


class BuildInProgressError(TryLaterError):
    """Another process makes this very build; `extra['pid']` is its pid where it is known."""


class UnreachableError(TryLaterError):
    """A server could not be reached, fell silent, or asked to come later until the time to retry ran out."""


class WaitTimeoutError(TryLaterError):
    """The time to wait for another process ran out."""


class BuildTimeoutError(HostbuildError):
    """The build took longer than --timeout allows and was stopped."""


class WorkerDiedError(HostbuildError):
    """A worker process ended without an answer (killed, out of memory, crashed)."""


class CancelledTaskError(HostbuildError):
    """A task was stopped because another one failed; never the first error that a user sees."""


class NetworkError(HostbuildError):
    """A server was reached and the exchange failed for good; trying again changes nothing."""


class TlsError(NetworkError):
    """The server's certificate is not trusted, or one side speaks TLS and the other does not."""


class ProtocolError(NetworkError):
    """An answer that the protocol does not allow: no JSON, too long, a redirect that leads in circles."""


class TransferBrokenError(UnreachableError):
    """A body ended before its end; who can ask for the rest, does."""


class RegistryError(NetworkError):
    """A registry refuses a request; `extra['status']` the HTTP status, `extra['codes']` its error codes."""


class AuthenticationError(RegistryError):
    """A registry asks for other credentials, or these may not do it."""


class NotInRegistryError(RegistryError):
    """The registry has no such repository, manifest or blob."""


class OfflineError(HostbuildError):
    """The network would be needed, and --offline forbids it."""


class BaseImageError(HostbuildError):
    """The base image cannot be used: not for these platforms, not of a known kind, not what was locked."""


class LocalImageError(HostbuildError):
    """An image on this machine (layout or archive) is absent, damaged, not one, or one of several."""


class WheelError(HostbuildError):
    """A wheel cannot be used; `extra['wheel']` is its file name, `extra['member']` the file in it, or ""."""


class ElfError(HostbuildError):
    """A file that begins as ELF does and is damaged, or more than we read."""


class DependenciesError(HostbuildError):
    """A project's dependencies cannot be read, resolved or used; `what` names file and line where it can."""


class MissingWheelsError(DependenciesError):
    """Packages that have no wheel for a target.

    `extra['missing']` is a list of JSON objects, one a package: name, version, missing_for, wheels_for,
    sdist, pin, advice. `extra['command']` is the flag that leaves the platforms out, or "".
    """


class CredentialsError(HostbuildError):
    """Stored credentials cannot be read or written, or a credential helper fails."""
