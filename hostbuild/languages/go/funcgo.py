"""knative.dev/func-go, the middleware that serves a function: its version, what it requires, its checksums.

v0.21.3 and not v0.22.0, on purpose. A function is compiled in its own module, with func-go's requirements
merged into a copy of its go.mod, so that func-go's go.mod decides over the user's program. v0.22.0 says
`go 1.25`, which would raise the language version of every function (loop variables mean something else
from 1.22 on) and needs a Go that new; and it requires a Kafka client with Kerberos, golang.org/x/net and
x/crypto, which would raise the user's own dependencies. What v0.22.0 changes in serving HTTP and events is
the default address, which LISTEN_ADDRESS sets here anyway.

All is static data: no process is started and nothing is fetched to know it.
"""

from __future__ import annotations

import os

from hostbuild.records import record

MODULE = "knative.dev/func-go"
VERSION = "v0.21.3"
#: Goes into the key: changes whenever the scaffold would wrap the same function otherwise.
SCAFFOLD_VERSION = 1
#: The `go` directive of its go.mod.
GO = "1.19"


@record
class Requirement:
    """A module that func-go's go.mod requires."""

    path: str
    version: str


REQUIREMENTS = (
    Requirement(MODULE, VERSION),
    Requirement("github.com/cloudevents/sdk-go/v2", "v2.15.2"),
    Requirement("github.com/google/uuid", "v1.6.0"),
    Requirement("github.com/json-iterator/go", "v1.1.12"),
    Requirement("github.com/mattn/go-colorable", "v0.1.13"),
    Requirement("github.com/mattn/go-isatty", "v0.0.20"),
    Requirement("github.com/modern-go/concurrent", "v0.0.0-20180306012644-bacd9c7ef1dd"),
    Requirement("github.com/modern-go/reflect2", "v1.0.2"),
    Requirement("github.com/rs/zerolog", "v1.32.0"),
    Requirement("go.uber.org/multierr", "v1.11.0"),
    Requirement("go.uber.org/zap", "v1.27.0"),
    Requirement("golang.org/x/sys", "v0.18.0"),
    Requirement("knative.dev/hack", "v0.0.0-20240313135155-b9f6bf0b323b"),
)

#: The packages of other modules that serving HTTP compiles, by module, as directories below it.
_HTTP_PACKAGES: dict[str, tuple[str, ...]] = {
    MODULE: ("http",),
    "github.com/mattn/go-colorable": ("",),
    "github.com/mattn/go-isatty": ("",),
    "github.com/rs/zerolog": ("", "internal/json", "log"),
    "golang.org/x/sys": ("unix",),
}

_EVENT_PACKAGES: dict[str, tuple[str, ...]] = {
    **_HTTP_PACKAGES,
    MODULE: ("cloudevents",),
    "github.com/cloudevents/sdk-go/v2": (
        "",
        "binding",
        "binding/format",
        "binding/spec",
        "client",
        "context",
        "event",
        "event/datacodec",
        "event/datacodec/json",
        "event/datacodec/text",
        "event/datacodec/xml",
        "protocol",
        "protocol/http",
        "types",
    ),
    "github.com/google/uuid": ("",),
    "github.com/json-iterator/go": ("",),
    "github.com/modern-go/concurrent": ("",),
    "github.com/modern-go/reflect2": ("",),
    "go.uber.org/multierr": ("",),
    "go.uber.org/zap": (
        "",
        "buffer",
        "internal",
        "internal/bufferpool",
        "internal/color",
        "internal/exit",
        "internal/pool",
        "internal/stacktrace",
        "zapcore",
    ),
}


def packages(invoke: str) -> dict[str, tuple[str, ...]]:
    """What serving a function compiles, by module; `invoke` is "http" or "cloudevent"."""
    return _EVENT_PACKAGES if invoke == "cloudevent" else _HTTP_PACKAGES


def checksums() -> str:
    """The lines of a go.sum for func-go and all that it requires (https://go.dev/ref/mod#go-sum-files)."""
    with open(os.path.join(os.path.dirname(__file__), "func-go.sum.txt"), encoding="ascii") as stream:
        return stream.read()


def imports(invoke: str) -> tuple[str, ...]:
    """What a scaffold for `invoke` imports of other modules: a `replace` or vendor/ may have it."""
    if invoke == "http":
        return (f"{MODULE}/http",)
    return (f"{MODULE}/cloudevents", "github.com/cloudevents/sdk-go/v2/event")
