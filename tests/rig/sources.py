"""Small Go sources: programs and functions of each shape."""

from __future__ import annotations

from pathlib import Path


def func_yaml(name: str, invoke: str = "") -> str:
    """A func.yaml as knative's client writes it, for a Go function."""
    hint = f"invoke: {invoke}\n" if invoke else ""
    return f"specVersion: 0.36.0\nname: {name}\nruntime: go\n{hint}registry: registry.example/team\n"


#: The smallest program: nothing but the runtime is compiled.
HELLO = {
    "go.mod": "module example.com/hello\n\ngo 1.21\n",
    "main.go": 'package main\n\nfunc main() { println("hello") }\n',
}

#: A program that answers HTTP where LISTEN_ADDRESS says, and tells what it is.
SERVER = {
    "go.mod": "module example.com/server\n\ngo 1.21\n",
    "main.go": """package main

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "program on %s/%s", runtime.GOOS, runtime.GOARCH)
	})
	if err := http.ListenAndServe(os.Getenv("LISTEN_ADDRESS"), nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
""",
}

INSTANCED_HTTP = {
    "go.mod": "module example.com/instanced\n\ngo 1.21\n",
    "func.yaml": func_yaml("instanced"),
    "function.go": """package function

import (
	"fmt"
	"net/http"
	"runtime"
)

type Function struct{ word string }

func New() *Function { return &Function{word: "instance"} }

func (f *Function) Handle(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s on %s", f.word, runtime.GOARCH)
}
""",
}

STATIC_HTTP = {
    "go.mod": "module function\n\ngo 1.21\n",
    "func.yaml": func_yaml("static", "http"),
    "handle.go": """package function

import (
	"fmt"
	"net/http"
	"net/http/httputil"
)

// Handle one request.
func Handle(w http.ResponseWriter, r *http.Request) {
	dump, err := httputil.DumpRequest(r, true)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "%q", dump)
}
""",
}

_CLOUDEVENTS_MODULE = {
    "go.mod": """module function

go 1.21

require github.com/cloudevents/sdk-go/v2 v2.15.2

require (
	github.com/json-iterator/go v1.1.10 // indirect
	github.com/modern-go/concurrent v0.0.0-20180228061459-e0a39a4cb421 // indirect
	github.com/modern-go/reflect2 v0.0.0-20180701023420-4b7aa43c6742 // indirect
)
""",
    "go.sum": Path(__file__).with_name("cloudevents.go.sum").read_text(),
}

STATIC_CLOUDEVENTS = {
    **_CLOUDEVENTS_MODULE,
    "func.yaml": func_yaml("echo", "cloudevent"),
    "handle.go": """package function

import (
	"context"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Handle echoes the event.
func Handle(ctx context.Context, e event.Event) (*event.Event, error) { return &e, nil }
""",
}

INSTANCED_CLOUDEVENTS = {
    **_CLOUDEVENTS_MODULE,
    "func.yaml": func_yaml("answer", "cloudevent"),
    "function.go": """package function

import "github.com/cloudevents/sdk-go/v2/event"

type Function struct{ word string }

func New() *Function { return &Function{word: "instance"} }

func (f *Function) Handle(e event.Event) (*event.Event, error) {
	answer := event.New()
	answer.SetType("function.response")
	answer.SetID("response-" + e.ID())
	answer.SetSource("function")
	err := answer.SetData(event.ApplicationJSON, map[string]string{"message": f.word})
	return &answer, err
}
""",
}
