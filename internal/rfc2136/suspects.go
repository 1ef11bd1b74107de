package rfc2136

import "time"

const (
	// suspicion is how long the changes of a client have messages of their own after one of
	// them was refused. Each that is refused prolongs it.
	suspicion = 10 * time.Second
	// mostSuspects is how many clients are remembered. Beyond, the one that was refused the
	// longest ago is forgotten; its next refusal costs the others a division once more.
	mostSuspects = 256
)

// suspects are clients of whom a change was refused a short while ago. Were their next ones
// sent with those of others, a client could have everyone's updates be repeated.
type suspects map[string]time.Time // until when

// has reports whether a client is one of them.
func (s suspects) has(client string, now time.Time) bool {
	until, ok := s[client]
	if ok && !now.Before(until) {
		delete(s, client)
		return false
	}
	return ok
}

// add notes that a change of a client was refused.
func (s *suspects) add(client string, now time.Time) {
	if *s == nil {
		*s = make(suspects)
	}
	if _, known := (*s)[client]; !known && len(*s) >= mostSuspects {
		s.forgetOne()
	}
	(*s)[client] = now.Add(suspicion)
}

func (s *suspects) forgetOne() {
	var oldest string
	var first time.Time
	for client, until := range *s {
		if first.IsZero() || until.Before(first) {
			oldest, first = client, until
		}
	}
	delete(*s, oldest)
}
