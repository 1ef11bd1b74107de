// Package solver is what the adapters for the versions of lego have in common. It reads
// their environment variables, checks their configuration, and writes and deletes the
// records of challenges. It knows no lego.
package solver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libdns/libdns"
)

// DefaultTTL leaves the TTL of records to the service.
const DefaultTTL = -1

// Provider is what a Solver needs of the client.
type Provider interface {
	libdns.RecordAppender
	libdns.RecordDeleter
}

// Solver writes TXT records through a [Provider]. It is safe for concurrent use. Its errors,
// and those of [New], begin with "bestdns: ".
type Solver struct {
	provider Provider
	ttl      time.Duration
	timeout  time.Duration
}

// New returns a Solver that writes records with a TTL in seconds, or with [DefaultTTL]. Each
// call of the provider ends after timeout.
func New(provider Provider, ttl int, timeout time.Duration) (*Solver, error) {
	switch {
	case ttl < DefaultTTL:
		return nil, fmt.Errorf("bestdns: the TTL is %d: it is a number of seconds, or %d for the service's default", ttl, DefaultTTL)
	case timeout <= 0:
		return nil, errors.New("bestdns: the HTTP timeout must be more than zero")
	}
	// Without records no one is asked, but what is wrong with the token or the endpoint is
	// better said now than at the first challenge.
	if _, err := provider.AppendRecords(context.Background(), "", nil); err != nil {
		return nil, fmt.Errorf("bestdns: %w", err)
	}
	return &Solver{provider: provider, ttl: libdnsTTL(ttl), timeout: timeout}, nil
}

// libdnsTTL returns a number of seconds as the client takes it: zero is the service's default
// there, and less than a second is zero.
func libdnsTTL(seconds int) time.Duration {
	switch seconds {
	case DefaultTTL:
		return 0
	case 0:
		return time.Nanosecond
	}
	return time.Duration(seconds) * time.Second
}

// Append appends a TXT record. It returns when all name servers that answer have the record,
// or at the end of the timeout.
func (s *Solver) Append(ctx context.Context, fqdn, value string) error {
	return s.do(ctx, s.provider.AppendRecords, fqdn, libdns.TXT{TTL: s.ttl, Text: value})
}

// Delete deletes a TXT record of any TTL, and none beside it.
func (s *Solver) Delete(ctx context.Context, fqdn, value string) error {
	return s.do(ctx, s.provider.DeleteRecords, fqdn, libdns.TXT{Text: value})
}

type change = func(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error)

func (s *Solver) do(ctx context.Context, change change, fqdn string, txt libdns.TXT) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	// The service finds the zone, so the record is the apex of what is named here.
	txt.Name = "@"
	if _, err := change(ctx, fqdn, []libdns.Record{txt}); err != nil {
		return fmt.Errorf("bestdns: %w", err)
	}
	return nil
}
