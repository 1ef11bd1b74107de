package check

import (
	"fmt"
	"strings"

	"github.com/caddy-dns/bestdns/internal/text"
)

// Status is how a step ended.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Warning Status = "warning" // it works, and something is to be said about it
	Wrong   Status = "wrong"
	Note    Status = "note" // information, nothing is checked
	// Skipped: there was nothing to check, or nothing to check it with, and that is
	// no fault of what is checked.
	Skipped Status = "not checked"
	// Unknown: it should have been checked and could not be.
	Unknown Status = "unknown"
)

// Step is one thing that was checked.
type Step struct {
	// Name says which step it is; the same word always means the same step.
	Name string `json:"step"`
	// Zone is the zone that it is about, if it is about one, without final dot.
	Zone   string `json:"zone,omitempty"`
	Status Status `json:"status"`
	// Found says what is.
	Found string `json:"found"`
	// Do says what to change, and where Lines go.
	Do string `json:"do,omitempty"`
	// Lines are the very records (in presentation format, names absolute) or
	// settings to write.
	Lines []string `json:"lines,omitempty"`
}

// What of a step is shown at most: the servers of others decide how long it is.
const (
	mostOfText  = 4000 // bytes
	mostOfLines = 100
)

// shown returns the step with its texts made safe to show, on a terminal and for programs
// alike. Settings in Lines are indented by tabs.
func (s Step) shown() Step {
	s.Zone, s.Found, s.Do = text.Brief(s.Zone, mostOfText), text.Brief(s.Found, mostOfText), text.Brief(s.Do, mostOfText)
	var lines []string
	for i, line := range s.Lines {
		if i == mostOfLines {
			lines = append(lines, fmt.Sprintf("… and %d more", len(s.Lines)-i))
			break
		}
		rest := strings.TrimLeft(line, "\t")
		lines = append(lines, strings.Repeat("\t", min(len(line)-len(rest), 4))+text.Brief(rest, mostOfText))
	}
	s.Lines = lines
	return s
}

// Report is all that was found.
type Report struct {
	// Domain is the one that was asked about; empty for the service itself.
	Domain string `json:"domain,omitempty"`
	// Outcome is ok (warnings included), wrong, or unknown: it could not be checked.
	Outcome Status `json:"outcome"`
	Steps   []Step `json:"steps"`
}

func (r *Report) outcome() Status {
	switch {
	case r.count(Wrong) > 0:
		return Wrong
	case r.count(Unknown) > 0:
		return Unknown
	}
	return OK
}

func (r *Report) count(s Status) int {
	n := 0
	for _, step := range r.Steps {
		if step.Status == s {
			n++
		}
	}
	return n
}

// ExitCode is what the command ends with: 0 all right, 1 something is wrong, 2 it
// could not be checked.
func (r *Report) ExitCode() int {
	switch r.Outcome {
	case OK:
		return 0
	case Wrong:
		return 1
	}
	return 2
}
