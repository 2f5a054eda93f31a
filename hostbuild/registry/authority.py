"""What a session may show to one registry: logins, and the tokens that they give."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.errors import AuthenticationError
from hostbuild.model import Event, EventCallback
from hostbuild.records import replace
from hostbuild.registry.docker_config import Credential
from hostbuild.registry.patience import Pacing
from hostbuild.registry.scrub import Secrets
from hostbuild.registry.tokens import (
    Scopes,
    Token,
    TokenCache,
    basic,
    covers,
    fetch_token,
    parse_scope,
    pull_only,
    realm_url,
)

if TYPE_CHECKING:
    from hostbuild.http import Transport
    from hostbuild.registry.challenge import Challenge
    from hostbuild.registry.credentials import CredentialStore

#: Scopes that a challenge may add to those that were asked for.
MAX_MORE = 8


class Asked(NamedTuple):
    """A challenge, and the URL that gave it: a relative realm starts there."""

    challenge: Challenge
    page: str


class Grant(NamedTuple):
    """How one request is authorised: its header, the login behind it, the token in it and whether that is
    new.
    """

    header: str = ""
    credential: Credential | None = None
    token: Token | None = None
    made_now: bool = False

    def __repr__(self) -> str:
        return f"Grant(credential={self.credential!r}, token={self.token!r})"


class Authority:
    """The logins and tokens for one registry; safe from many threads."""

    def __init__(
        self,
        transport: Transport,
        credentials: CredentialStore,
        registry: str,
        on_event: EventCallback,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._credentials = credentials
        self._registry = registry
        self._on_event = on_event
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = TokenCache(clock)
        self._open_tokens = TokenCache(clock)
        self._wider: dict[Scopes, Scopes] = {}
        self._accepted: set[Credential] = set()
        self._refused: set[Credential] = set()
        self._warned: set[Credential] = set()
        self._open: set[Scopes] = set()
        self._rotated: dict[str, str] = {}
        #: What was sent: see `Secrets`.
        self.secrets = Secrets()

    def grant(self, asked: Asked | None, scopes: Scopes, *, refused: Token | None = None) -> Grant:
        """What to send for these scopes; `refused` is a token that was of no use.

        Raises AuthenticationError where the token server refuses the login, or to give anything without one.
        """
        if asked is None:
            return Grant()
        if scopes in self._open:
            return self._open_grant(asked, scopes, refused)
        credential = self.login(scopes)
        if asked.challenge.scheme == "basic":
            return _basic_grant(credential)
        if credential is not None and credential.registry_token:
            return Grant(f"Bearer {credential.registry_token}", credential)
        return _bearer_grant(self._tokens, scopes, lambda: self._fetch(asked, scopes, credential), refused)

    def again(self, asked: Asked | None, more: str, before: Grant, scopes: Scopes) -> Grant | None:
        """What to send after a 401 to `before`, None where nothing else can be tried.

        `more` are the scopes that the answer asks for.
        """
        if asked is None:
            return None
        if asked.challenge.scheme == "basic":
            return self._basic_again(before, scopes)
        wider = self._widen(scopes, more)
        if before.made_now and not wider and asked.challenge.get("error") == "insufficient_scope":
            return None  # a token made for this very request: the next one would be the same
        if before.token is None and before.credential is not None and before.credential.registry_token:
            return None  # a token that was stored as it is cannot be made anew
        return self.grant(asked, scopes, refused=before.token)

    def without_login(self, asked: Asked | None, scopes: Scopes) -> Grant | None:
        """What to send for scopes that only pull where a login was refused; None where that is refused as
        well.
        """
        if asked is None:
            return Grant()
        try:
            return self._open_grant(asked, scopes, None)
        except AuthenticationError:
            return None

    def login(self, scopes: Scopes) -> Credential | None:
        """The login for these scopes, None where there is none or it is known to be in the way."""
        if scopes in self._open:
            return None
        credential = self._credentials.find(self._registry, repository_of(scopes))
        self.secrets.add_login(credential)
        return None if credential in self._refused and pull_only(scopes) else credential

    def accepted(self, grant: Grant) -> None:
        """The registry answered as it should: a later 401 does not mean that the login is wrong."""
        if grant.credential is not None:
            self._accepted.add(grant.credential)

    def went_without(self, credential: Credential, scopes: Scopes, why: str) -> None:
        """What this login was refused is open to everybody: go on so for these scopes, and say it once."""
        self._open.add(scopes)
        self._warn_refused(credential, why)

    def explained(
        self, error: AuthenticationError, scopes: Scopes, credential: Credential | None
    ) -> AuthenticationError:
        """The error with the login that was used, or that there was none, and what to do."""
        if error.extra.get("status") == 407:
            return error
        if credential is None:
            trouble = self._credentials.trouble(self._registry)
            said = f"no login for it was found ({trouble})" if trouble else "no login for it was found"
            fix = f"log in: hostbuild login {self._registry}"
            if pull_only(scopes):
                fix = f"check the name; if it is right and not public, {fix}"
        else:
            whose = f"the login of {credential.user!r}" if credential.user else "the login"
            said = f"{whose} for {self._registry} {_origin(credential)}"
            fix = f"log in with an account that may do this: hostbuild login {self._registry}"
            if credential.given:
                fix = f"check the login that was given, or {fix}"
        return AuthenticationError(
            error.what, why=f"{error.why}; {said}" if error.why else said, fix=fix, **error.extra
        )

    def _fetch(self, asked: Asked, scopes: Scopes, credential: Credential | None) -> Token:
        try:
            return self._ask(asked, scopes, credential)
        except AuthenticationError as error:
            if credential is None:
                raise self.explained(error, scopes, None) from error
            refusal = error
        newer = self._asked_again(credential, scopes)
        if newer is not None:
            credential = newer
            try:
                return self._ask(asked, scopes, newer)
            except AuthenticationError as error:
                refusal = error
        if pull_only(scopes):
            try:
                token = self._ask(asked, scopes, None)
            except AuthenticationError:
                pass  # the login's refusal is what there is to tell
            else:
                self._refused.add(credential)
                self._warn_refused(credential, refusal.why)
                return token
        refusal.what = f"{self._registry} refuses the login"
        raise self.explained(refusal, scopes, credential)

    def _ask(self, asked: Asked, scopes: Scopes, credential: Credential | None) -> Token:
        current = credential
        if credential is not None and credential.identity_token in self._rotated:
            current = replace(credential, identity_token=self._rotated[credential.identity_token])
        challenge = asked.challenge
        realm = realm_url(
            challenge.get("realm"), asked.page, self._transport.plain_http_allowed, self.secrets.hide
        )
        wider = self._wider.get(scopes, scopes)
        pacing = Pacing(self._transport.access.retry_time, self._on_event)
        token = fetch_token(
            self._transport,
            realm,
            challenge.get("service"),
            wider,
            current,
            clock=self._clock,
            pacing=pacing,
            secrets=self.secrets,
        )
        if credential is not None and credential.identity_token and token.identity_token:
            self._rotated[credential.identity_token] = token.identity_token
        return replace(token, credential=credential)

    def _open_grant(self, asked: Asked, scopes: Scopes, refused: Token | None) -> Grant:
        if asked.challenge.scheme == "basic":
            return Grant()
        return _bearer_grant(self._open_tokens, scopes, lambda: self._ask(asked, scopes, None), refused)

    def _basic_again(self, before: Grant, scopes: Scopes) -> Grant | None:
        credential = self.login(scopes)
        if credential is None or not credential.secret:
            return None
        if credential == before.credential:
            newer = self._asked_again(credential, scopes)
            if newer is not None:
                return _basic_grant(newer)
            if credential not in self._accepted:
                return None
        return _basic_grant(credential)

    def _asked_again(self, credential: Credential, scopes: Scopes) -> Credential | None:
        """What a helper gives now, where that is another login: some give out short-lived ones."""
        if not credential.helper:
            return None
        newer = self._credentials.find(self._registry, repository_of(scopes), fresh=True)
        self.secrets.add_login(newer)
        return newer if newer is not None and newer != credential else None

    def _widen(self, scopes: Scopes, more: str) -> bool:
        """Add what a challenge asks for, before the rest: some token servers see the first scope only."""
        current = self._wider.get(scopes, scopes)
        new = tuple(scope for scope in dict.fromkeys(more.split()) if not covers(current, (scope,)))
        if not scopes or not new or len(new) > MAX_MORE:
            return False
        self._wider[scopes] = new + current
        return True

    def _warn_refused(self, credential: Credential, why: str) -> None:
        with self._lock:
            said = credential in self._warned
            self._warned.add(credential)
        if not said:
            whose = f"the login of {credential.user!r}" if credential.user else "the login"
            self._on_event(
                Event(
                    "warning",
                    f"{self._registry} refuses {whose}, which {_origin(credential)} ({why}); "
                    f"pulling without it. To mend it: hostbuild login {self._registry}",
                )
            )


def _origin(credential: Credential) -> str:
    """Where a login comes from, as the end of a sentence about it."""
    return "is the one that was given" if credential.given else f"comes from {credential.source}"


def repository_of(scopes: Scopes) -> str:
    """The repository of the first scope, "" where it names none."""
    kind, _, name = parse_scope(scopes[0])[0].partition(":") if scopes else ("", "", "")
    return name if kind == "repository" else ""


def _basic_grant(credential: Credential | None) -> Grant:
    if credential is None or not credential.secret:
        return Grant()
    return Grant(basic(credential.user, credential.secret), credential)


def _bearer_grant(
    cache: TokenCache, scopes: Scopes, fetch: Callable[[], Token], refused: Token | None
) -> Grant:
    made = False

    def note() -> Token:
        nonlocal made
        made = True
        return fetch()

    token = cache.get(scopes, note, refused=refused)
    return Grant(f"Bearer {token.value}", token.credential, token, made)
