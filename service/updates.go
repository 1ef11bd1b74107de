package service

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/protocol"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// dnsClients are the clients of a configuration that send DNS messages signed with keys of their
// own: dynamic updates (RFC 2136) and transfers (RFC 5936). It is a [nameserver.Clients].
type dnsClients struct{ app *App }

// hasKeys reports whether any client has a TSIG key, so that the name server is needed.
func (a *App) hasKeys() bool {
	for _, client := range a.Clients {
		if client != nil && len(client.Keys) > 0 {
			return true
		}
	}
	return false
}

// Key returns the key of a client by its name.
func (c dnsClients) Key(name record.Name) (tsig.Key, bool) {
	client, key := c.app.hosting.Clients().ByKey(name)
	return key, client != nil
}

// caller lets a client in that has signed a message.
func (c dnsClients) caller(key record.Name, from netip.Addr) (hosting.Caller, error) {
	client, _ := c.app.hosting.Clients().ByKey(key)
	who := hosting.Caller{Client: client, Address: from.String(), RequestID: uuid.NewString(), Protocol: "rfc2136"}
	if client == nil {
		return who, hosting.Errorf(api.Unauthorized, "no client has the key %q", key).NotLetIn(hosting.WrongToken, nil)
	}
	return who, c.app.hosting.Accept(who, from)
}

// Update makes an update.
func (c dnsClients) Update(ctx context.Context, u nameserver.Update) (rcode int, reason string) {
	who, err := c.caller(u.Key, u.From)
	if err == nil {
		err = c.update(ctx, who, u.Message)
	}
	if err == nil {
		return protocol.UpdateRcode(nil), ""
	}
	c.app.deny(who, err)
	return protocol.UpdateRcode(err), fmt.Sprintf("%s (%s)", text.Brief(err.Error(), text.MaxDetail), who.RequestID)
}

func (c dnsClients) update(ctx context.Context, who hosting.Caller, message []byte) error {
	gates := c.app.gates[who.Client]
	if err := gates.requests.enter(ctx); err != nil {
		return err
	}
	made, err := c.change(ctx, who, message, gates)
	gates.requests.leave() // what waits for name servers has bounds of its own
	if err != nil {
		return err
	}
	return c.app.hosting.Served(ctx, who, &made, hosting.ZoneWait)
}

func (c dnsClients) change(ctx context.Context, who hosting.Caller, message []byte, gates *gates) (made hosting.Result, err error) {
	if len(message) > smallBody {
		if err := gates.work.enter(ctx); err != nil {
			return made, err
		}
		defer gates.work.leave()
	}
	change, err := protocol.ReadUpdate(message)
	if err != nil {
		// Whatever its RCODE is, it is the client's fault.
		c.app.hosting.Unread(who, "", hosting.Errorf(api.BadRequest, "%w", err))
		return made, err
	}
	return c.app.hosting.Change(ctx, who, change)
}

// Transfer returns nil if a client may have a zone transferred.
func (c dnsClients) Transfer(key, zone record.Name, to netip.Addr) error {
	who, err := c.caller(key, to)
	if err == nil && (c.app.hosting.Zone(zone) == nil || !who.Client.MayReadAll(zone)) {
		err = hosting.Errorf(api.Forbidden, "client %q may not have zone %q transferred: that needs a right to read or change all of it, such as read under %s", who.Client.Name(), zone, zone.Plain()).NotLetIn(hosting.NoRight, who.Client)
	}
	if err != nil {
		c.app.deny(who, err)
	}
	return err
}

// Records returns what is in a zone that is hosted elsewhere.
func (c dnsClients) Records(ctx context.Context, key, zone record.Name) (iter.Seq[record.Record], error) {
	client, _ := c.app.hosting.Clients().ByKey(key)
	gates := c.app.gates[client]
	if err := gates.walks.enter(ctx); err != nil {
		return nil, err
	}
	defer gates.walks.leave()
	found, err := c.app.hosting.Records(ctx, client, hosting.Query{Zone: zone})
	if err != nil {
		return nil, err
	}
	return func(yield func(record.Record) bool) {
		for e := range found {
			// What cannot be parsed, of a provider's own types, is in no message either.
			if r, err := record.At(e.Owner, e.Type, uint32(e.TTL), e.Data); err == nil && !yield(r) {
				return
			}
		}
	}, nil
}

// Refuse counts a message whose signer is not known. Over TCP its sender is throttled as those of
// wrong tokens are. Over UDP it is not, since a stranger could name others as the sender; a right
// key is accepted all the while.
func (c dnsClients) Refuse(from netip.Addr, tcp bool, why error) (answer bool) {
	if tcp && wrongTokens.wait(from, time.Now()) > 0 {
		c.app.deny(stranger(from), hosting.Errorf(api.TooManyRequests, "too many DNS messages with wrong keys from your address: %w", why).NotLetIn(hosting.Throttled, nil))
		return false
	}
	c.app.denyBy(stranger(from), hosting.Errorf(api.Unauthorized, "%w", why).NotLetIn(hosting.WrongToken, nil), !tcp)
	return true
}

var _ nameserver.Clients = dnsClients{}

// keysOf reads the TSIG keys of a client.
func (c *Client) keysOf() (keys []tsig.Key, err error) {
	for i, k := range c.Keys {
		if k == nil {
			return nil, fmt.Errorf("tsig %d is null", i+1)
		}
		key, err := k.read()
		if err != nil {
			return nil, fmt.Errorf("tsig %d: %w", i+1, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// checkKeys refuses a key of a client that a secondary has too: a message says by which key it is signed,
// and not for which of both.
func (a *App) checkKeys(clients *access.Clients) error {
	for _, zone := range a.hosting.Zones() {
		for _, t := range zone.Transfers {
			if client, _ := clients.ByKey(t.Key.Name); client != nil && !t.Key.IsZero() {
				return fmt.Errorf("client %q and a transfer of zone %q have the TSIG key %q both: give each its own", client.Name(), zone.Apex.Plain(), t.Key.Name.Plain())
			}
		}
	}
	return nil
}
