"""Users and passwords for package indexes: handed in, chosen by URL, and never shown."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit, urlunsplit

from hostbuild.errors import CredentialsError, InvalidValueError
from hostbuild.model import Pairs

_PORTS = {"http": 80, "https": 443}


class Credentials:
    """Who we are to which server.

    `pairs` are (place, "user:password"), in plain text, not percent-encoded. A place is `host`, `host:port`,
    or a URL `https://host[:port]/path`, which holds for its scheme and what is below it; "" holds everywhere.
    The narrowest one counts, of equal ones the first. Its repr shows no secret.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = tuple(pairs)

    def __repr__(self) -> str:
        return f"<Credentials for {len(self._pairs)} places>"

    def apply(self, url: str) -> tuple[str, dict[str, str]]:
        """The URL without user information, and the header fields that say who we are to it.

        What stands in the URL comes first; a user alone takes the password from here where there is one for
        this user. Raises InvalidValueError, which quotes no secret.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            port, parts = 0, urlsplit("")
        host = (parts.hostname or "").rstrip(".")
        if not port or not host:
            raise InvalidValueError(f"not an http or https URL: {url.partition('?')[0].rpartition('@')[2]!r}")
        own, _, place = parts.netloc.rpartition("@")
        bare = urlunsplit((parts.scheme, place, parts.path or "/", parts.query, ""))
        name, colon, password = own.partition(":")
        pair = f"{unquote(name)}:{unquote(password)}" if own else ""
        if not colon:
            known = self._known(parts.scheme, host, port, parts.path)
            if not own or known.startswith(pair):
                pair = known or pair
        if not pair:
            return bare, {}
        return bare, {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode("ascii")}

    def _known(self, scheme: str, host: str, port: int, path: str) -> str:
        best, found = -1, ""
        for place, pair in self._pairs:
            width = _width(place, scheme, host, port, path)
            if width > best:
                best, found = width, pair
        return found


def _width(place: str, scheme: str, host: str, port: int, path: str) -> int:
    """How narrow a place is that holds for this URL; -1 where it does not."""
    if not place:
        return 0
    has_scheme = "://" in place
    try:
        parts = urlsplit(place if has_scheme else f"//{place}")
        wanted = parts.port or (_PORTS.get(parts.scheme) if has_scheme else None)
    except ValueError:
        return -1
    if (parts.hostname or "").rstrip(".") != host or wanted not in (None, port):
        return -1
    if not has_scheme:
        return 1 + bool(wanted)
    above = parts.path.rstrip("/") + "/"
    return 2 + len(above) if parts.scheme == scheme and (path + "/").startswith(above) else -1


def read_netrc(path: str) -> Pairs:
    """What the netrc file at `path` says, for `Credentials`; its `default` holds for every other place.

    Raises CredentialsError, which quotes nothing of the file.
    """
    from netrc import NetrcParseError, netrc

    line: int | None = None
    try:
        hosts = netrc(path).hosts
    except NetrcParseError as error:  # its message quotes the word that it stumbled over
        line = error.lineno
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8"
        raise CredentialsError(
            f"{path!r} cannot be read", why=why, fix="mend it, or do not name it"
        ) from None
    else:
        pairs = [(host, f"{login}:{password or ''}") for host, (login, _, password) in hosts.items()]
        return tuple(("" if host == "default" else host, pair) for host, pair in pairs)
    raise CredentialsError(
        f"{path!r} is no netrc file", why=f"line {line} cannot be understood", fix="mend it"
    )
