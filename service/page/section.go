package page

import (
	"fmt"
	"slices"
)

const (
	// whole is how many rows a section has at most without a fold.
	whole = 8
	// open is how many rows a section shows above its folds.
	open = 5
)

// Section is a list as the page shows it: what needs a person at once, and the rest in folds.
type Section[T any] struct {
	// Open is what is shown at once.
	Open Part[T]
	// Folds are what is shown on demand.
	Folds []Part[T]
	// Calm is what is said instead of Open if nothing needs a person.
	Calm string
}

// Part is some rows of a list.
type Part[T any] struct {
	View
	// Key tells the folds of a page apart, Title says what is in one. Both are "" for what is shown at
	// once.
	Key, Title string
	Rows       []T
}

// words are what a section says of its rows.
type words[T any] struct {
	key, calm string
	// urgent and rest are the titles of rows that need a person, or do not.
	urgent, rest func(rows []T) string
}

// section splits a list, in which a short one stays as it is.
func section[T any](v View, list []T, isUrgent func(T) bool, w words[T]) Section[T] {
	if len(list) <= whole {
		return Section[T]{Open: Part[T]{View: v, Rows: list}}
	}
	var urgent, rest []T
	for _, t := range list {
		if isUrgent(t) {
			urgent = append(urgent, t)
		} else {
			rest = append(rest, t)
		}
	}
	shown := min(len(urgent), open)
	s := Section[T]{Open: Part[T]{View: v, Rows: urgent[:shown]}, Calm: w.calm}
	if more := urgent[shown:]; len(more) > 0 {
		s.Folds = append(s.Folds, Part[T]{v, w.key + " more", w.urgent(more), more})
	}
	if len(rest) > 0 {
		s.Folds = append(s.Folds, Part[T]{v, w.key + " rest", w.rest(rest), rest})
	}
	return s
}

// counted returns a function that writes how many rows there are before some words.
func counted[T any](one, many string) func([]T) string {
	return func(rows []T) string {
		if len(rows) == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %s", len(rows), many)
	}
}

// ZoneSection has the zones with trouble at once.
func (v View) ZoneSection() Section[Zone] {
	return section(v, v.Zones, func(z Zone) bool { return z.State.IsTrouble() }, words[Zone]{
		key: "zones", calm: "No zone has trouble.",
		urgent: counted[Zone]("more zone with trouble", "more zones with trouble"),
		rest: func(rows []Zone) string {
			agree := count(rows, func(z Zone) bool { return z.State == Agree })
			title := counted[Zone]("zone without trouble", "zones without trouble")(rows)
			if notAsked := len(rows) - agree; notAsked > 0 {
				title += fmt.Sprintf(", %d of them not asked yet", notAsked)
			}
			return title
		},
	})
}

// ChallengeSection has those challenges at once that expire first.
func (v View) ChallengeSection() Section[Challenge] {
	return section(v, v.Challenges, func(Challenge) bool { return true }, words[Challenge]{
		key: "challenges", urgent: counted[Challenge]("more name", "more names"),
	})
}

// ChangeSection has those changes at once that were not made.
func (v View) ChangeSection() Section[Change] {
	return section(v, v.Changes, Change.IsTrouble, words[Change]{
		key: "changes", calm: "None of the last changes was refused, and none failed.",
		urgent: counted[Change]("earlier change refused or failed", "earlier changes refused or failed"),
		rest:   counted[Change]("change made", "changes made"),
	})
}

// DenialSection has the last requests at once that were not let in.
func (v View) DenialSection() Section[Denial] {
	return section(v, v.Denials, func(Denial) bool { return true }, words[Denial]{
		key: "denials", urgent: counted[Denial]("earlier request", "earlier requests"),
	})
}

// ClientSection has those clients at once that have expired or expire soon.
func (v View) ClientSection() Section[Client] {
	return section(v, v.Clients, func(c Client) bool { return v.HasExpired(c) || v.ExpiresSoon(c) }, words[Client]{
		key: "clients", calm: "No client has expired or expires within " + coarse(v.ExpiryNotice) + ".",
		urgent: counted[Client]("more client that has expired or expires soon", "more clients that have expired or expire soon"),
		rest:   counted[Client]("client that does not expire soon", "clients that do not expire soon"),
	})
}

// few is how many rights of a client are shown without a fold.
const few = 2

// Folded reports whether the rights of a client are shown on demand.
func (c Client) Folded() bool { return len(c.Rights)+c.MoreRights > few }

// RightCount is how many rights the client has.
func (c Client) RightCount() int { return len(c.Rights) + c.MoreRights }

// Brief is what is said of the name servers of a zone in a line, if they all answer the same; "" if they
// do not.
func (z Zone) Brief() (names []Text) {
	if z.State != Agree || slices.ContainsFunc(z.Servers, func(s Server) bool { return s.Fault != "" || s.Lags }) {
		return nil
	}
	for _, s := range z.Servers {
		if name := s.label(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// label is what a server is called.
func (s Server) label() Text {
	if s.Name != "" {
		return s.Name
	}
	return s.Address
}
