package service

import (
	"fmt"
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
	"github.com/caddy-dns/bestdns/internal/hosting"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("bestdns", parseApp)
	httpcaddyfile.RegisterHandlerDirective("bestdns", parseHandler)
	httpcaddyfile.RegisterDirectiveOrder("bestdns", httpcaddyfile.Before, "respond")
}

// parseHandler reads the handler directive, which serves the API and the page, and the protocols
// that it names:
//
//	bestdns [<matcher>] {
//		httpreq
//		acme_dns
//		dyndns2
//	}
func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the handler directive. It has no arguments, and in its block the protocols
// that are served beside the API.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("bestdns here serves the API and takes no arguments; zones and clients are in the global option bestdns")
	}
	return readBlock(d, "bestdns here serves the API, and %q is not a protocol that it can serve beside it; zones and clients are in the global option bestdns", []option{
		{"httpreq", flag(&h.HTTPReq), false},
		{"acme_dns", flag(&h.ACMEDNS), false},
		{"dyndns2", flag(&h.DynDNS2), false},
	})
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
//			transfer <address>... {
//				key <name> <algorithm> <secret>
//			}
//			primary <address>... {
//				key <name> <algorithm> <secret>
//			}
//			notify <address>... {
//				key <name> <algorithm> <secret>
//			}
//			servers   <address>...
//			resolvers <address>...
//			wait <duration>|off
//		}
//		client <name> {
//			description  <text>
//			token        sha256:<hash>...
//			tls_client_certificate sha256:<hash>...
//			user         <name>...
//			tsig         <name> <algorithm> <secret>
//			certificates [under] <domain>
//			allow        [under] <name> [<type>...]
//			read         [under] <name>
//			watch
//			persist      <domain>
//			register     under <name>
//			account_secret <secret>
//			accounts     <file>...
//			revoked      <account>...
//			client_ip    <network>...
//			max_records  <number>
//			max_bytes    <size>
//			expires      <date>
//		}
//	}
//
// A size is a number of bytes, or one with a unit such as 16MiB. A limit of 0 is no limit.
// listen, zone and client may be repeated, and in them ns, notify, transfer, servers, resolvers, token,
// tls_client_certificate, user, tsig, certificates, allow, read, persist, accounts, revoked and client_ip.
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
	return readBlock(d, "unknown option %q of bestdns", []option{
		{"listen", list(&a.Listen), true},
		{"store", argument(&a.Store), false},
		{"rate_limit", parsed(&a.RateLimit, "neither a number of answers per second nor off", parseRate), false},
		{"limits", func(d *caddyfile.Dispenser) error {
			a.Limits = new(Limits)
			return a.Limits.unmarshal(d)
		}, false},
		{"zone", func(d *caddyfile.Dispenser) error {
			a.Zones = append(a.Zones, new(Zone))
			return a.Zones[len(a.Zones)-1].unmarshal(d)
		}, true},
		{"client", func(d *caddyfile.Dispenser) error {
			a.Clients = append(a.Clients, new(Client))
			return a.Clients[len(a.Clients)-1].unmarshal(d)
		}, true},
	})
}

func (l *Limits) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return readBlock(d, "unknown limit %q", []option{
		{"client_records", number(&l.ClientRecords), false},
		{"client_bytes", size(&l.ClientBytes), false},
		{"name_types", number(&l.NameTypes), false},
		{"name_bytes", size(&l.NameBytes), false},
		{"rrset_records", number(&l.RRsetRecords), false},
		{"domain_challenges", number(&l.DomainChallenges), false},
	})
}

func (z *Zone) unmarshal(d *caddyfile.Dispenser) error {
	if !d.AllArgs(&z.Name) {
		return d.ArgErr()
	}
	ttl, lifetime := &z.TTL, &z.ChallengeLifetime
	return readBlock(d, "unknown option %q of a zone", []option{
		{"ns", z.unmarshalNameServer, true},
		{"ttl", duration(&ttl, time.Second), false},
		{"challenge_ttl", duration(&z.ChallengeTTL, 0), false},
		{"negative_ttl", duration(&z.NegativeTTL, 0), false},
		{"challenge_lifetime", duration(&lifetime, time.Second), false},
		{"cname_target", flag(&z.CNAMETarget), false},
		{"max_records", number(&z.MaxRecords), false},
		{"max_bytes", size(&z.MaxBytes), false},
		{"provider", z.unmarshalProvider, false},
		{"primary", func(d *caddyfile.Dispenser) (err error) {
			z.Primary, err = unmarshalPeers(d)
			return err
		}, false},
		{"notify", peers(&z.Notify), true},
		{"transfer", peers(&z.Transfers), true},
		{"servers", list(&z.Servers), true},
		{"resolvers", list(&z.Resolvers), true},
		{"wait", parsed(&z.Wait, "neither a duration from 1s to 25s nor off", parseWait), false},
	})
}

