package service

import (
	"net/http"
	"time"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/protocol"
)

// clientSeen is a client of the configuration.
type clientSeen struct {
	Client      string `json:"client"`
	Description string `json:"description,omitempty"`
	// Rights are as the configuration has them.
	Rights []string `json:"rights"`
	// Expires is the first instant at which it is no longer accepted.
	Expires *time.Time `json:"expires,omitempty"`
	// LastUsed is absent if it was not used since the process started.
	LastUsed *time.Time `json:"last_used,omitempty"`
}

func seenOf(client *access.Client) clientSeen {
	c := clientSeen{Client: client.Name(), Description: client.Description(), Rights: []string{}}
	for _, rule := range client.Rules() {
		c.Rights = append(c.Rights, rule.String())
	}
	if expires := client.Expires(); !expires.IsZero() {
		c.Expires = &expires
	}
	if used := activity.LastUse(client.Name()); !used.IsZero() {
		c.LastUsed = &used
	}
	return c
}

// Parameters of the question which clients may do something.
const (
	clientsMay  = "may"
	clientsName = "name"
	clientsType = "type"
)

// clientsAnswer has all clients or, for the parameters may, name and type, those that may do that.
func (a *App) clientsAnswer(r *http.Request) (any, error) {
	query, err := protocol.ParseQuery(r.URL.RawQuery, clientsMay, clientsName, clientsType)
	if err != nil {
		return nil, adminError(http.StatusBadRequest, "%w", err)
	}
	asked := func(*access.Client) bool { return true }
	if len(query) > 0 {
		q, err := hosting.NewQuestion(query[clientsMay], query[clientsName], query[clientsType])
		if err != nil {
			return nil, adminError(http.StatusBadRequest, "%w", err)
		}
		asked = func(client *access.Client) bool { return a.hosting.May(client, q) }
	}
	list := []clientSeen{}
	for client := range a.hosting.Clients().All() {
		if asked(client) {
			list = append(list, seenOf(client))
		}
	}
	return list, nil
}
