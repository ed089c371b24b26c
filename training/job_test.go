package training

import (
	"errors"
	"strings"
	"testing"
)

// TestTransitions compares every pair of state and signal with a table of a job's transitions.
func TestTransitions(t *testing.T) {
	signals := []signal{validated, started, interrupted, finished, failed, cancelled, resumed, restarted, paused}
	for s, want := range map[Status]string{
		//           validated started interrupted finished failed cancelled resumed restarted paused
		Validating: "queued - - - failed cancelled - - paused",
		Queued:     "- running - - - cancelled - - paused",
		Running:    "- - queued succeeded failed cancelled - - paused",
		Paused:     "- - - - - cancelled queued validating_files -",
		Succeeded:  "- - - - - - - - -",
		Failed:     "- - - - - - queued validating_files -",
		Cancelled:  "- - - - - - queued validating_files -",
	} {
		for i, w := range strings.Fields(want) {
			to, err := next(s, signals[i])
			switch {
			case w == "-" && (to != s || !errors.Is(err, ErrState)):
				t.Errorf("%s, %s: %s, error %v", s, signals[i], to, err)
			case w != "-" && (string(to) != w || err != nil):
				t.Errorf("%s, %s: %s, error %v; want %s", s, signals[i], to, err, w)
			}
		}
	}
}
