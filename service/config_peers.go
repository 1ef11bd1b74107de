package service

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// Peers are name servers that a zone is shared with, and the key that messages to and from
// them are signed with.
type Peers struct {
	// Their IP addresses, each with its port if that is not 53.
	Addresses []string `json:"addresses,omitempty"`

	// The key. Without one, messages are not signed.
	Key *TSIGKey `json:"key,omitempty"`
}

// TSIGKey is a secret that two parties share to sign the DNS messages between them (RFC 8945).
type TSIGKey struct {
	// The key's name, the same on both sides.
	Name string `json:"name,omitempty"`

	// hmac-sha256, hmac-sha384, hmac-sha512, hmac-sha224 or hmac-sha1.
	Algorithm string `json:"algorithm,omitempty"`

	// The secret in base64. Have a placeholder such as `{env.TSIG_SECRET}` bring it.
	Secret string `json:"secret,omitempty"`
}

// read returns the addresses and the key, which is zero if there is none.
func (p *Peers) read() (addresses []netip.AddrPort, key tsig.Key, err error) {
	if p == nil || len(p.Addresses) == 0 {
		return nil, key, errors.New("no address is given")
	}
	if addresses, err = readEach(p.Addresses, parseServerAddress); err != nil {
		return nil, key, err
	}
	if p.Key != nil {
		key, err = p.Key.read()
	}
	return addresses, key, err
}

func (k *TSIGKey) read() (tsig.Key, error) {
	parts := []string{k.Name, k.Algorithm, k.Secret}
	for i, part := range parts {
		var err error
		if parts[i], err = replace(part); err != nil {
			return tsig.Key{}, fmt.Errorf("key: %w", err)
		}
	}
	return tsig.NewKey(parts[0], parts[1], parts[2])
}

// parseServerAddress reads the address of a name server or resolver.
func parseServerAddress(text string) (netip.AddrPort, error) {
	if address, err := parseAddress(text); err == nil {
		return netip.AddrPortFrom(address, nsquery.Port), nil
	}
	address, err := netip.ParseAddrPort(text)
	if err != nil || address.Port() == 0 || address.Addr().Zone() != "" {
		return address, fmt.Errorf("%q is not an IP address, nor one with a port such as 192.0.2.1:53 or [2001:db8::1]:53", text)
	}
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port()), nil
}

// peers reads such an option, which goes to the end of a list.
func peers(list *[]*Peers) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		p, err := unmarshalPeers(d)
		*list = append(*list, p)
		return err
	}
}

// unmarshalPeers reads what follows an option about other name servers:
//
//	<address>... {
//		key <name> <algorithm> <secret>
//	}
func unmarshalPeers(d *caddyfile.Dispenser) (*Peers, error) {
	peers := &Peers{Addresses: d.RemainingArgs()}
	if len(peers.Addresses) == 0 {
		return nil, d.ArgErr()
	}
	err := readBlock(d, "unknown option %q of other name servers", []option{
		{"key", func(d *caddyfile.Dispenser) (err error) {
			peers.Key, err = unmarshalKey(d)
			return err
		}, false},
	})
	return peers, err
}

// unmarshalKey reads what follows an option with a key:
//
//	<name> <algorithm> <secret>
func unmarshalKey(d *caddyfile.Dispenser) (*TSIGKey, error) {
	option, args := d.Val(), d.RemainingArgs()
	if len(args) != 3 { // the usual error would show the last one, which is the secret
		return nil, d.Errf("%s takes a name, an algorithm and a secret, which are 3 arguments and not %d", option, len(args))
	}
	return &TSIGKey{Name: args[0], Algorithm: args[1], Secret: args[2]}, nil
}
