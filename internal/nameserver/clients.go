package nameserver

import (
	"context"
	"iter"
	"net/netip"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// This file is who, beside secondaries, signs what it sends: clients that change zones by dynamic
// update, list them by transfer, and ask which zones there are.

// Clients are those of a configuration that have keys. What they may do is not for this package to
// know. The methods are called concurrently.
type Clients interface {
	// Key returns the key of that name, false if no client has it.
	Key(name record.Name) (tsig.Key, bool)
	// Update makes an update, whose signature is verified, and returns the RCODE of its answer. The
	// text, if any, says why, for people. It may take as long as a change takes.
	Update(ctx context.Context, u Update) (rcode int, text string)
	// Transfer returns nil if the client that has a key may have a zone transferred to an
	// address.
	Transfer(key, zone record.Name, to netip.Addr) error
	// Records returns what is in a zone that is hosted elsewhere, without its SOA record, for a
	// transfer that is allowed. It may take its time.
	Records(ctx context.Context, key, zone record.Name) (iter.Seq[record.Record], error)
	// Refuse is told of a message by whom the signer is not known, and reports whether it is
	// answered. Over UDP anyone can be named as the one that it is from.
	Refuse(from netip.Addr, tcp bool, why error) (answer bool)
}

// Update is a message that wants a zone changed (RFC 2136).
type Update struct {
	// Message is it in wire form, with its signature.
	Message []byte
	// Key is the name of the key that it is signed with.
	Key record.Name
	// From is where it is from.
	From netip.Addr
}

// claimedZone is a zone that is hosted elsewhere and can be changed here. Those who want to change
// it ask here for its SOA record, to find out which zone a name is in, and for nothing else: that is
// all that is answered for it.
func claimedZone(name record.Name) *zone {
	z := &zone{name: name}
	z.current.Store(claimedSnapshot(name))
	return z
}

func claimedSnapshot(name record.Name) *Snapshot {
	s := newSnapshot(name)
	contact := string(name)
	if child, err := name.Child("hostmaster"); err == nil {
		contact = string(child)
	}
	s.serial = 1
	s.config = &configRecords{soaNames: string(name) + contact}
	s.soa = s.config.soa(s.serial)
	return s
}

// snapshotOf returns a zone with some records, for a transfer.
func snapshotOf(name record.Name, records iter.Seq[record.Record]) *Snapshot {
	s := claimedSnapshot(name)
	at := make(map[string][]record.Record)
	for r := range records {
		if r.Type != record.TypeSOA {
			at[r.Name.Key()] = append(at[r.Name.Key()], r)
		}
	}
	for key, records := range at {
		s.put(key, packNode(records))
	}
	return s
}

// claims returns the claimed zone that a name is in, nil if there is none.
func (v *view) claims(name record.Name) *zone {
	if len(v.claimed) == 0 {
		return nil
	}
	for {
		if z := v.claimed[name]; z != nil {
			return z
		}
		if name == record.Root || name == "" {
			return nil
		}
		name = name.Parent()
	}
}
