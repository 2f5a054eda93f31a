"""Which proxy stands between us and a URL, read from the environment that was handed in.

As Go and curl read it: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, in either case. NO_PROXY is a list of host names
(subdomains included; a leading dot or `*.` means subdomains only), addresses, networks (CIDR), each with an
optional port, or `*`. This machine itself is never reached through a proxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from hostbuild.errors import UsageError
from hostbuild.http.redirects import Origin

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address


class Proxy(NamedTuple):
    """A proxy: `url` is `scheme://host:port`, without credentials; user and password are decoded."""

    url: str
    place: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Proxy({self.url!r})"


def is_loopback(host: str) -> bool:
    """Whether a host name or address (no port) means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def proxy_for(origin: Origin, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for requests to `origin`; None where it is reached directly. Raises UsageError."""
    name = f"{origin.scheme}_proxy"
    # A CGI program's HTTP_PROXY is the header `Proxy` of whoever asks: not to be trusted (httpoxy).
    in_cgi = name == "http_proxy" and "REQUEST_METHOD" in environment
    value = ("" if in_cgi else environment.get(name.upper(), "")) or environment.get(name, "")
    if not value or is_loopback(origin.host):
        return None
    if _is_excepted(origin, environment.get("NO_PROXY", "") or environment.get("no_proxy", "")):
        return None
    return _parse(value, name.upper())


def _parse(value: str, variable: str) -> Proxy:
    text = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme not in ("http", "https"):
        raise UsageError(
            f"{variable} names no proxy that can be used",
            why=f"its scheme is {parts.scheme!r}" if host else "it is no URL with a host",
            fix=f"set {variable} to http://HOST:PORT (a login stands before HOST, and an @ after it); "
            "SOCKS is not supported",
        )
    port = port or {"http": 80, "https": 443}[parts.scheme]
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Proxy(
        f"{parts.scheme}://{place}", place, unquote(parts.username or ""), unquote(parts.password or "")
    )


def _is_excepted(origin: Origin, no_proxy: str) -> bool:
    return any(_matches(origin, item.strip().lower()) for item in no_proxy.split(","))


def _matches(origin: Origin, item: str) -> bool:
    if item in ("", "*"):
        return item == "*"
    if "/" in item:
        return _is_in_network(origin.host, item)
    name, port = _host_and_port(item)
    if port and port != str(origin.port):
        return False
    wanted, address = _address(name), _address(origin.host)
    if wanted is not None or address is not None:
        return wanted == address
    host = origin.host.lower()
    name = name.removeprefix("*").rstrip(".")
    if name.startswith("."):
        return host.endswith(name)
    return host == name or host.endswith(f".{name}")


def _host_and_port(item: str) -> tuple[str, str]:
    if item.startswith("["):
        host, _, rest = item[1:].partition("]")
        return host, rest.removeprefix(":")
    if item.count(":") == 1:
        host, _, port = item.partition(":")
        return host, port
    return item, ""


def _address(text: str) -> IPv4Address | IPv6Address | None:
    from ipaddress import IPv6Address, ip_address

    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _is_in_network(host: str, item: str) -> bool:
    from ipaddress import ip_network

    address = _address(host)
    if address is None:
        return False
    try:
        return address in ip_network(item, strict=False)
    except ValueError:
        return False
