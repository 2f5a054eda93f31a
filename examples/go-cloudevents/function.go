// Package function answers each event with one that holds the same data.
package function

import (
	"context"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Echo remembers nothing between events.
type Echo struct{}

// New is called once, when the service starts.
func New() *Echo { return &Echo{} }

// Handle gives the event back under another type.
func (*Echo) Handle(_ context.Context, received event.Event) (*event.Event, error) {
	answer := received.Clone()
	answer.SetID("answer-" + received.ID())
	answer.SetSource("echo")
	answer.SetType(fmt.Sprintf("%s.answered", received.Type()))
	return &answer, nil
}
