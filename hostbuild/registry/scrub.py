"""What was sent to prove who we are, taken out of whatever comes back and is shown: servers repeat requests
in their errors.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from hostbuild.registry.docker_config import Credential

#: Shorter ones are parts of too many words, and are no secrets.
SHORTEST = 4
HIDDEN = "***"


class Secrets:
    """The secrets of one session; safe from many threads. Its repr shows none."""

    def __init__(self, *secrets: str) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """These are secret, and so are the forms in which URLs, HTML and JSON would have them."""
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= SHORTEST}
        with self._lock:
            self._known |= forms

    def add_login(self, credential: Credential | None) -> None:
        """All that is secret in a login, also as Basic sends it."""
        if credential is None:
            return
        secrets = [credential.secret, credential.identity_token, credential.registry_token]
        for secret in (credential.secret, credential.identity_token):
            pair = base64.b64encode(f"{credential.user}:{secret}".encode()).decode("ascii")
            secrets += [pair, pair.rstrip("=")] if secret else []
        self.add(*secrets)

    def hide(self, text: str) -> str:
        """`text` with *** in the place of each."""
        with self._lock:
            known = sorted(self._known, key=len, reverse=True)  # what is part of another comes after it
        for secret in known:
            text = text.replace(secret, HIDDEN)
        return text


def _forms(secret: str) -> Iterable[str]:
    from html import escape

    return (secret, quote(secret, safe=""), quote_plus(secret), escape(secret), json.dumps(secret)[1:-1])
