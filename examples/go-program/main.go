// A plain program: an HTTP server that says who it is.
//
// It listens on PORT, or 8080. Its version is set when it is built: --ldflags '-X main.version=v1.2.3'.
// The files of kodata/ are found below KO_DATA_PATH.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

var version = "unknown"

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	server := &http.Server{Addr: ":" + port, Handler: routes(), ReadHeaderTimeout: 5 * time.Second}
	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	go func() {
		<-stop.Done()
		if err := server.Shutdown(context.Background()); err != nil {
			log.Print(err)
		}
	}()
	log.Printf("go-program %s listens on %s", version, server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "go-program %s on %s/%s\n", version, runtime.GOOS, runtime.GOARCH)
	})
	data := filepath.Join(os.Getenv("KO_DATA_PATH"), "public")
	mux.Handle("/public/", http.StripPrefix("/public/", http.FileServer(http.Dir(data))))
	return mux
}
