"""Greets who asks: `/` everybody, `/?name=Ada` one."""

import logging
from urllib.parse import parse_qs

from markupsafe import escape


def new():
    """Called once, when the service starts."""
    return Greeter()


class Greeter:
    """The instance that serves all requests. Only `handle` is needed."""

    def __init__(self):
        self.greeting = "Hello"

    def start(self, cfg):
        """Called before the first request, with the environment."""
        self.greeting = cfg.get("GREETING", self.greeting)
        logging.getLogger(__name__).info("greets with %r", self.greeting)

    def stop(self):
        """Called when the service is asked to end."""
        logging.getLogger(__name__).info("done")

    def alive(self):
        """Answers /health/liveness."""
        return True, "alive"

    def ready(self):
        """Answers /health/readiness."""
        return True, "ready"

    async def handle(self, scope, receive, send):
        """Answer one request, as ASGI has it."""
        del receive  # the request's body is not read
        query = parse_qs(scope.get("query_string", b"").decode())
        name = query.get("name", ["world"])[0]
        body = f"<p>{self.greeting}, {escape(name)}!</p>\n".encode()
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
