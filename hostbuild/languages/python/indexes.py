"""Where packages come from: pip's and uv's variables and a requirements file's options, as uv's variables.

Users and passwords travel in the environment of the tool only: never in its arguments, in a lock, in a
key, or in an error. Sources: pip's documentation, "Configuration"; uv's, "Environment variables".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from hostbuild.patterns import late

if TYPE_CHECKING:
    from hostbuild.languages.python.requirements import Sources

#: User information of URLs, to the last @ before the host's end: a password may hold one.
_USER_INFO = late(r"(?<=://)([^/\s?#]*)@")

#: pip's variable, uv's variable, and uv's older one that wins where it is set.
_FROM_PIP = (
    ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    ("PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"),
    ("PIP_FIND_LINKS", "UV_FIND_LINKS", ""),
    ("PIP_TRUSTED_HOST", "UV_INSECURE_HOST", ""),
    ("PIP_KEYRING_PROVIDER", "UV_KEYRING_PROVIDER", ""),
    ("PIP_CERT", "SSL_CERT_FILE", ""),
)

#: uv's variables that decide what a lock holds; a key holds them, without user information.
RESOLVING = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_INDEX_STRATEGY",
    "UV_RESOLUTION",
    "UV_PRERELEASE",
    "UV_FORK_STRATEGY",
    "UV_EXCLUDE_NEWER",
    "UV_NO_BUILD",
    "UV_NO_BUILD_PACKAGE",
    "UV_NO_BINARY",
    "UV_NO_BINARY_PACKAGE",
    "UV_NO_SOURCES",
    "UV_TORCH_BACKEND",
    "UV_CONFIG_FILE",
    "UV_NO_CONFIG",
)

#: Variables that would make uv look elsewhere, or write elsewhere, than it is told to.
_LEFT_OUT = (
    "CONDA_PREFIX",
    "UV_BUILD_CONSTRAINT",
    "UV_CONSTRAINT",
    "UV_EXCLUDE",
    "UV_FROZEN",
    "UV_LOCKED",
    "UV_NO_DEV",
    "UV_NO_DEFAULT_GROUPS",
    "UV_NO_EDITABLE",
    "UV_NO_GROUP",
    "UV_OVERRIDE",
    "UV_PROJECT",
    "UV_PYTHON",
    "UV_PYTHON_PREFERENCE",
    "UV_MANAGED_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_WORKING_DIR",
    "UV_WORKING_DIRECTORY",
    "VIRTUAL_ENV",
)

#: Those of them that a user would miss.
_MISSED = ("UV_BUILD_CONSTRAINT", "UV_CONSTRAINT", "UV_EXCLUDE", "UV_OVERRIDE")

_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")

_NO_WORD = late(r"[^A-Za-z0-9]")

_SECRET_NAME = late(r"(PASSWORD|TOKEN|SECRET)$")


def strip_user_info(text: str) -> str:
    """`text` without the user and password of the URLs in it."""
    return _USER_INFO.sub("", text) if "@" in text else text


def uv_environment(environment: Mapping[str, str], sources: Sources | None = None) -> dict[str, str]:
    """What uv is started with: `environment`, pip's variables in uv's words, and a file's own sources first.

    pip's `PIP_NO_INDEX` has no variable in uv; see `without_index`.
    """
    result = {name: value for name, value in environment.items() if name not in _LEFT_OUT}
    for pip, uv, older in _FROM_PIP:
        if environment.get(pip) and not environment.get(uv) and not (older and environment.get(older)):
            result[uv] = _as_uv(pip, environment[pip])
    if sources is not None:
        _add_sources(result, sources)
    result.setdefault("UV_SYSTEM_CERTS", "1")
    result.setdefault("UV_NATIVE_TLS", "1")  # what releases before UV_SYSTEM_CERTS call it
    result["NO_COLOR"] = "1"
    result["UV_NO_PROGRESS"] = "1"
    result["UV_NO_WRAP"] = "1"  # its errors are read line by line
    return result


def without_index(environment: Mapping[str, str], sources: Sources | None = None) -> bool:
    """Whether no index is to be asked: only `find-links`."""
    said = environment.get("PIP_NO_INDEX", "").lower() in {"1", "true", "yes", "on"}
    return said or (sources is not None and sources.no_index)


def resolving_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Uv's variables that decide what a lock holds, without users and passwords: fit for a key."""
    complete = uv_environment(environment)
    return {name: strip_user_info(complete[name]) for name in RESOLVING if complete.get(name)}


