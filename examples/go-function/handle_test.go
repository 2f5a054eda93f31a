package function

import (
	"net/http/httptest"
	"testing"
)

func TestHandleGreetsByName(t *testing.T) {
	answer := httptest.NewRecorder()
	Handle(answer, httptest.NewRequest("GET", "/?name=Ada", nil))
	if got := answer.Body.String(); got != "Hello, Ada!\n" {
		t.Fatalf("got %q", got)
	}
}
