// Package function greets whoever asks.
package function

import (
	"fmt"
	"net/http"
	"os"
)

// Handle answers GET /?name=Ada with "Hello, Ada!". The first word is the variable GREETING (func.yaml).
func Handle(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	if name == "" {
		name = "world"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%s, %s!\n", greeting(), name)
}

func greeting() string {
	if word := os.Getenv("GREETING"); word != "" {
		return word
	}
	return "Hello"
}
