"""Whether a handler has a form that knative's func-go can serve.

Types are judged by the package they come from, whatever it is called in the file. What cannot be judged
from the source alone (types of the user's own, dot imports) is accepted: the compiler has the last word.
"""

from __future__ import annotations

from typing import Literal

from hostbuild.languages.go.gofile import GoFile

Invoke = Literal["http", "cloudevent"]

_EVENT_PACKAGES = ("github.com/cloudevents/sdk-go/v2", "github.com/cloudevents/sdk-go/v2/event")
_MEANINGS = {
    ("context", "Context"): "context",
    ("net/http", "ResponseWriter"): "writer",
    ("net/http", "*Request"): "request",
    ("github.com/cloudevents/sdk-go/v2", "Result"): "error",
    ("github.com/cloudevents/sdk-go/v2/protocol", "Result"): "error",
    **{(path, "Event"): "event" for path in _EVENT_PACKAGES},
    **{(path, "*Event"): "event pointer" for path in _EVENT_PACKAGES},
}
_BUILTIN = frozenset(
    ("any", "bool", "byte", "int", "int32", "int64", "string", "uint", "[]byte", "rune", "float64", "float32")
)

_INSTANCED_HTTP = (("writer", "request"),)
_STATIC_HTTP = (*_INSTANCED_HTTP, ("context", "writer", "request"))
_EVENT_PARAMS = ((), ("context",), ("event",), ("context", "event"))
_EVENT_RESULTS = ((), ("error",), ("event pointer",), ("event pointer", "error"))

#: The forms as a user would write them, for errors.
FORMS = {
    ("http", True): "Handle(http.ResponseWriter, *http.Request)",
    ("http", False): "Handle(http.ResponseWriter, *http.Request), with or without a leading context.Context",
    ("cloudevent", True): "Handle([context.Context][, event.Event]) [(*event.Event, error)]",
    ("cloudevent", False): "Handle([context.Context][, event.Event]) [(*event.Event, error)]",
}


def can_serve(
    file: GoFile, params: tuple[str, ...], results: tuple[str, ...], *, invoke: Invoke, instanced: bool
) -> bool:
    """Whether a Handle of `file` with these type texts can be served so."""
    takes = tuple(meaning(file, text) for text in params)
    gives = tuple(meaning(file, text) for text in results)
    if invoke == "http":
        return not gives and _fits(takes, _INSTANCED_HTTP if instanced else _STATIC_HTTP)
    return _fits(takes, _EVENT_PARAMS) and _fits(gives, _EVENT_RESULTS)


def takes_context(file: GoFile, params: tuple[str, ...]) -> bool:
    """Whether the first parameter is a context.Context, or, of three, is taken for one."""
    return bool(params) and (meaning(file, params[0]) == "context" or len(params) == 3)


def meaning(file: GoFile, text: str) -> str:
    """What a type is to func-go: one of the words above, "wrong" if surely none, "" if unknown."""
    if text == "error":
        return "error"
    star = "*" if text.startswith("*") else ""
    first, dot, second = text.removeprefix("*").partition(".")
    if not _is_word(first) or (dot and not _is_word(second)) or text in _BUILTIN:
        return "wrong"
    if not dot:
        return ""  # of the package itself, or a dot import
    for path, alias in file.imports:
        if (alias or default_name(path)) == first:
            known = _MEANINGS.get((path, star + second), "wrong")
            return "" if known == "wrong" and not _is_judged(path) else known
    return ""


def _is_judged(path: str) -> bool:
    return path in ("context", "net/http", *_EVENT_PACKAGES)


def default_name(path: str) -> str:
    """The name that an import has where none is given, by convention: the last element that is no version."""
    first, _, last = path.rpartition("/")
    if first and is_version(last):
        last = first.rpartition("/")[2]
    return last


def is_version(element: str) -> bool:
    """Whether an element of an import path is a major version: v2."""
    return element[:1] == "v" and element[1:].isascii() and element[1:].isdigit()


def _is_word(text: str) -> bool:
    return text.replace("_", "a").isalnum()


def _fits(found: tuple[str, ...], forms: tuple[tuple[str, ...], ...]) -> bool:
    return any(
        len(form) == len(found) and all(is_ in ("", must) for is_, must in zip(found, form, strict=True))
        for form in forms
    )
