package nameserver

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// This file is which secondaries a configuration gives the zones, what each of them may ask
// for, and what it has answered.

// Transfer allows a secondary to have a zone transferred to it (AXFR, RFC 5936, and IXFR,
// RFC 1995), and has it notified of each change (RFC 1996).
type Transfer struct {
	// Address is where the secondary asks from, and with the port where it takes NOTIFY.
	Address netip.AddrPort
	// Key is what its requests must be signed with, and what NOTIFY to it is signed with
	// (RFC 8945). With the zero key they need not be signed. Where an address has several,
	// any of them suffices, and the first is that of NOTIFY.
	Key tsig.Key
}

// transferRules are the transfers of all zones of a configuration. They never change.
type transferRules struct {
	zones     map[record.Name][]Transfer
	addresses map[netip.Addr]bool // of all zones' secondaries
	keys      map[record.Name]tsig.Key
}

// newTransferRules checks the transfers of zones. It returns nil if there are none.
func newTransferRules(zones []ZoneConfig) (*transferRules, error) {
	rules := &transferRules{
		zones:     make(map[record.Name][]Transfer),
		addresses: make(map[netip.Addr]bool),
		keys:      make(map[record.Name]tsig.Key),
	}
	for _, zone := range zones {
		for _, t := range zone.Transfers {
			if err := rules.add(zone.Name, t); err != nil {
				return nil, fmt.Errorf("zone %q: transfer to %s: %w", zone.Name, t.Address, err)
			}
		}
	}
	if len(rules.zones) == 0 {
		return nil, nil
	}
	return rules, nil
}

func (rules *transferRules) add(zone record.Name, t Transfer) error {
	if !t.Address.IsValid() || t.Address.Port() == 0 || t.Address.Addr().IsUnspecified() {
		return errors.New("it needs the address of one secondary, and the port on which that takes NOTIFY")
	}
	t.Address = netip.AddrPortFrom(plainAddress(t.Address.Addr()), t.Address.Port())
	if !t.Key.IsZero() {
		if known, ok := rules.keys[t.Key.Name]; ok && known != t.Key {
			return fmt.Errorf("key %s: there is another key of that name, with another secret or algorithm; a message tells keys apart by their names, so give one of them another name on both servers", t.Key)
		}
		rules.keys[t.Key.Name] = t.Key
	}
	rules.zones[zone] = append(rules.zones[zone], t)
	rules.addresses[t.Address.Addr()] = true
	return nil
}

// plainAddress returns an address as the rules have it.
func plainAddress(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// Errors that say why a zone is not transferred.
var (
	errNoSecondary = errors.New("no transfer of the zone is allowed to this address")
	errUnsigned    = errors.New("the request is not signed with a key that this secondary's address has for the zone")
)

// allow returns nil if a zone may be transferred to an address whose request was signed with
// a key, the zero key if it was not signed, and otherwise why not.
func (rules *transferRules) allow(zone record.Name, to netip.Addr, key tsig.Key) error {
	err := errNoSecondary
	if rules == nil {
		return err
	}
	for _, t := range rules.zones[zone] {
		if t.Address.Addr() != to {
			continue
		}
		if t.Key.IsZero() || t.Key == key {
			return nil
		}
		err = errUnsigned
	}
	return err
}

// secondariesOf returns the transfers of a zone, one for each address and port: the first.
func (rules *transferRules) secondariesOf(zone record.Name) []Transfer {
	if rules == nil || len(rules.zones[zone]) == 0 {
		return nil
	}
	var list []Transfer
	seen := make(map[netip.AddrPort]bool)
	for _, t := range rules.zones[zone] {
		if !seen[t.Address] {
			seen[t.Address] = true
			list = append(list, t)
		}
	}
	return list
}

// SecondaryStatus is what a secondary has answered to NOTIFY of a zone. That it has answered
// says that it knows of a serial, and not that it serves it yet.
type SecondaryStatus struct {
	// Address is the configured one.
	Address netip.AddrPort
	// Acknowledged is the last serial whose NOTIFY it has accepted, if Known.
	Acknowledged uint32
	Known        bool
	// Waiting is since when there is a serial of which it has not accepted NOTIFY; zero if
	// there is none.
	Waiting time.Time
	// Silent is since when it answers no NOTIFY of any zone; zero if it has answered the last.
	Silent time.Time
	// Refused is the RCODE of its last answer if that was not NOERROR, such as "NOTAUTH".
	Refused string
}

// Secondaries returns the status of each of the secondaries that the configuration gives a
// zone, in its order.
func (s *Server) Secondaries(zone record.Name) []SecondaryStatus {
	return s.notifier.status((*s.zones.Load())[zone], s.view.Load().transfers.secondariesOf(zone))
}
