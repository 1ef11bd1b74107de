package service

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/caddy-dns/bestdns/internal/access"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("bestdns", parseApp)
	httpcaddyfile.RegisterHandlerDirective("bestdns", parseHandler)
	httpcaddyfile.RegisterDirectiveOrder("bestdns", httpcaddyfile.Before, "respond")
}

// parseHandler reads the handler directive, which serves the API and the page:
//
//	bestdns [<matcher>]
func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the handler directive; it has no arguments.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("bestdns here serves the API and takes no arguments; zones and clients stand in the global option bestdns")
	}
	if d.NextBlock(0) {
		return d.Errf("bestdns here serves the API and has no block; zones and clients stand in the global option bestdns")
	}
	return nil
}

// parseApp reads the global option:
//
//	bestdns {
//		listen <address>...
//		store  <file>
//		rate_limit <answers per second>|off
//		limits {
//			client_records    <number>
//			client_bytes      <size>
//			name_types        <number>
//			name_bytes        <size>
//			rrset_records     <number>
//			domain_challenges <number>
//		}
//		zone <name> {
//			ns  <name> [<address>...]
//			ttl <duration>
//			challenge_ttl <duration>
//			negative_ttl <duration>
//			challenge_lifetime <duration>
//			cname_target
//			max_records <number>
//			max_bytes <size>
//			provider <module> ...
//		}
//		client <name> {
//			description  <text>
//			token        sha256:<hash>...
//			tls_client_certificate sha256:<hash>...
//			user         <name>...
//			certificates [under] <domain>
//			allow        [under] <name> [<type>...]
//			read         [under] <name>
//			watch
//			client_ip    <network>...
//			max_records  <number>
//			max_bytes    <size>
//			expires      <date>
//		}
//	}
//
// A size is a number of bytes, or one with a unit such as 16MiB. A limit of 0 is no limit.
// zone and client may be repeated, and in them ns, token,
// tls_client_certificate, user, certificates, allow, read and client_ip.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // the option's name: only now an error knows its line
	if existing != nil {
		return nil, d.Err("a second bestdns block; write all zones and clients in one, or import them into it")
	}
	app := new(App)
	if err := app.unmarshal(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "bestdns", Value: caddyconfig.JSON(app, nil)}, nil
}

