package page

import (
	"fmt"
	"strings"
	"time"
)

// Alert is a sentence on top of the page about what needs a person.
type Alert struct {
	// Text is the sentence, Detail what else there is to say.
	Text   string
	Detail Text
	// Link is the id of the section that has more; "" if there is none.
	Link string
	// Class is "bad" or "wait".
	Class string
}

// lately is how far the alerts about requests look back.
const lately = time.Hour

// someOnly is from how many requests of one client on the service may have left others out.
const someOnly = 5

// Alerts are about what the view has, the worst first.
func (v View) Alerts() (list []Alert) {
	add := func(n int, class, link, one, many string) {
		switch {
		case n == 1:
			list = append(list, Alert{Text: one, Link: link, Class: class})
		case n > 1:
			list = append(list, Alert{Text: fmt.Sprintf(many, n), Link: link, Class: class})
		}
	}
	if v.Unhealthy != "" {
		list = append(list, Alert{Text: "The service is unhealthy", Detail: v.Unhealthy, Class: "bad"})
	}
	recent := func(t time.Time) bool { return v.Now.Sub(t) < lately }
	add(count(v.Zones, func(z Zone) bool { return z.State.IsTrouble() }), "bad", "zones", "1 zone has trouble", "%d zones have trouble")
	add(len(v.Unread), "bad", "challenges", "1 DNS provider did not list its zone", "%d DNS providers did not list their zones")
	add(count(v.Clients, v.HasExpired), "bad", "clients", "1 client has expired", "%d clients have expired")
	soon := " within " + coarse(v.ExpiryNotice)
	add(count(v.Clients, v.ExpiresSoon), "wait", "clients", "1 client expires"+soon, "%d clients expire"+soon)
	add(count(v.Changes, func(c Change) bool { return c.IsTrouble() && recent(c.Time) }), "wait", "changes",
		"1 change was refused or failed in the last hour", "%d changes were refused or failed in the last hour")
	// Of many requests that come at once, only some are in the view.
	requests := "%d requests were refused in the last hour"
	denials := count(v.Denials, func(d Denial) bool { return recent(d.Time) })
	if denials >= someOnly {
		requests = "At least " + requests
	}
	add(denials, "wait", "refused", "1 request was refused in the last hour", requests)
	add(count(v.Zones, func(z Zone) bool { return z.State == NotAsked }), "wait", "zones",
		"The name servers of 1 zone were not asked yet", "The name servers of %d zones were not asked yet")
	return list
}

func count[T any](list []T, is func(T) bool) (n int) {
	for _, t := range list {
		if is(t) {
			n++
		}
	}
	return n
}

// Title is what the browser calls the page: the worst first, since a tab has little room.
func (v View) Title() string {
	var parts []string
	for _, a := range v.Alerts() {
		if a.Class == "bad" {
			parts = append(parts, a.Text)
			break
		}
	}
	if v.Host != "" {
		parts = append(parts, v.Host.String())
	}
	return strings.Join(append(parts, strings.TrimSpace("BestDNS "+v.Version.String())), " – ")
}
