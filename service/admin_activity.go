package service

import (
	"net/http"

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

func (a *App) activityAnswer(*http.Request) (any, error) {
	answer := activityAnswer{
		Clients: []clientSeen{},
		Changes: activity.Recent(),
		Denials: activity.Denials(),
	}
	for client := range a.hosting.Clients().All() {
		answer.Clients = append(answer.Clients, seenOf(client))
	}
	return answer, nil
}
