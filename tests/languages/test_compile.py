"""The real go command: what it builds for us, and that it leaves the source alone."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
from pathlib import Path

import pytest

from hostbuild.errors import ToolError
from tests.languages.go_project import PLAIN, Recorder, build, content, get, inspect, served, snapshot, write

EXAMPLES = Path(__file__).parents[2] / "examples"
GO_SUM = (Path(__file__).parents[1] / "rig" / "cloudevents.go.sum").read_text()

CONTEXT = """package function

import (
	"context"
	"fmt"
	"net/http"
)

func Handle(ctx context.Context, w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, ctx == r.Context()) }
"""

INSTANCED = """package function

import (
	"context"
	"fmt"
	"net/http"
)

type MyFunction struct{ started chan struct{} }

func New() *MyFunction { return &MyFunction{make(chan struct{})} }

func (f *MyFunction) Start(context.Context, map[string]string) error { close(f.started); return nil }

func (f *MyFunction) Handle(w http.ResponseWriter, r *http.Request) { <-f.started; fmt.Fprint(w, "started") }
"""

EVENT = """package function

import "github.com/cloudevents/sdk-go/v2/event"

func Handle(e event.Event) *event.Event { e.SetType("seen." + e.Type()); return &e }
"""


def module(name: str = "function", go: str = "1.21", *more: str) -> str:
    return "\n".join((f"module {name}", "", f"go {go}", "", *more, ""))


@pytest.mark.parametrize(
    ("source", "answer"), [(PLAIN, "plain"), (CONTEXT, "true"), (INSTANCED, "started")], ids=str.split
)
def test_http_functions_of_all_forms_answer(tmp_path: Path, source: str, answer: str) -> None:
    root = write(tmp_path / "src", {"go.mod": module(), "handle.go": source})
    before = snapshot(root)
    tree = build(root, tmp_path / "work")
    assert snapshot(root) == before
    (entry,) = tree.entries
    assert (entry.path, entry.kind, entry.mode, entry.uid, entry.gid) == ("func/f", "file", 0o755, 1000, 1000)
    with served(tree, tmp_path) as url:
        assert get(url)[0] == answer
        assert get(url + "/health/readiness")[0] == "READY"


@pytest.mark.parametrize("form", ["static", "instanced"])
def test_cloudevents_functions_answer(tmp_path: Path, form: str) -> None:
    if form == "static":
        more = "require github.com/cloudevents/sdk-go/v2 v2.15.2"
        write(tmp_path / "src", {"go.mod": module("function", "1.21", more), "go.sum": GO_SUM, "f.go": EVENT})
        root, expected = tmp_path / "src", "seen.greeting"
    else:
        root, expected = EXAMPLES / "go-cloudevents", "greeting.answered"
    before = snapshot(root)
    tree = build(root, tmp_path / "work", invoke="cloudevent")
    assert snapshot(root) == before
    with served(tree, tmp_path) as url:
        sent = {"Ce_Id": "1", "Ce_Specversion": "1.0", "Ce_Source": "test", "Ce_Type": "greeting"}
        body, headers = get(url, b'{"a":1}', Content_Type="application/json", **sent)
    assert headers["Ce-Type"] == expected
    assert json.loads(body) == {"a": 1}


def test_a_program_is_named_as_go_names_it_and_brings_its_data(tmp_path: Path) -> None:
    root = EXAMPLES / "go-program"
    found = inspect(root)
    assert (found.entrypoint, found.cmd) == (("/app/go-program",), ())
    assert found.trees == {"/var/run/ko": str(root / "kodata")}
    assert found.env == (("KO_DATA_PATH", "/var/run/ko"),)
    tree = build(root, tmp_path / "work", options={"ldflags": "-s -w -X main.version=v7", "tags": "one,two"})
    folder, entry = tree.entries
    assert (folder.path, folder.kind, folder.uid) == ("app", "dir", 0)
    assert (entry.path, entry.mode, entry.uid, entry.gid) == ("app/go-program", 0o755, 0, 0)
    assert str(tmp_path) not in tree.created_by
    with served(tree, tmp_path, KO_DATA_PATH=str(root / "kodata")) as url:
        assert get(url)[0] == "go-program v7 on linux/amd64\n"
        assert "kodata" in get(url + "/public/hello.txt")[0]


@pytest.mark.parametrize(
    ("example", "platform"),
    [("go-function", "linux/amd64"), ("go-function", "linux/arm64"), ("go-program", "linux/arm/v7")],
)
def test_two_checkouts_give_one_binary(
    tmp_path: Path, example: str, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries = []
    for place, umask, zone in (("a", 0o022, "UTC"), ("some/deeper/place", 0o077, "Asia/Kathmandu")):
        previous = os.umask(umask)
        monkeypatch.setenv("TZ", zone)
        monkeypatch.setenv("USER", place)
        try:
            root = tmp_path / place / "checkout"
            subprocess.run(["cp", "-r", EXAMPLES / example, _made(root)], check=True)
            binaries.append(content(build(root / example, tmp_path / place / "work", platform)))
        finally:
            os.umask(previous)
    assert binaries[0] == binaries[1]
    assert os.fsencode(tmp_path) not in binaries[0]
    assert (
        binaries[0][18] == {"linux/amd64": 62, "linux/arm64": 183, "linux/arm/v7": 40}[platform]
    )  # e_machine


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def workspace(root: Path, app: dict[str, str], go: str = "1.18") -> Path:
    """A workspace whose app uses a module beside it, which a `replace` of go.work completes."""
    return write(
        root,
        {
            "go.work": f"go {go}\n\nuse (\n\t./app\n\t./lib\n)\n\nreplace example.com/extra => ./extra\n",
            "lib/go.mod": module("example.com/lib", go, "require example.com/extra v0.0.0"),
            "lib/lib.go": LIB,
            "extra/go.mod": module("example.com/extra", go),
            "extra/extra.go": 'package extra\n\nconst Word = "from the workspace"\n',
            **{f"app/{name}": text for name, text in app.items()},
        },
    )


LIB = 'package lib\n\nimport "example.com/extra"\n\nfunc Word() string { return extra.Word }\n'
LIB_FUNCTION = PLAIN.replace('"net/http"', '"net/http"\n\n\t"example.com/lib"').replace(
    '"plain"', "lib.Word()"
)

# go-isatty's own go.mod asks for a golang.org/x/sys whose checksum no go.sum here has.
PROGRAM = """package main

