// Command caddy is Caddy with all of BestDNS built in: the client
// (dns.providers.bestdns), the service with its API and name server, and
// "caddy bestdns". It is what
//
//	xcaddy build --with github.com/caddy-dns/bestdns/service
//
// makes, for those without xcaddy.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddy-dns/bestdns"
	_ "github.com/caddy-dns/bestdns/service"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddycmd.Main()
}
