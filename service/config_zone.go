package service

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/idna"

	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

// Zone is a zone whose records the service may change.
type Zone struct {
	// The zone's name. Internationalized names are accepted in either form.
	Name string `json:"name"`

	// The name servers of a built-in zone, at least one. They make the zone's NS
	// records, and the first is the primary in its SOA record. One whose name
	// is in the zone needs its addresses here.
	NameServers []NameServer `json:"ns,omitempty"`

	// The TTL of records that are appended without one, the answers to challenges
	// excepted. Default: `1m`.
	TTL caddy.Duration `json:"ttl,omitempty"`

	// The TTL of TXT records at names of challenges that are appended without one, in a zone with a
	// DNS provider or a primary. A resolver that has seen one of them keeps it that long, and
	// does not see the next one at the same name. With 0, many providers use a default of
	// their own, and others refuse less than a minute. Default: `ttl` with a provider, 0 with a
	// primary. In built-in zones the TTL is always 0.
	ChallengeTTL *caddy.Duration `json:"challenge_ttl,omitempty"`

	// How long a resolver may remember that a name or a type does not exist in the zone. Of
	// names at which challenges are answered it may not at all. Built-in zones only.
	// Default: `0s`, so that an appended record is found at once by those who looked for
	// it before.
	NegativeTTL *caddy.Duration `json:"negative_ttl,omitempty"`

	// How long a record that was written under a `certificates` right stays if
	// its client never removes it. In a zone with a DNS provider, such records are remembered
	// in Caddy's storage, and deleted at most a minute later. Default: `24h`.
	ChallengeLifetime caddy.Duration `json:"challenge_lifetime,omitempty"`

	// Whether the challenges of domains that are hosted elsewhere go to this
	// zone: those of a domain D to the name D below the zone, to which
	// `_acme-challenge.D` must be a CNAME. One zone at most can be marked.
	CNAMETarget bool `json:"cname_target,omitempty"`

	// How many records the zone can have, by any client, with those that the server makes;
	// 0 is no limit. Built-in zones only. Default: no limit.
	MaxRecords *int `json:"max_records,omitempty"`

	// How many bytes these records can have, in wire form and each with its owner name
	// in full; 0 is no limit. Built-in zones only. Default: no limit.
	MaxBytes *int `json:"max_bytes,omitempty"`

	// The DNS provider that hosts the zone. Without one, the built-in name
	// server does.
	ProviderRaw json.RawMessage `json:"provider,omitempty" caddy:"namespace=dns.providers inline_key=name"`

	// The secondary name servers of a built-in zone: they may transfer it (AXFR, IXFR), are told of
	// each change (NOTIFY), and are to serve it before it is answered unless `servers` names others.
	Transfers []*Peers `json:"transfers,omitempty"`

	// The primary name server that has the zone, such as Knot DNS, BIND or PowerDNS, which takes
	// dynamic updates (RFC 2136) and transfers the zone (AXFR) with the key. With several addresses, the
	// next is tried when one cannot be reached.
	Primary *Peers `json:"primary,omitempty"`

	// The secondary name servers that are told of each change (NOTIFY) when the primary has it.
	// For a zone with `primary`, where the primary takes its time to tell them.
	Notify []*Peers `json:"notify,omitempty"`

	// The name servers that are to serve a change before it is answered, by their IP addresses, each
	// with its port if that is not 53. Default: all that the zone's NS records name; for a built-in
	// zone its secondaries, since the built-in name server serves what is answered.
	Servers []string `json:"servers,omitempty"`

	// The resolvers that find these name servers by the NS records, by their IP addresses.
	// Default: the system's.
	Resolvers []string `json:"resolvers,omitempty"`

	// How long an appended or set record waits for the name servers by default, together with the time
	// that the change took; from `1s` to `25s`. It is for requests without the header Prefer: clients of
	// BestDNS ask for 8 seconds at a time, and modules of the same Caddy wait for two minutes. What
	// lags longer is told to the client, and is not an error. With 0 no one waits, whatever clients ask
	// for. Default: `8s`.
	Wait *caddy.Duration `json:"wait,omitempty"`

	hosted *hosting.Zone // made in provision
}

// NameServer is a name server of a built-in zone.
type NameServer struct {
	// The name server's own name.
	Name string `json:"name"`

	// Its addresses, where its name is in the zone.
	Addresses []string `json:"addresses,omitempty"`
}

// Defaults of a zone.
const (
	defaultTTL               = time.Minute
	defaultChallengeLifetime = 24 * time.Hour
)

// leastWait is the shortest time to wait for name servers.
const leastWait = time.Second

// provision reads the zone and loads its DNS provider.
func (z *Zone) provision(ctx caddy.Context) error {
	read, err := z.read()
	if err != nil {
		return err
	}
	if len(z.ProviderRaw) > 0 {
		if read.Provider, err = z.loadProvider(ctx); err != nil {
			return err
		}
	}
	z.hosted = read
	return nil
}

// isBuiltin reports whether the built-in name server hosts the zone.
func (z *Zone) isBuiltin() bool { return z.Primary == nil && z.providerName() == "" }