import (
	"fmt"

	"example.com/lib"
	"github.com/mattn/go-isatty"
)

func main() { fmt.Println(lib.Word(), isatty.IsTerminal(0)) }
"""


def test_a_function_in_a_workspace(tmp_path: Path) -> None:
    binaries = []
    for place in ("one", "another/two"):
        root = workspace(tmp_path / place, {"go.mod": module(go="1.18"), "handle.go": LIB_FUNCTION})
        before = snapshot(root)
        tree = build(root / "app", tmp_path / "work" / place)
        assert snapshot(root) == before
        binaries.append(content(tree))
    assert binaries[0] == binaries[1], "no path of the workspace is in the binary"
    with served(tree, tmp_path) as url:
        assert get(url)[0] == "from the workspace"


def test_a_program_in_a_workspace_that_lacks_checksums(tmp_path: Path) -> None:
    app = {"go.mod": module("example.com/app", "1.18", "require github.com/mattn/go-isatty v0.0.20")}
    binaries = []
    for place in ("one", "another/two"):
        root = workspace(tmp_path / place, {**app, "main.go": PROGRAM})
        before = snapshot(root)
        context = Recorder()
        binaries.append(content(build(root / "app", tmp_path / "work" / place, context=context)))
        assert context.verbs == ["build", "list", "build"]
        assert snapshot(root) == before, "the go command itself would write go.work.sum"
        said = [event.message for event in context.events if not event.message.startswith("go: downloading")]
        assert said == [], "what was missing in our own stage is no news"
    assert binaries[0] == binaries[1]


def test_a_local_replace_an_internal_package_and_a_package_below(tmp_path: Path) -> None:
    root = write(
        tmp_path / "repo",
        {
            "go.mod": module(
                "example.com/repo/v2",
                "1.21",
                "replace example.com/lib => ../lib",
                "require example.com/lib v0.0.0",
            ),
            "internal/word/word.go": 'package word\n\nimport "example.com/lib"\n\nconst Word = lib.Word\n',
            "services/internal/hello/handle.go": PLAIN.replace(
                '"net/http"', '"net/http"\n\n\t"example.com/repo/v2/internal/word"'
            ).replace('"plain"', "word.Word"),
        },
    )
    write(
        tmp_path / "lib",
        {"go.mod": module("example.com/lib"), "lib.go": 'package lib\n\nconst Word = "replaced"\n'},
    )
    before = snapshot(tmp_path)
    tree = build(
        root, _made(tmp_path.with_name(tmp_path.name + "-work")), package="./services/internal/hello"
    )
    assert snapshot(tmp_path) == before
    with served(tree, tmp_path) as url:
        assert get(url)[0] == "replaced"


VENDORED = {
    "go.mod": module("example.com/v", "1.21", "require example.com/dep v1.4.0"),
    "vendor/modules.txt": "# example.com/dep v1.4.0\n## explicit; go 1.20\nexample.com/dep\n",
    "vendor/example.com/dep/dep.go": 'package dep\n\nconst Word = "as vendored"\n',
    "handle.go": PLAIN.replace('"net/http"', '"net/http"\n\n\t"example.com/dep"').replace(
        '"plain"', "dep.Word"
    ),
}


def test_a_function_with_a_vendor_directory_is_built_of_it(tmp_path: Path) -> None:
    root = write(tmp_path / "src", VENDORED)
    before = snapshot(root)
    tree = build(root, tmp_path / "work", environment={**os.environ, "GONOSUMDB": "*"})
    assert snapshot(root) == before
    with served(tree, tmp_path) as url:
        assert get(url)[0] == "as vendored"


def test_an_import_that_vendor_lacks_is_gos_own_error(tmp_path: Path) -> None:
    root = write(tmp_path / "src", VENDORED)
    write(root, {"more.go": 'package function\n\nimport _ "example.com/missing"\n'})
    context = Recorder()
    with pytest.raises(ToolError) as caught:
        build(root, tmp_path / "work", context=context)
    assert "example.com/missing" in caught.value.detail
    assert "-mod=mod" not in [word for argv in context.commands for word in argv]


def test_an_old_go_mod_is_completed_in_the_stage(tmp_path: Path) -> None:
    """Before 1.17 a go.mod does not list what its requirements require; the staged one must."""
    root = write(
        tmp_path / "src",
        {
            "go.mod": module("function", "1.16", "require github.com/gorilla/handlers v1.5.1"),
            "go.sum": (
                "github.com/felixge/httpsnoop v1.0.1 h1:lvB5Jl89CsZtGIWuTcDM1E/vkVs49/Ml7JJe07l8SPQ=\n"
                "github.com/felixge/httpsnoop v1.0.1/go.mod h1:m8KPJKqk1gH5J9DgRY2ASl2lWCfGKXixSwevea8zH2U=\n"
                "github.com/gorilla/handlers v1.5.1 h1:9lRY6j8DEeeBT10CvO9hGW0gmky0BprnvDI5vfhUHH4=\n"
                "github.com/gorilla/handlers v1.5.1/go.mod h1:t8XrUpc4KVXb7HGyJ4/cEnwQiaxrX/hz1Zv/4g96P1Q=\n"
            ),
            "handle.go": PLAIN.replace('"net/http"', '"net/http"\n\n\t_ "github.com/gorilla/handlers"'),
        },
    )
    before = snapshot(root)
    context = Recorder()
    tree = build(root, tmp_path / "work", context=context)
    assert snapshot(root) == before
    assert context.verbs == ["build", "list", "list", "build"]
    with served(tree, tmp_path) as url:
        assert get(url)[0] == "plain"


def test_a_missing_requirement_is_never_looked_up(tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"go.mod": module(), "handle.go": PLAIN})
    write(root, {"more.go": 'package function\n\nimport _ "github.com/gorilla/mux"\n'})
    context = Recorder()
    with pytest.raises(ToolError) as caught:
        build(root, tmp_path / "work", context=context)
    assert "no required module provides package github.com/gorilla/mux" in caught.value.detail
    assert context.verbs == ["build"]


def test_a_failing_compile_tells_platform_and_output_as_it_was(tmp_path: Path) -> None:
    broken = PLAIN.replace('fmt.Fprint(w, "plain")', "fmt.Fprint(w, undefined)")
    root = write(tmp_path / "src", {"go.mod": module(), "handle.go": broken})
    context = Recorder()
    with pytest.raises(ToolError, match="linux/arm/v7") as caught:
        build(root, tmp_path / "work", "linux/arm/v7", context=context)
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.platform == "linux/arm/v7"
    assert "handle.go:8:" in error.detail
    assert "undefined: undefined" in error.detail
    told = [event for event in context.events if event.kind == "output"]
    assert any("undefined: undefined" in event.message for event in told)
    assert {event.platform for event in told} == {"linux/arm/v7"}


def test_a_handler_that_detection_cannot_judge_fails_when_it_is_compiled(tmp_path: Path) -> None:
    source = (
        'package function\n\nimport "net/http"\n\ntype Asked struct{}\n\n'
        "func Handle(w http.ResponseWriter, r Asked) {}\n"
    )
    root = write(tmp_path / "src", {"go.mod": module(), "handle.go": source})
    with pytest.raises(ToolError) as caught:
        build(root, tmp_path / "work")
    assert "does not satisfy handler" in caught.value.detail


def test_a_write_protected_source_is_no_obstacle(tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"go.mod": module(), "handle.go": PLAIN, "_hostbuild/mine.txt": "mine"})
    for path in (root, *root.rglob("*")):
        path.chmod(0o555)
    try:
        tree = build(root, tmp_path / "work")
    finally:
        for path in (root, *root.rglob("*")):
            path.chmod(0o755)
    assert sorted(path.name for path in root.rglob("*")) == ["_hostbuild", "go.mod", "handle.go", "mine.txt"]
    with served(tree, tmp_path) as url:
        assert get(url)[0] == "plain"