func (a *App) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("the global option bestdns takes a block and no arguments, so %q has no meaning", d.Val())
	}
	var seen once
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch option := d.Val(); option {
		case "listen":
			addresses := d.RemainingArgs()
			if len(addresses) == 0 {
				return d.ArgErr()
			}
			a.Listen = append(a.Listen, addresses...)
		case "store":
			err = seen.argument(d, &a.Store)
		case "rate_limit":
			err = seen.rate(d, &a.RateLimit)
		case "limits":
			a.Limits = new(Limits)
			if err = seen.mark(d); err == nil {
				err = a.Limits.unmarshal(d)
			}
		case "zone":
			zone := new(Zone)
			err = zone.unmarshal(d)
			a.Zones = append(a.Zones, zone)
		case "client":
			client := new(Client)
			err = client.unmarshal(d)
			a.Clients = append(a.Clients, client)
		default:
			err = d.Errf("unknown option %q of bestdns; there are listen, store, rate_limit, limits, zone and client", option)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (z *Zone) unmarshal(d *caddyfile.Dispenser) error {
	if !d.AllArgs(&z.Name) {
		return d.ArgErr()
	}
	var seen once
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch option := d.Val(); option {
		case "ns":
			args := d.RemainingArgs()
			if len(args) == 0 {
				return d.ArgErr()
			}
			z.NameServers = append(z.NameServers, NameServer{Name: args[0], Addresses: args[1:]})
		case "ttl":
			err = seen.atLeast(d, time.Second, &z.TTL)
		case "challenge_ttl":
			z.ChallengeTTL = new(caddy.Duration)
			err = seen.atLeast(d, 0, z.ChallengeTTL)
		case "negative_ttl":
			z.NegativeTTL = new(caddy.Duration)
			err = seen.atLeast(d, 0, z.NegativeTTL)
		case "challenge_lifetime":
			err = seen.atLeast(d, time.Second, &z.ChallengeLifetime)
		case "cname_target":
			err = seen.flag(d, &z.CNAMETarget)
		case "max_records":
			err = seen.number(d, &z.MaxRecords)
		case "max_bytes":
			err = seen.size(d, &z.MaxBytes)
		case "provider":
			if err = seen.mark(d); err == nil {
				err = z.unmarshalProvider(d)
			}
		default:
			err = d.Errf("unknown option %q of a zone; there are ns, ttl, challenge_ttl, negative_ttl, challenge_lifetime, cname_target, max_records, max_bytes and provider", option)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (z *Zone) unmarshalProvider(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "dns.providers."+name)
	if err != nil {
		return err
	}
	z.ProviderRaw = caddyconfig.JSONModuleObject(module, "name", name, nil)
	if err := refuseSelf(z.ProviderRaw); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (l *Limits) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	var seen once
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch option := d.Val(); option {
		case "client_records":
			err = seen.number(d, &l.ClientRecords)
		case "client_bytes":
			err = seen.size(d, &l.ClientBytes)
		case "name_types":
			err = seen.number(d, &l.NameTypes)
		case "name_bytes":
			err = seen.size(d, &l.NameBytes)
		case "rrset_records":
			err = seen.number(d, &l.RRsetRecords)
		case "domain_challenges":
			err = seen.number(d, &l.DomainChallenges)
		default:
			err = d.Errf("unknown limit %q; there are client_records, client_bytes, name_types, name_bytes, rrset_records and domain_challenges", option)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// singleOptions are the options of a client that take one argument and may be given
// once.
var singleOptions = []string{"description", "expires", "max_records", "max_bytes"}

func (c *Client) unmarshal(d *caddyfile.Dispenser) error {
	if !d.AllArgs(&c.Name) {
		return d.ArgErr()
	}
	var seen once
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option, args := d.Val(), []string(nil)
		if option == renamedOption {
			return d.WrapErr(errRenamed)
		}
		if verb, ok := access.ParseVerb(option); ok {
			if err := c.unmarshalRight(d, verb, &seen); err != nil {
				return err
			}
			continue
		}
		if !slices.Contains(singleOptions, option) {
			if args = d.RemainingArgs(); len(args) == 0 {
				return d.ArgErr()
			}
		}
		var err error
		switch option {
		case "description":
			err = seen.argument(d, &c.Description)
		case "token":
			c.Tokens = append(c.Tokens, args...)
		case "tls_client_certificate":
			c.TLSClientCertificates = append(c.TLSClientCertificates, args...)
		case "user":
			c.Users = append(c.Users, args...)
		case "client_ip":
			c.ClientIP = append(c.ClientIP, args...)
		case "expires":
			err = seen.argument(d, &c.Expires)
		case "max_records":
			err = seen.number(d, &c.MaxRecords)
		case "max_bytes":
			err = seen.size(d, &c.MaxBytes)
		default:
			err = d.Errf("unknown option %q of a client; there are description, token, tls_client_certificate, user, %s, client_ip, max_records, max_bytes and expires", option, listVerbs(""))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) unmarshalRight(d *caddyfile.Dispenser, verb access.Verb, seen *once) error {
	list, flag := c.right(verb)
	if flag != nil {
		return seen.flag(d, flag)
	}
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*list = append(*list, strings.Join(args, " "))
	return nil
}

// once holds the options of a block that were given and may not be given again.
type once map[string]bool

func (o *once) mark(d *caddyfile.Dispenser) error {
	if (*o)[d.Val()] {
		return d.Errf("%s is given twice", d.Val())
	}
	if *o == nil {
		*o = make(once)
	}
	(*o)[d.Val()] = true
	return nil
}

// argument reads an option with one argument.
func (o *once) argument(d *caddyfile.Dispenser, value *string) error {
	if err := o.mark(d); err != nil {
		return err
	}
	if !d.AllArgs(value) {
		return d.ArgErr()
	}
	return nil
}

// atLeast reads a duration that is not shorter than least.
func (o *once) atLeast(d *caddyfile.Dispenser, least time.Duration, value *caddy.Duration) error {
	option := d.Val()
	var text string
	if err := o.argument(d, &text); err != nil {
		return err
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil || duration < least {
		return d.Errf("%s %q is not a duration of %s or more, such as 60s or 24h", option, text, least)
	}
	*value = caddy.Duration(duration)
	return nil
}

// rate reads an option that is a number per second, or "off".
func (o *once) rate(d *caddyfile.Dispenser, value **int) error {
	var text string
	if err := o.argument(d, &text); err != nil {
		return err
	}
	rate := 0
	if text != "off" {
		var err error
		if rate, err = strconv.Atoi(text); err != nil || rate < 1 {
			return d.Errf("rate_limit %q is neither a number of answers per second nor off", text)
		}
	}
	*value = &rate
	return nil
}

// number reads an option that is a number from 0.
func (o *once) number(d *caddyfile.Dispenser, value **int) error {
	option := d.Val()
	var text string
	if err := o.argument(d, &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return d.Errf("%s %q is not a number; 0 is no limit", option, text)
	}
	*value = &n
	return nil
}

// size reads an option that is a number of bytes, with or without a unit.
func (o *once) size(d *caddyfile.Dispenser, value **int) error {
	option := d.Val()
	var text string
	if err := o.argument(d, &text); err != nil {
		return err
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt {
		return d.Errf("%s %q is not a size, such as 16MiB; 0 is no limit", option, text)
	}
	*value = new(int(n))
	return nil
}

func (o *once) flag(d *caddyfile.Dispenser, value *bool) error {
	if err := o.mark(d); err != nil {
		return err
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	*value = true
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
)