// providerName returns the name of the module that hosts the zone, "" if it is built in.
func (z *Zone) providerName() string {
	if z.hosted != nil { // Caddy clears the JSON when the module is loaded
		return z.hosted.ProviderName
	}
	if len(z.ProviderRaw) == 0 {
		return ""
	}
	var module struct {
		Name string `json:"name"`
	}
	if json.Unmarshal(z.ProviderRaw, &module) != nil || module.Name == "" {
		return "unknown"
	}
	return module.Name
}

// read returns the zone that the configuration describes, without its DNS provider.
func (z *Zone) read() (*hosting.Zone, error) {
	apex, err := parseConfigName(z.Name)
	if err != nil {
		return nil, err
	}
	if apex == record.Root {
		return nil, errors.New("the root zone cannot be hosted here")
	}
	if apex.FirstLabel() == "*" {
		return nil, fmt.Errorf("a wildcard is a name within a zone: host %q, or the name above it that is a zone", apex.Parent())
	}
	zone := &hosting.Zone{Apex: apex, Name: z.Name, CNAMETarget: z.CNAMETarget, ProviderName: z.providerName()}
	if zone.TTL, err = ttlSeconds("ttl", cmp.Or(z.TTL, caddy.Duration(defaultTTL))); err != nil {
		return nil, err
	}
	if err := readLimits(limit{"max_records", z.MaxRecords, 0, &zone.MaxRecords}, limit{"max_bytes", z.MaxBytes, 0, &zone.MaxBytes}); err != nil {
		return nil, err
	}
	if err := z.readWait(zone); err != nil {
		return nil, err
	}
	zone.ChallengeLifetime = time.Duration(cmp.Or(z.ChallengeLifetime, caddy.Duration(defaultChallengeLifetime)))
	if zone.ChallengeLifetime < time.Second {
		return nil, fmt.Errorf("challenge_lifetime %s: at least one second", zone.ChallengeLifetime)
	}
	if z.isBuiltin() {
		return zone, z.readBuiltin(zone)
	}
	if err := z.readPrimary(zone); err != nil {
		return nil, err
	}
	return zone, z.readProvided(zone)
}

// readWait reads which name servers are waited for, and how long.
func (z *Zone) readWait(zone *hosting.Zone) error {
	servers, err := readEach(z.Servers, parseServerAddress)
	if err != nil {
		return fmt.Errorf("servers: %w", err)
	}
	for _, address := range servers {
		zone.Servers = append(zone.Servers, nsquery.Server{Address: address})
	}
	resolvers, err := readEach(z.Resolvers, parseServerAddress)
	if err != nil {
		return fmt.Errorf("resolvers: %w", err)
	}
	for _, address := range resolvers {
		zone.Resolvers = append(zone.Resolvers, address.String())
	}
	zone.Wait = hosting.DefaultWait
	if z.Wait != nil {
		if zone.Wait = time.Duration(*z.Wait); zone.Wait != 0 && (zone.Wait < leastWait || zone.Wait > hosting.MostWait) {
			return fmt.Errorf("wait %s: from %s to %s, or 0 for no waiting", zone.Wait, leastWait, hosting.MostWait)
		}
	}
	switch {
	case len(servers) > hosting.MostServers:
		return fmt.Errorf("servers: %d are given, and %d are the most", len(servers), hosting.MostServers)
	case zone.Wait == 0 && len(servers) > 0:
		return errors.New("servers are for waiting, and wait is off")
	case len(servers) > 0 && len(resolvers) > 0:
		return errors.New("resolvers find name servers, which servers names already: leave one of them out")
	case z.isBuiltin() && len(resolvers) > 0:
		return errors.New("resolvers are for zones on other name servers")
	}
	return nil
}

// readBuiltin reads the options of a built-in zone.
func (z *Zone) readBuiltin(zone *hosting.Zone) (err error) {
	if z.ChallengeTTL != nil {
		return errors.New("challenge_ttl is for zones with a DNS provider; in built-in zones the answers to challenges have a TTL of 0")
	}
	if z.NegativeTTL != nil {
		if zone.NegativeTTL, err = ttlSeconds("negative_ttl", *z.NegativeTTL); err != nil {
			return err
		}
	}
	if len(z.Notify) > 0 {
		return errors.New("notify is for zones with a primary; the secondaries of a built-in zone are told by transfer")
	}
	if err := z.readTransfers(zone); err != nil {
		return err
	}
	zone.NameServers, err = z.readNameServers(zone.Apex)
	return err
}

// readTransfers reads which secondaries a built-in zone has.
func (z *Zone) readTransfers(zone *hosting.Zone) error {
	waits := len(zone.Servers) == 0
	for _, peers := range z.Transfers {
		addresses, key, err := peers.read()
		if err != nil {
			return fmt.Errorf("transfer: %w", err)
		}
		for _, address := range addresses {
			zone.Transfers = append(zone.Transfers, nameserver.Transfer{Address: address, Key: key})
			if server := (nsquery.Server{Address: address}); waits && !slices.Contains(zone.Servers, server) {
				zone.Servers = append(zone.Servers, server)
			}
		}
	}
	if n := len(zone.Transfers); n > hosting.MostServers {
		return fmt.Errorf("transfer: %d secondaries are given, and %d are the most", n, hosting.MostServers)
	}
	return nil
}

