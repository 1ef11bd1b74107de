package main

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/libdns/acmedns"
)

// acmeDNS is libdns' provider for acme-dns as a module of Caddy, with one account, under the name and
// with the options that the module github.com/caddy-dns/acmedns has.
type acmeDNS struct{ *acmedns.Provider }

func init() { caddy.RegisterModule(acmeDNS{}) }

func (acmeDNS) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "dns.providers.acmedns",
		New: func() caddy.Module { return &acmeDNS{new(acmedns.Provider)} },
	}
}

// UnmarshalCaddyfile reads the options of an account.
func (p *acmeDNS) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	options := map[string]*string{
		"username": &p.Username, "password": &p.Password, "subdomain": &p.Subdomain, "server_url": &p.ServerURL,
	}
	d.Next() // the module's name
	for d.NextBlock(0) {
		value, known := options[d.Val()]
		if !known || !d.AllArgs(value) {
			return d.ArgErr()
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*acmeDNS)(nil)
