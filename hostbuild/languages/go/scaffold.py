"""The program around a function: a generated main, and a go.mod and go.sum that know the middleware.

Nothing is written into the user's tree: the go command is told, with an overlay, that a directory
`_hostbuild` with our main.go lies in the function's directory, and, with -modfile, that go.mod is the
staged one. So the function keeps its real module name, its internal packages, its relative `replace`
and, as module paths say nothing of the stage, its bytes. In a workspace -modfile is not allowed: there
go.mod and go.sum are in the overlay.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hostbuild.languages.go import funcgo
from hostbuild.languages.go.gomod import compare_go_versions, compare_semver, parse_gomod, parse_gowork
from hostbuild.languages.go.modedit import Line, quote, rewrite

if TYPE_CHECKING:
    from hostbuild.languages.go.vendored import VendorDir

_HTTP_STATIC = """\
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	middleware "knative.dev/func-go/http"

	f "%(import_path)s"
)

// A handler may take a context before the writer and the request, or not.
type handler interface {
	func(http.ResponseWriter, *http.Request) |
		func(context.Context, http.ResponseWriter, *http.Request)
}

type instance func(http.ResponseWriter, *http.Request)

func (i instance) Handle(w http.ResponseWriter, r *http.Request) { i(w, r) }

func adapt[H handler](h H) instance {
	switch h := any(h).(type) {
	case func(http.ResponseWriter, *http.Request):
		return h
	case func(context.Context, http.ResponseWriter, *http.Request):
		return func(w http.ResponseWriter, r *http.Request) { h(r.Context(), w, r) }
	}
	return nil
}

func main() {
	if err := middleware.Start(adapt(f.Handle)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
"""

_HTTP_INSTANCED = """\
package main

import (
	"fmt"
	"os"

	middleware "knative.dev/func-go/http"

	f "%(import_path)s"
)

func main() {
	if err := middleware.Start(f.New()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
"""

# The middleware tells at start what it does not take; the type parameter tells when it is compiled.
_EVENTS = """\
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/cloudevents/sdk-go/v2/event"
	middleware "knative.dev/func-go/cloudevents"

	f "%(import_path)s"
)

type handler interface {
	func() |
		func() error |
		func(context.Context) |
		func(context.Context) error |
		func(event.Event) |
		func(event.Event) error |
		func(context.Context, event.Event) |
		func(context.Context, event.Event) error |
		func(event.Event) *event.Event |
		func(event.Event) (*event.Event, error) |
		func(context.Context, event.Event) *event.Event |
		func(context.Context, event.Event) (*event.Event, error)
}

func check[H handler](h H) H { return h }

func main() {
%(body)s	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
"""

_EVENTS_STATIC = """\
	err := middleware.Start(middleware.DefaultHandler{Handler: check(f.Handle)})
"""

_EVENTS_INSTANCED = """\
	instance := f.New()
	check(instance.Handle)
	err := middleware.Start(instance)
"""


def main_source(import_path: str, *, instanced: bool, invoke: str) -> str:
    """The generated main.go; `invoke` is "http" or "cloudevent"."""
    if invoke == "cloudevent":
        body = _EVENTS_INSTANCED if instanced else _EVENTS_STATIC
        return _EVENTS % {"import_path": import_path, "body": body}
    return (_HTTP_INSTANCED if instanced else _HTTP_STATIC) % {"import_path": import_path}


def directory_name(function_dir: str) -> str:
    """A name for the generated package that the function's directory does not have."""
    name, number = "_hostbuild", 1
    while os.path.lexists(os.path.join(function_dir, name)):
        number += 1
        name = f"_hostbuild{number}"
    return name


def merge_go_mod(text: str, vendored: Mapping[str, VendorDir] | None = None) -> str:
    """The user's go.mod with func-go required, the higher version of each module and of `go` taken.

    With `vendored`, the modules whose files are taken from vendor/: each is replaced by its directory
    there, and what is not vendored (it is not compiled) is no longer required.
    """
    mine = parse_gomod(text, "go.mod")
    have = {require.path: require.version for require in mine.requires}
    if vendored is not None:
        have = {path: module.version for path, module in vendored.items()}
    add = {
        item.path: item.version
        for item in funcgo.REQUIREMENTS
        if item.path != mine.module
        and (item.path not in have or compare_semver(have[item.path], item.version) < 0)
    }
    if vendored is not None:
        add = {**have, **add}
    in_vendor = {path for path, module in (vendored or {}).items() if module.used}
    higher = higher_go(mine.go)

    def change(line: Line) -> tuple[str, ...] | None:
        first = line.words[0] if line.words else ""
        if line.verb == "require":
            return None if vendored is not None or first in add else line.words
        if line.verb == "replace":
            return None if first in in_vendor else line.words
        if line.verb == "go":
            return (higher,)
        return line.words

    lines = [rewrite(text, change).rstrip("\n"), ""]
    if not mine.go:
        lines += [f"go {higher}", ""]
    lines += ["require (", *(f"\t{quote(path)} {version}" for path, version in sorted(add.items())), ")"]
    lines += [f"replace {quote(path)} => ./vendor/{path}" for path in sorted(in_vendor)]
    return "\n".join(lines) + "\n"


def higher_go(version: str) -> str:
    """The higher of a go.mod's `go` line ("" for none) and func-go's."""
    if not version or compare_go_versions(version, funcgo.GO) < 0:
        return funcgo.GO
    return version


def higher_go_work(text: str) -> str:
    """The `go` line that a go.work needs to hold func-go's requirement, or "" where its own will do."""
    mine = parse_gowork(text).go
    higher = higher_go(mine)
    return "" if higher == mine else higher


def merge_go_sum(text: str) -> str:
    """The user's go.sum with the checksums of func-go and what it requires."""
    lines = [line for line in text.splitlines() if line.strip()]
    known = set(lines)
    lines += [line for line in funcgo.checksums().splitlines() if line not in known]
    return "\n".join(lines) + "\n"


def write_overlay(path: str, replace: Mapping[str, str]) -> None:
    """Write a file for -overlay: paths in the user's tree to the files that stand for them."""
    with open(path, "w", encoding="utf-8") as stream:
        json.dump({"Replace": dict(replace)}, stream, indent=1, sort_keys=True)


def write_text(folder: str, name: str, text: str) -> str:
    """Write one staged file; gives its path."""
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
    return path


def read_text(path: str) -> str:
    """A text file of the user's, or "" where there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read().replace("\r\n", "\n")
    except FileNotFoundError:
        return ""
