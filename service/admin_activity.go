package service

import (
	"time"

	"github.com/caddy-dns/bestdns/internal/hosting"
)

// activityAnswer is what the admin endpoint says of what happened lately.
type activityAnswer struct {
	Clients []clientSeen `json:"clients"`
	// Changes are the last ones, refused ones too, the newest first.
	Changes []*hosting.ChangeSeen `json:"changes"`
	// Denials are the last requests that were not let in, the newest first.
	Denials []*hosting.DenialSeen `json:"denials"`
}

// clientSeen is a client of the configuration.
type clientSeen struct {
	Client      string `json:"client"`
	Description string `json:"description,omitempty"`
	// Expires is the first instant at which it is no longer accepted.
	Expires *time.Time `json:"expires,omitempty"`
	// LastUsed is absent if it was not used since the process started.
	LastUsed *time.Time `json:"last_used,omitempty"`
}

func (a *App) activityAnswer() any {
	answer := activityAnswer{
		Clients: []clientSeen{},
		Changes: activity.Recent(),
		Denials: activity.Denials(),
	}
	for client := range a.hosting.Clients().All() {
		c := clientSeen{Client: client.Name(), Description: client.Description()}
		if expires := client.Expires(); !expires.IsZero() {
			c.Expires = &expires
		}
		if used := activity.LastUse(client.Name()); !used.IsZero() {
			c.LastUsed = &used
		}
		answer.Clients = append(answer.Clients, c)
	}
	return answer
}
