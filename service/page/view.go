package page

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-dns/bestdns/internal/text"
)

// View is all that one visitor is shown. What the visitor may not see is not in it, nor
// counted in it.
type View struct {
	// Now is when it was made. All times are shown relative to it.
	Now time.Time
	// ExpiryNotice is how long before its end a client's access is marked.
	ExpiryNotice time.Duration
	// Visitor is the client whose token was given.
	Visitor Client
	// Watches is set if the visitor sees the whole service, not only what is its own.
	Watches bool
	// Host is the name under which the visitor has opened the page, Version that of BestDNS.
	Host, Version Text
	// Unhealthy is why the service cannot do its work; "" if it can.
	Unhealthy Text
	// HealthySince is since when it can; zero if the visitor may not see this.
	HealthySince time.Time

	// Zones are those with trouble first.
	Zones []Zone
	// MoreZones are those for which there was no room.
	MoreZones int

	// Challenges are the names at which challenges are answered now, the first to
	// expire first.
	Challenges []Challenge
	// MoreChallenges are those for which there was no room.
	MoreChallenges int
	// Unread are zones whose challenges only their DNS provider knows, and which it did not
	// list.
	Unread []Text

	// Changes are the last ones, the newest first.
	Changes []Change
	// Denials are the last requests that were not let in, the newest first.
	Denials []Denial
	// Clients are those that have expired or expire soon first, and then the last used.
	Clients []Client
	// MoreClients are those for which there was no room.
	MoreClients int
}

// Zone is a hosted zone.
type Zone struct {
	Name Text
	// Provider is the name of the module of its DNS provider, Primary the address of its primary
	// name server; both are "" if it is built in.
	Provider, Primary Text
	// CNAMETarget is set for the zone that takes the challenges of domains hosted
	// elsewhere.
	CNAMETarget bool
	// Servers are its name servers, each address by itself.
	Servers []Server
	// State sums up their answers.
	State State
	// Asked is when they were asked; zero if they were not.
	Asked time.Time
	// Help is what helps if there is trouble.
	Help Command
}

// Server is one address of one name server of a zone, and what it answered.
type Server struct {
	Name    Text // "" if only the address is known
	Address Text // "" if it has none that could be found
	// Serial is that of the SOA record that it answered.
	Serial uint32
	// Lags is set if another server has a newer serial.
	Lags bool
	// Fault is what is wrong with its answer; "" if nothing is.
	Fault Text
}

// State sums up the answers of a zone's name servers.
type State uint8

const (
	// NotAsked means that they were not asked yet, or are being asked.
	NotAsked State = iota
	// Agree means that all answer with authority and with the same serial.
	Agree
	// Differ means that their serials differ.
	Differ
	// Faulty means that at least one has no valid answer.
	Faulty
	// Unknown means that the zone's name servers could not be found.
	Unknown
)

// IsTrouble reports whether the state needs a person.
func (s State) IsTrouble() bool { return s == Faulty || s == Differ || s == Unknown }

// Rank orders states, those that need a person most first.
func (s State) Rank() int { return slices.Index([]State{Faulty, Differ, Unknown, NotAsked, Agree}, s) }

// Sign is a state in words, with a mark and the class that the style sheet knows it by:
// colour alone is not enough for all readers.
type Sign struct{ Text, Mark, Class string }

// Sign is what is shown of a state.
func (s State) Sign() Sign {
	switch s {
	case Agree:
		return Sign{"agree", "✓", "good"}
	case Differ:
		return Sign{"differ", "✗", "bad"}
	case Faulty:
		return Sign{"name servers failing", "✗", "bad"}
	case Unknown:
		return Sign{"not found", "✗", "bad"}
	}
	return Sign{"not asked yet", "…", "wait"}
}

// Challenge is a name at which one or more challenges are answered.
type Challenge struct {
	Name, Zone Text
	// Expires is when the first of its records expires; zero if none does.
	Expires time.Time
	// Written is when that one was written; zero if this is not known.
	Written time.Time
	// Writer is the name of the client that wrote it, "" if there is none.
	Writer Text
	// Another is set instead of Writer if the visitor may not see who it is.
	Another bool
}

// Change is a change that was made or tried.
type Change struct {
	Time time.Time
	// Client is the name of the client that made or tried it.
	Client Text
	// Address is that of the client; "" in the same process.
	Address Text
	Zone    Text
	// Op is "append", "set" or "delete".
	Op Text
	// Records are owner and type of some of them.
	Records []Text
	// Outcome is "changed", "refused" or "failed".
	Outcome string
	// Reason is why it was refused or has failed; "" if it was not.
	Reason Text
	// RequestID is the id under which the log has it; "" if there is no Reason.
	RequestID Text
	// Help is what helps if it was not made.
	Help Command
}

