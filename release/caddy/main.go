// Command caddy is the Caddy of a release: that of cmd/caddy, with modules for DNS
// providers. It is a Go module of its own: its go.mod and go.sum pin the modules of a
// release, and users of the library do not depend on them.
//
// A provider is here if its module is for libdns 1, may be distributed (it has a licence),
// and builds with this Caddy. For others there is xcaddy.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddy-dns/acmedns"
	_ "github.com/caddy-dns/azure"
	_ "github.com/caddy-dns/bestdns"
	_ "github.com/caddy-dns/bestdns/service"
	_ "github.com/caddy-dns/cloudflare"
	_ "github.com/caddy-dns/desec"
	_ "github.com/caddy-dns/gandi"
	_ "github.com/caddy-dns/googleclouddns"
	_ "github.com/caddy-dns/ovh"
	_ "github.com/caddy-dns/porkbun"
	_ "github.com/caddy-dns/rfc2136"
	_ "github.com/caddy-dns/route53"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddycmd.Main()
}