func (z *Zone) unmarshalNameServer(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	z.NameServers = append(z.NameServers, NameServer{Name: args[0], Addresses: args[1:]})
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

func (c *Client) unmarshal(d *caddyfile.Dispenser) error {
	if !d.AllArgs(&c.Name) {
		return d.ArgErr()
	}
	options := []option{
		{"description", argument(&c.Description), false},
		{"token", list(&c.Tokens), true},
		{"tls_client_certificate", list(&c.TLSClientCertificates), true},
		{"user", list(&c.Users), true},
		{"tsig", c.unmarshalKey, true},
	}
	for verb := range access.Verbs() {
		options = append(options, c.rightOption(verb))
	}
	return readBlock(d, "unknown option %q of a client", append(options,
		option{"account_secret", argument(&c.AccountSecret), false},
		option{"accounts", list(&c.Accounts), true},
		option{"revoked", list(&c.Revoked), true},
		option{"client_ip", list(&c.ClientIP), true},
		option{"max_records", number(&c.MaxRecords), false},
		option{"max_bytes", size(&c.MaxBytes), false},
		option{"expires", argument(&c.Expires), false},
		option{renamedOption, func(d *caddyfile.Dispenser) error { return d.WrapErr(errRenamed) }, true},
	))
}

func (c *Client) unmarshalKey(d *caddyfile.Dispenser) error {
	key, err := unmarshalKey(d)
	c.Keys = append(c.Keys, key)
	return err
}

func (c *Client) rightOption(verb access.Verb) option {
	rights, isSet := c.right(verb)
	if isSet != nil {
		return option{verb.String(), flag(isSet), false}
	}
	return option{verb.String(), func(d *caddyfile.Dispenser) error {
		var words []string
		if err := list(&words)(d); err != nil {
			return err
		}
		*rights = append(*rights, strings.Join(words, " "))
		return nil
	}, true}
}

// option is an option of a block.
type option struct {
	name string
	// read reads what follows the name.
	read func(d *caddyfile.Dispenser) error
	// repeats is set if it may be given more than once.
	repeats bool
}

// readBlock reads the options of a block. unknown is the error of one that there is not.
func readBlock(d *caddyfile.Dispenser, unknown string, options []option) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		i := slices.IndexFunc(options, func(o option) bool { return o.name == name })
		switch {
		case i < 0:
			return d.Errf(unknown+"; there are %s", name, listOptions(options))
		case seen[name] && !options[i].repeats:
			return d.Errf("%s is given twice", name)
		}
		seen[name] = true
		if err := options[i].read(d); err != nil {
			return err
		}
	}
	return nil
}

func listOptions(options []option) string {
	var names []string
	for _, o := range options {
		if o.name != renamedOption {
			names = append(names, o.name)
		}
	}
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// argument reads an option with one argument.
func argument(value *string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		if !d.AllArgs(value) {
			return d.ArgErr()
		}
		return nil
	}
}

// list reads an option with one argument or more, which go to the end of a list.
func list(values *[]string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.ArgErr()
		}
		*values = append(*values, args...)
		return nil
	}
}

// flag reads an option without arguments.
func flag(isSet *bool) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.ArgErr()
		}
		*isSet = true
		return nil
	}
}

// parsed reads an option with one argument that parse takes for a value. isNot is the end of
// the error about any other: that it is not what it should be.
func parsed[T any](value **T, isNot string, parse func(text string) (T, bool)) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		option := d.Val()
		var text string
		if err := argument(&text)(d); err != nil {
			return err
		}
		parsed, ok := parse(text)
		if !ok {
			return d.Errf("%s %q is %s", option, text, isNot)
		}
		if *value == nil {
			*value = new(T)
		}
		**value = parsed
		return nil
	}
}

// duration reads one that is not shorter than least.
func duration(value **caddy.Duration, least time.Duration) func(*caddyfile.Dispenser) error {
	isNot := fmt.Sprintf("not a duration of %s or more, such as 60s or 24h", least)
	return parsed(value, isNot, func(text string) (caddy.Duration, bool) {
		duration, err := caddy.ParseDuration(text)
		return caddy.Duration(duration), err == nil && duration >= least
	})
}

// number reads a number from 0.
func number(value **int) func(*caddyfile.Dispenser) error {
	return parsed(value, "not a number; 0 is no limit", func(text string) (int, bool) {
		n, err := strconv.Atoi(text)
		return n, err == nil && n >= 0
	})
}

// size reads a number of bytes, with or without a unit.
func size(value **int) func(*caddyfile.Dispenser) error {
	return parsed(value, "not a size, such as 16MiB; 0 is no limit", func(text string) (int, bool) {
		n, err := humanize.ParseBytes(text)
		return int(n), err == nil && n <= math.MaxInt
	})
}

// parseWait reads a duration, or "off".
func parseWait(text string) (caddy.Duration, bool) {
	if text == "off" {
		return 0, true
	}
	wait, err := caddy.ParseDuration(text)
	return caddy.Duration(wait), err == nil && wait >= leastWait && wait <= hosting.MostWait
}

// parseRate reads a number per second, or "off".
func parseRate(text string) (int, bool) {
	if text == "off" {
		return 0, true
	}
	rate, err := strconv.Atoi(text)
	return rate, err == nil && rate >= 1
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
)