// IsTrouble reports whether the change was not made.
func (c Change) IsTrouble() bool { return c.Outcome != "changed" }

// Sign is what is shown of the outcome.
func (c Change) Sign() Sign {
	if !c.IsTrouble() {
		return Sign{c.Outcome, "✓", "good"}
	}
	return Sign{c.Outcome, "✗", "bad"}
}

// Denial is a request that was not let in.
type Denial struct {
	Time time.Time
	// Client is the name of the client that it is from, "" if that is not known.
	Client Text
	// Address is where it is from, Protocol what it speaks, as the log has it.
	Address, Protocol Text
	// Reason is why it was not let in.
	Reason Text
	// RequestID is the id under which the log has it; "" for DNS messages.
	RequestID Text
}

// Client is a client.
type Client struct {
	Name, Description Text
	// Visitor marks the client that the page is for.
	Visitor bool
	// LastUsed is zero if it was not used since the process started.
	LastUsed time.Time
	// Expires is the first instant at which it is no longer accepted; zero if it does
	// not expire.
	Expires time.Time
	// Rights are some of its rights, MoreRights how many there are more.
	Rights     []Text
	MoreRights int
	// Help lets it go on, if it has expired or expires soon.
	Help Command
}

// HasExpired reports whether a client is no longer accepted.
func (v View) HasExpired(c Client) bool { return !c.Expires.IsZero() && !v.Now.Before(c.Expires) }

// ExpiresSoon reports whether a client is still accepted, and not for long.
func (v View) ExpiresSoon(c Client) bool {
	return v.Now.Before(c.Expires) && c.Expires.Sub(v.Now) <= v.ExpiryNotice
}

// Notice is the sign of a client that has expired or expires soon, nil for any other.
func (v View) Notice(c Client) *Sign {
	switch {
	case v.HasExpired(c):
		return &Sign{"expired", "✗", "bad"}
	case v.ExpiresSoon(c):
		return &Sign{"expires soon", "!", "wait"}
	}
	return nil
}

// LastMoment is the last second at which a client is accepted: people read the day that
// the configuration has.
func (c Client) LastMoment() time.Time { return c.Expires.Add(-time.Second) }

// Moment is a time as the page writes it: for programs, for people anywhere, and
// relative to the view's.
type Moment struct{ at, now time.Time }

// At returns a time as the page writes it.
func (v View) At(t time.Time) Moment { return Moment{t, v.Now} }

// Machine is the time as the attribute datetime has it.
func (m Moment) Machine() string { return m.at.UTC().Format(time.RFC3339) }

// Absolute is the time in UTC.
func (m Moment) Absolute() string { return m.at.UTC().Format("2006-01-02 15:04:05 UTC") }

// Relative says how long ago the time is, or how far ahead, coarsely.
func (m Moment) Relative() string {
	switch d := m.now.Sub(m.at).Round(time.Second); {
	case d > 0:
		return coarse(d) + " ago"
	case d < 0:
		return "in " + coarse(-d)
	}
	return "now"
}

// Past says for how long it has been since the time, coarsely.
func (m Moment) Past() string { return coarse(max(m.now.Sub(m.at), 0).Round(time.Second)) }

// coarse writes a duration in its greatest unit.
func coarse(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		least, size time.Duration
		name        string
	}{
		{730 * day, 365 * day, "year"},
		{60 * day, 30 * day, "month"},
		{2 * day, day, "day"},
		{2 * time.Hour, time.Hour, "hour"},
		{2 * time.Minute, time.Minute, "minute"},
	} {
		if d >= unit.least {
			return fmt.Sprintf("%d %ss", (d+unit.size/2)/unit.size, unit.name)
		}
	}
	if d == time.Second {
		return "1 second"
	}
	return fmt.Sprintf("%d seconds", d/time.Second)
}

// Text is what others wrote: a name, a description, a reason. It is shown shortened to the
// room there is. What is invisible in it, or would make it look like another text, is made
// visible.
type Text string

// How many bytes of a text are shown at most.
const (
	mostOfName   = 300 // the longest name has 254 characters, if none of them is escaped
	mostOfReason = 2000
)

// String returns the text as it is shown where a name has room.
func (t Text) String() string { return text.Brief(string(t), mostOfName) }

// Long returns the text as it is shown where sentences have room.
func (t Text) Long() string { return text.Brief(string(t), mostOfReason) }

// Pieces returns the text as it is shown, cut after its dots, where a line may break. Domain names in it
// are as people write them, where that is safe.
func (t Text) Pieces() []string {
	if clear := t.inClear(); clear != "" {
		return strings.SplitAfter(clear, ".")
	}
	return strings.SplitAfter(t.String(), ".")
}

// ASCII returns the text as it is shown if Pieces are of another form, otherwise "".
func (t Text) ASCII() string {
	if t.inClear() == "" {
		return ""
	}
	return t.String()
}