def unused_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The variables of uv that would change what is chosen, and are not used."""
    return tuple(name for name in _MISSED if environment.get(name))


def secrets(environment: Mapping[str, str], urls: Iterable[str] = ()) -> tuple[str, ...]:
    """Texts that must not be shown, the longest first: passwords in URLs, and in variables made for them."""
    found: set[str] = set()
    for name, value in environment.items():
        if name.startswith(("UV_", "PIP_")):
            if _SECRET_NAME.search(name):
                found.add(value)
            found.update(_passwords(value))
    for url in urls:
        found.update(_passwords(url))
    # A word of a few letters would be blotted out of every other word.
    return tuple(sorted((each for each in found if len(each) >= 4), key=len, reverse=True))


def credential_pairs(
    environment: Mapping[str, str], urls: Iterable[str], named: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Who we are to which server: ("https://host:port/", "user:password"), for what fetches the files.

    They stand in `urls`, in the URLs of uv's and pip's variables, and in `UV_INDEX_NAME_USERNAME` and
    `_PASSWORD` for an index of that name, in uv's variables or among `named` (name to URL).
    """
    complete = uv_environment(environment)
    indexes = [each for name in _INDEXES for each in complete.get(name, "").split()]
    links = complete.get("UV_FIND_LINKS", "").split(",")
    names = dict(named)
    places = []
    for index in indexes:
        name, equals, url = index.partition("=")
        if equals and "/" not in name:
            names[name] = url
            places.append(url)
        else:
            places.append(index)
    found: dict[str, str] = {}
    for url in (*urls, *places, *links):
        if pair := _user_of(url):
            found.setdefault(_server(url), pair)
    for name, url in names.items():
        prefix = f"UV_INDEX_{_NO_WORD.sub('_', name).upper()}"
        user, password = complete.get(f"{prefix}_USERNAME", ""), complete.get(f"{prefix}_PASSWORD", "")
        if user or password:
            found[_server(url)] = f"{user}:{password}"
    return tuple(found.items())


def _user_of(url: str) -> str:
    match = _USER_INFO.search(url)
    if match is None:
        return ""
    user, _, password = match[1].partition(":")
    return f"{unquote(user)}:{unquote(password)}"


def _server(url: str) -> str:
    scheme, _, rest = strip_user_info(url).partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/"


def hide(text: str, hidden: Iterable[str]) -> str:
    """`text` with the secrets and all user information replaced by ***."""
    for secret in hidden:
        text = text.replace(secret, "***")
    return _USER_INFO.sub("***@", text)


def _passwords(text: str) -> set[str]:
    found = set()
    for match in _USER_INFO.finditer(text):
        user, colon, password = match[1].partition(":")
        secret = password if colon else user  # a token stands alone, as the user
        found |= {secret, unquote(secret)}
    return found


def _as_uv(pip: str, value: str) -> str:
    """Pip's lists have blanks between their items; uv's of find-links have commas."""
    if pip == "PIP_FIND_LINKS":
        return ",".join(value.split())
    if pip == "PIP_KEYRING_PROVIDER":
        return "subprocess" if value in {"subprocess", "import", "auto"} else "disabled"
    return value


def _add_sources(result: dict[str, str], sources: Sources) -> None:
    if sources.index:
        result.pop("UV_INDEX_URL", None)
        result["UV_DEFAULT_INDEX"] = sources.index
    if sources.extra_indexes:
        before = [result[name] for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL") if result.get(name)]
        result.pop("UV_EXTRA_INDEX_URL", None)
        result["UV_INDEX"] = " ".join((*before, *sources.extra_indexes))
    if sources.find_links:
        before = [result["UV_FIND_LINKS"]] if result.get("UV_FIND_LINKS") else []
        result["UV_FIND_LINKS"] = ",".join((*before, *sources.find_links))
    if sources.trusted_hosts:
        before = [result["UV_INSECURE_HOST"]] if result.get("UV_INSECURE_HOST") else []
        result["UV_INSECURE_HOST"] = " ".join((*before, *sources.trusted_hosts))
