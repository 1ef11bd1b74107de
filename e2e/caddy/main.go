// Command caddy is the Caddy that the end-to-end tests run: the one of
// cmd/caddy, and the provider modules of the DNS that the tests start.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddy-dns/bestdns"
	_ "github.com/caddy-dns/bestdns/service"
	_ "github.com/caddy-dns/cloudflare"
	_ "github.com/caddy-dns/rfc2136"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddycmd.Main()
}
