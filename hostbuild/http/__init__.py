"""HTTP for whoever needs it: retries, redirects, resumption, TLS, proxies; it knows no registries and no
wheels.

The only room that imports requests, urllib3 and truststore, and none of them before the first request. A
`Transport` makes requests, from many threads at once; `download` fetches one large body and goes on after
breaks. Neither reads the process's environment: all that matters is in `hostbuild.model.Access`.

`transport`    the request: attempts, redirects, what is tried again
`download`     one body in order, resumed with Range
`response`     an answer and its body
`bodies`       what is sent, so that it can be sent again
`retries`      which statuses, how long, Retry-After
`redirects`    the next request after a 3xx
`failures`     exceptions of the libraries below in people's words
`proxies`      which proxy for which URL
`tls`          trust and client certificates, by host
`session`      requests, with our connections (late: loaded with the first request)
`connections`  urllib3's connections that hear an early answer (late)
`wires`        how connections are opened, how fast they must move, how they are broken (late)
"""

from __future__ import annotations

from hostbuild.http.bodies import Body, BytesBody, FileBody
from hostbuild.http.download import download
from hostbuild.http.response import Response
from hostbuild.http.transport import Transport

__all__ = ["Body", "BytesBody", "FileBody", "Response", "Transport", "download"]