// readProvided reads the options of a zone that a DNS provider hosts.
func (z *Zone) readProvided(zone *hosting.Zone) (err error) {
	switch {
	case len(z.NameServers) > 0:
		return errors.New("ns lines are for built-in zones; the name servers of this one are in its NS records")
	case len(z.Transfers) > 0:
		return errors.New("transfer is for built-in zones; the secondaries of this one get it from where it is")
	case z.NegativeTTL != nil:
		return errors.New("negative_ttl is for built-in zones; in this one it is the minimum of its SOA record")
	case z.MaxRecords != nil || z.MaxBytes != nil:
		return errors.New("max_records and max_bytes are for built-in zones; the limits of this one are those of where it is")
	}
	if zone.Primary == nil { // which takes a TTL of 0, as not every provider does
		zone.ChallengeTTL = zone.TTL
	}
	if z.ChallengeTTL != nil {
		zone.ChallengeTTL, err = ttlSeconds("challenge_ttl", *z.ChallengeTTL)
	}
	return err
}

// loadProvider loads the module that hosts the zone.
func (z *Zone) loadProvider(ctx caddy.Context) (hosting.Provider, error) {
	if err := refuseSelf(z.ProviderRaw); err != nil {
		return nil, err
	}
	module, err := ctx.LoadModule(z, "ProviderRaw")
	if err != nil {
		return nil, fmt.Errorf("loading its DNS provider: %w", err)
	}
	provider, ok := module.(hosting.Provider)
	if !ok {
		return nil, fmt.Errorf("its DNS provider %T cannot append and delete records, which is the least that is needed", module)
	}
	return provider, nil
}

// refuseSelf refuses the provider that would call this very app: Caddy would
// hand it a half-built one.
func refuseSelf(raw json.RawMessage) error {
	var self struct {
		Name     string `json:"name"`
		Endpoint string `json:"endpoint"`
	}
	if err := json.Unmarshal(raw, &self); err == nil && self.Name == "bestdns" && self.Endpoint == "" {
		return errors.New("provider bestdns without an endpoint is this service itself; name another service's endpoint and token, or leave the provider out for a built-in zone")
	}
	return nil
}

func ttlSeconds(option string, value caddy.Duration) (uint32, error) {
	ttl := time.Duration(value)
	if ttl < 0 || ttl > record.MaxTTL*time.Second || ttl%time.Second != 0 {
		return 0, fmt.Errorf("%s %s: whole seconds, at most %ds", option, ttl, record.MaxTTL)
	}
	return uint32(ttl / time.Second), nil
}

func (z *Zone) readNameServers(apex record.Name) (servers []nameserver.NameServer, err error) {
	if len(z.NameServers) == 0 {
		return nil, errors.New("a built-in zone needs its name servers: write \"ns ns1." + z.Name + " ADDRESS\" with the public address of this machine, or give the zone a provider")
	}
	for _, ns := range z.NameServers {
		server, err := ns.read(apex)
		if err != nil {
			return nil, fmt.Errorf("ns %q: %w", ns.Name, err)
		}
		servers = append(servers, server)
	}
	return servers, nil
}

func (ns *NameServer) read(apex record.Name) (server nameserver.NameServer, err error) {
	if server.Name, err = parseConfigName(ns.Name); err != nil {
		return server, err
	}
	if server.Addresses, err = readEach(ns.Addresses, parseAddress); err != nil {
		return server, err
	}
	switch inZone := server.Name.In(apex); {
	case inZone && len(server.Addresses) == 0:
		return server, errors.New("the name is in the zone, so no one else can tell its address: write it after the name")
	case !inZone && len(server.Addresses) > 0:
		return server, errors.New("the name is outside the zone, so its address belongs where that name is hosted, not here")
	}
	return server, nil
}

func parseAddress(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(text)
	if err != nil || address.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", text)
	}
	return address.Unmap(), nil
}

// configIDNA brings the names of a configuration into A-label form. Underscores
// are allowed: _acme-challenge.D can be a zone.
var configIDNA = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))

// parseConfigName reads an absolute name of the configuration.
func parseConfigName(text string) (record.Name, error) {
	text, err := replace(text)
	if err != nil {
		return "", err
	}
	ascii, err := toASCII(text)
	if err != nil {
		return "", err
	}
	if ascii == "" {
		return "", errors.New("the name is empty")
	}
	return record.ParseName(ascii)
}

// toASCII converts an internationalized name, and leaves others as they are.
func toASCII(name string) (string, error) {
	for i := range len(name) {
		if name[i] >= 0x80 {
			ascii, err := configIDNA.ToASCII(name)
			if err != nil {
				return "", fmt.Errorf("name %q: not an internationalized domain name: %w", name, err)
			}
			return ascii, nil
		}
	}
	return name, nil
}
