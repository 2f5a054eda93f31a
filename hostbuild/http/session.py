"""requests, with our connections, proxies and TLS contexts below it. Loaded with the first request.

requests' own ideas about the environment, netrc, redirects and cookies are not asked: it makes the
request out of method, URL and headers, and this module hands that to urllib3.
"""

from __future__ import annotations

import base64
import http.client
import logging
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter

from hostbuild.errors import InvalidValueError
from hostbuild.http.bodies import Sending
from hostbuild.http.connections import pool_classes
from hostbuild.http.proxies import Proxy, proxy_for
from hostbuild.http.redirects import Origin, origin_of, public
from hostbuild.http.tls import Contexts
from hostbuild.http.wires import CONNECT_SECONDS, Wires
from hostbuild.model import Access

#: What an exchange may raise, and reading a body.
ERRORS = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)

_HOSTS = 32

# Their messages quote whole URLs, and a URL's query may be a signature.
for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(lambda _: False)


class _Adapter(HTTPAdapter):
    """Finds the pool for a URL and lets urllib3 do one exchange, without retries of its own."""

    def __init__(self, access: Access, wires: Wires, pool: int) -> None:
        self._access = access
        self._classes = pool_classes(wires)
        self._contexts = Contexts(access)
        self._size = pool
        self._proxies: dict[Proxy, urllib3.ProxyManager] = {}
        super().__init__()

    def init_poolmanager(self, *_: Any, **__: Any) -> None:
        self.poolmanager = urllib3.PoolManager(num_pools=_HOSTS, maxsize=self._size)
        self.poolmanager.pool_classes_by_scheme = self._classes

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        url = request.url or ""
        origin = origin_of(url)
        proxy = proxy_for(origin, self._access.environment)
        pool = self._pool(origin, proxy)
        whole = proxy is not None and origin.scheme == "http"  # a proxy wants the absolute URL
        raw = pool.urlopen(
            request.method or "",
            url if whole else request.path_url,
            body=cast("Any", request.body),
            headers=cast("Mapping[str, str]", request.headers),
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=self._access.silence),
        )
        return self.build_response(request, raw)

    def _pool(self, origin: Origin, proxy: Proxy | None) -> urllib3.HTTPConnectionPool:
        options: dict[str, Any] = {}
        if origin.scheme == "https":
            options["ssl_context"] = self._contexts.of(origin)
        manager = self._manager(proxy) if proxy else self.poolmanager
        pool: urllib3.HTTPConnectionPool = manager.connection_from_host(
            origin.host, origin.port, origin.scheme, pool_kwargs=manager.connection_pool_kw | options
        )
        return pool

    def _manager(self, proxy: Proxy) -> urllib3.ProxyManager:
        manager = self._proxies.get(proxy)
        if manager is None:
            headers = {}
            if proxy.user or proxy.password:
                pair = f"{proxy.user}:{proxy.password}".encode()
                headers["Proxy-Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
            secure = proxy.url.startswith("https:")
            manager = urllib3.ProxyManager(
                proxy.url,
                num_pools=_HOSTS,
                maxsize=self._size,
                proxy_headers=headers,
                proxy_ssl_context=self._contexts.of(origin_of(proxy.url)) if secure else None,
            )
            manager.pool_classes_by_scheme = self._classes
            manager = self._proxies.setdefault(proxy, manager)
        return manager

    def close(self) -> None:
        self.poolmanager.clear()
        for manager in list(self._proxies.values()):
            manager.clear()


class _NoRedirects(requests.Session):
    def get_redirect_target(self, _response: requests.Response) -> None:
        """None: the transport follows redirects itself, under its own rules."""


class Session:
    """One session for all threads of a transport."""

    def __init__(self, access: Access, wires: Wires, pool: int) -> None:
        self._session = _NoRedirects()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.adapters.clear()
        adapter = _Adapter(access, wires, pool)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Sending | None, size: int
    ) -> urllib3.BaseHTTPResponse:
        """One exchange, up to the head of the answer; raises what the libraries below raise."""
        try:
            prepared = requests.Request(method, url, headers=dict(headers)).prepare()
        except (requests.RequestException, ValueError):
            raise InvalidValueError(f"cannot be asked for, by its URL or headers: {public(url)}") from None
        if body is not None:
            prepared.headers["Content-Length"] = str(size)
            if size:
                prepared.body = cast("Any", body)
        raw = self._session.send(
            prepared, stream=True, verify=True, cert=None, proxies={}, allow_redirects=False
        ).raw
        return cast("urllib3.BaseHTTPResponse", raw)

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()
