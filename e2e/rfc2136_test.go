package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/rfc2136"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// This file keeps zones on the primaries of others by package rfc2136, without a service.

const updatedZone = "updated.example"

// updatedPrimaries are the servers on which zones are kept.
var updatedPrimaries = []struct {
	name  string
	start func(testing.TB, harness.Zone)
}{
	{"Knot", func(t testing.TB, z harness.Zone) { harness.StartKnotPrimary(t, z) }},
	{"BIND", func(t testing.TB, z harness.Zone) { harness.StartBINDPrimary(t, z, harness.NotifyDelay) }},
	{"PowerDNS", func(t testing.TB, z harness.Zone) { harness.StartPowerDNSPrimaries(t, z) }},
	{"BestDNS", func(t testing.TB, z harness.Zone) { harness.StartBestDNSPrimary(t, z) }},
}

// newUpdatedZone returns a zone with one primary, which is yet to be started.
func newUpdatedZone(t testing.TB) harness.Zone {
	return harness.Zone{Name: updatedZone, Key: harness.NewKey(), Primaries: []string{harness.FreeAddr(t)}}
}

// rfc2136Config returns the configuration with which the package keeps a zone.
func rfc2136Config(t testing.TB, z harness.Zone) rfc2136.Config {
	t.Helper()
	config := rfc2136.Config{
		Zone: harness.Must(record.ParseName(z.Name))(t),
		Key:  harness.Must(tsig.NewKey(z.Key.Name, "hmac-sha256", z.Key.Secret))(t),
	}
	for _, addr := range z.Primaries {
		config.Primaries = append(config.Primaries, netip.MustParseAddrPort(addr))
	}
	return config
}

// updated is a zone under test.
type updated struct {
	testing.TB
	*rfc2136.Zone
}

// in returns a record in presentation format, with a TTL of 60 s.
func (z updated) in(name, typ, data string) record.Record {
	z.Helper()
	return harness.Must(record.New(z.Config.Zone, name, typ, 60, data))(z)
}

// match returns a match of a type, "" for any, and of data unless that is "".
func (z updated) match(name, typ, data string) record.Match {
	z.Helper()
	var value *string
	if data != "" {
		value = &data
	}
	owner := harness.Must(record.ParseOwner(name, z.Config.Zone))(z)
	return harness.Must(record.MatchAt(owner, typ, nil, value))(z)
}

func (z updated) write(op record.Op, records ...record.Record) ([]record.Record, error) {
	return z.Change(z.Context(), "client", record.Change{Op: op, Records: records}, nil)
}

func (z updated) remove(matches ...record.Match) ([]record.Record, error) {
	return z.Change(z.Context(), "client", record.Change{Op: record.Delete, Matches: matches}, nil)
}

// must does a change that is to succeed.
func (z updated) must(records []record.Record, err error) []record.Record {
	z.Helper()
	if err != nil {
		z.Fatal(err)
	}
	return records
}

// assertAt compares what is at a name with lines "TYPE data".
func (z updated) assertAt(name string, want ...string) {
	z.Helper()
	owner := harness.Must(record.ParseOwner(name, z.Config.Zone))(z)
	all := harness.Must(z.Records(z.Context(), ""))(z)
	slices.Sort(want)
	if got := texts(all, owner); !slices.Equal(got, want) {
		z.Errorf("at %q there are %q, want %q", name, got, want)
	}
}

// texts returns records at a name, "" for any, sorted and as text.
func texts(records []record.Record, name record.Name) (lines []string) {
	for _, r := range records {
		if name == "" || r.Name == name {
			typ, data := r.Text()
			lines = append(lines, typ+" "+data)
		}
	}
	slices.Sort(lines)
	return lines
}

func (z updated) assertTexts(records []record.Record, want ...string) {
	z.Helper()
	slices.Sort(want)
	if got := texts(records, ""); !slices.Equal(got, want) {
		z.Errorf("the answer has %q, want %q", got, want)
	}
}

// assertConflict has a change fail for what is in the zone, and leave it as it was.
func (z updated) assertConflict(err error, says string) {
	z.Helper()
	var e *rfc2136.Error
	if !errors.As(err, &e) || e.Kind != rfc2136.Conflict || !e.Unchanged || !strings.Contains(err.Error(), says) {
		z.Errorf("failed with %#v, want a conflict that says %q and leaves the zone unchanged", err, says)
	}
}

func TestRFC2136(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		test func(updated)
	}{
		{"append", testUpdatedAppend},
		{"set", testUpdatedSet},
		{"delete", testUpdatedDelete},
		{"apex", testUpdatedApex},
		{"odd data", testUpdatedOddData},
		{"large", testUpdatedLarge},
		{"alias", testUpdatedAlias},
		{"delegation", testUpdatedDelegation},
		{"wildcard", testUpdatedWildcard},
	}
	for _, p := range updatedPrimaries {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			zone := newUpdatedZone(t)
			p.start(t, zone)
			for _, test := range tests {
				if p.name == "BestDNS" && test.name == "apex" {
					continue // whose NS records its configuration makes
				}
				t.Run(test.name, func(t *testing.T) {
					z := rfc2136.New(rfc2136Config(t, zone))
					defer z.Close()
					test.test(updated{t, z})
				})
			}
		})
	}
}

func testUpdatedAppend(z updated) {
	z.assertTexts(z.must(z.write(record.Append, z.in("a", "TXT", "one"))), "TXT one")
	z.must(z.write(record.Append, z.in("a", "TXT", "two"), z.in("a", "A", "192.0.2.1"), z.in("*.b.a", "AAAA", "2001:db8::1")))
	z.assertTexts(z.must(z.write(record.Append, z.in("a", "TXT", "two"))), "TXT two")
	z.assertAt("a", "TXT one", "TXT two", "A 192.0.2.1")
	z.assertAt("*.b.a", "AAAA 2001:db8::1")
}

func testUpdatedSet(z updated) {
	z.must(z.write(record.Append, z.in("set", "TXT", "old"), z.in("set", "TXT", "older"), z.in("set", "A", "192.0.2.1")))
	z.assertTexts(z.must(z.write(record.Set, z.in("set", "TXT", "new"), z.in("set", "MX", "10 mail.example."))), "TXT new", "MX 10 mail.example.")
	z.assertAt("set", "TXT new", "MX 10 mail.example.", "A 192.0.2.1")
}

func testUpdatedDelete(z updated) {
	fill := func() {
		z.must(z.write(record.Append, z.in("delete", "TXT", "one"), z.in("delete", "TXT", "two"), z.in("delete", "A", "192.0.2.1"), z.in("keep.delete", "A", "192.0.2.1")))
	}
	fill()
	z.assertTexts(z.must(z.remove(z.match("delete", "TXT", "one"), z.match("delete", "TXT", "three"))), "TXT one")
	z.assertAt("delete", "TXT two", "A 192.0.2.1")
	fill()
	z.assertTexts(z.must(z.remove(z.match("delete", "TXT", ""))), "TXT one", "TXT two")
	z.assertAt("delete", "A 192.0.2.1")
	fill()
	z.assertTexts(z.must(z.remove(z.match("delete", "", "192.0.2.1"))), "A 192.0.2.1")
	z.assertAt("delete", "TXT one", "TXT two")
	fill()
	z.assertTexts(z.must(z.remove(z.match("delete", "", ""))), "A 192.0.2.1", "TXT one", "TXT two")
	z.assertAt("delete")
	z.assertAt("keep.delete", "A 192.0.2.1")
	z.assertTexts(z.must(z.remove(z.match("delete", "", ""), z.match("delete", "TXT", ""), z.match("delete", "TXT", "one"))))
}

func testUpdatedApex(z updated) {
	ns1 := "ns1." + updatedZone + "."
	z.assertTexts(z.must(z.write(record.Set, z.in("@", "NS", "ns2.example."), z.in("@", "NS", "ns3.example."))), "NS ns2.example.", "NS ns3.example.")
	z.assertTexts(z.must(z.remove(z.match("@", "NS", "ns2.example."))), "NS ns2.example.")
	for _, m := range []record.Match{z.match("@", "NS", "ns3.example."), z.match("@", "NS", "")} {
		_, err := z.remove(m)
		var rule *record.RuleError
		if !errors.As(err, &rule) || rule.Rule != record.RuleApexNS || !rule.Conflict {
			z.Errorf("deleting the last NS record: %v", err)
		}
	}
	z.must(z.write(record.Append, z.in("@", "NS", ns1), z.in("@", "TXT", "apex")))
	z.assertTexts(z.must(z.remove(z.match("@", "NS", "ns3.example."), z.match("@", "", ""))), "NS ns3.example.", "TXT apex")
	_, err := z.remove(z.match("@", "SOA", ""))
	if rule := (*record.RuleError)(nil); !errors.As(err, &rule) || rule.Rule != record.RuleSOA {
		z.Errorf("deleting the SOA record: %v", err)
	}
	for _, r := range harness.Must(z.Records(z.Context(), ""))(z) {
		if r.Name == z.Config.Zone && r.Type != record.TypeSOA && r.Type != record.TypeNS {
			z.Errorf("at the apex there is %s", r)
		}
	}
}

func testUpdatedOddData(z updated) {
	odd := []record.Record{
		z.in("odd", "CAA", `0 issue "ca.test; x=\"quoted\\\""`),
		z.in("odd", "TXT", `quotes " and \ and ; and ü`),
		z.in("odd", "TXT", strings.Repeat("long ", 120)),
		z.in("odd", "HTTPS", "1 . alpn=h2,h3"),
		z.in("odd", "SRV", "1 2 443 Target.Example."),
		z.in(`o\.d\032d`, "TXT", "a name with a dot and a space in a label"),
		z.in("odd", "TLSA", "3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
	}
	z.must(z.write(record.Append, odd...))
	all := harness.Must(z.Records(z.Context(), ""))(z)
	for _, r := range odd {
		if !slices.ContainsFunc(all, r.Same) {
			z.Errorf("not there: %s", r)
		}
		typ, data := r.Text()
		got := z.must(z.remove(z.match(r.Name.String(), typ, data)))
		z.assertTexts(got, typ+" "+data)
	}
	z.assertAt("odd")
}

func testUpdatedLarge(z updated) {
	var records []record.Record
	for i := range 500 {
		records = append(records, z.in(fmt.Sprint("host", i, ".large"), "TXT", fmt.Sprint("value of ", i)))
	}
	z.must(z.write(record.Append, records...))
	var matches []record.Match
	for _, r := range records {
		matches = append(matches, z.match(r.Name.String(), "TXT", ""))
	}
	if got := z.must(z.remove(matches...)); len(got) != len(records) {
		z.Errorf("%d records are deleted, want %d", len(got), len(records))
	}
	for i := range 500 {
		records[i] = z.in("large", "TXT", fmt.Sprint(i, strings.Repeat("x", 200)))
	}
	_, err := z.write(record.Append, records...)
	if e := (*rfc2136.Error)(nil); !errors.As(err, &e) || e.Kind != rfc2136.TooLarge || !e.Unchanged {
		z.Errorf("a change of 100 kB: %v", err)
	}
}

func testUpdatedAlias(z updated) {
	z.must(z.write(record.Append, z.in("alias", "CNAME", "target.example.")))
	for _, op := range []record.Op{record.Append, record.Set} {
		_, err := z.write(op, z.in("alias", "TXT", "beside"))
		z.assertConflict(err, "a CNAME at")
	}
	z.assertAt("alias", "CNAME target.example.")
	z.must(z.write(record.Append, z.in("data", "TXT", "first")))
	_, err := z.write(record.Append, z.in("data", "CNAME", "target.example."))
	z.assertConflict(err, "other records")
	z.assertAt("data", "TXT first")
	// Of several records, none stays.
	z.must(z.write(record.Append, z.in("was", "TXT", "there")))
	_, err = z.write(record.Append, z.in("alias", "TXT", "beside"), z.in("was", "TXT", "there"), z.in("was", "TXT", "not"))
	z.assertConflict(err, "a CNAME at")
	z.assertAt("was", "TXT there")
	// A CNAME out of a wildcard is not in the way.
	z.must(z.write(record.Append, z.in("*.wild", "CNAME", "target.example.")))
	z.must(z.write(record.Append, z.in("a.wild", "TXT", "one"), z.in("b.wild", "TXT", "two")))
	z.assertAt("a.wild", "TXT one")
}

func testUpdatedDelegation(z updated) {
	z.must(z.write(record.Append, z.in("sub", "NS", "ns.sub."+updatedZone+"."), z.in("ns.sub", "A", "192.0.2.1")))
	z.must(z.write(record.Append, z.in("ns.sub", "AAAA", "2001:db8::1")))
	z.must(z.write(record.Append, z.in("sub", "DS", "1 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")))
	_, err := z.write(record.Append, z.in("deep.in.sub", "TXT", "below"))
	z.assertConflict(err, "delegated")
	z.assertAt("deep.in.sub")
	z.assertAt("sub", "NS ns.sub."+updatedZone+".", "DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF")
	// What is below is not shown, and deleted all the same.
	z.assertTexts(z.must(z.remove(z.match("ns.sub", "A", "192.0.2.1"))), "A 192.0.2.1")
	z.assertTexts(z.must(z.remove(z.match("ns.sub", "AAAA", ""))), "AAAA 2001:db8::1")
	z.assertAt("ns.sub")
	z.must(z.remove(z.match("sub", "NS", ""), z.match("sub", "DS", "")))
	z.assertAt("sub")
}

func testUpdatedWildcard(z updated) {
	z.must(z.write(record.Append, z.in("*.card", "TXT", "any")))
	z.assertTexts(z.must(z.remove(z.match("one.card", "TXT", ""))))
	z.assertAt("*.card", "TXT any")
	z.must(z.write(record.Append, z.in("one.card", "TXT", "own")))
	z.assertTexts(z.must(z.remove(z.match("one.card", "TXT", ""))), "TXT own")
}

// What is wrong between the two configurations is told, with what to do.
func TestRFC2136Refused(t *testing.T) {
	t.Parallel()
	other := harness.NewKey()
	for _, p := range updatedPrimaries {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			zone := newUpdatedZone(t)
			p.start(t, zone)
			for _, test := range []struct {
				name  string
				spoil func(*rfc2136.Config)
			}{
				{"secret", func(c *rfc2136.Config) {
					c.Key = harness.Must(tsig.NewKey(zone.Key.Name, "hmac-sha256", other.Secret))(t)
				}},
				{"name", func(c *rfc2136.Config) { c.Key = harness.Must(tsig.NewKey("other", "hmac-sha256", zone.Key.Secret))(t) }},
				{"algorithm", func(c *rfc2136.Config) {
					c.Key = harness.Must(tsig.NewKey(zone.Key.Name, "hmac-sha512", zone.Key.Secret))(t)
				}},
				{"none", func(c *rfc2136.Config) { c.Key = tsig.Key{} }},
				{"zone", func(c *rfc2136.Config) { c.Zone = harness.Must(record.ParseName("other.example"))(t) }},
			} {
				t.Run(test.name, func(t *testing.T) {
					config := rfc2136Config(t, zone)
					test.spoil(&config)
					z := updated{t, rfc2136.New(config)}
					defer z.Close()
					_, appended := z.write(record.Append, z.in("a", "TXT", "text"))
					_, deleted := z.remove(z.match("a", "TXT", "text"))
					_, read := z.Records(t.Context(), "")
					for _, err := range []error{appended, deleted, read} {
						var e *rfc2136.Error
						if !errors.As(err, &e) || e.Kind != rfc2136.KeyRefused && e.Kind != rfc2136.Refused || !e.Unchanged {
							t.Errorf("%#v", err)
						}
						t.Log(err, dns.RcodeToString[e.Rcode])
					}
				})
			}
		})
	}
}

// A secondary has a change within some milliseconds, where its primary would tell it of the
// change after a second (Knot) or five (BIND).
func TestRFC2136Notify(t *testing.T) {
	t.Parallel()
	const changes = 5
	for _, p := range updatedPrimaries[:2] {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			zone := newUpdatedZone(t)
			zone.Secondaries = []string{harness.FreeAddr(t)}
			p.start(t, zone)
			harness.StartKnotSecondary(t, zone.Secondary(0))
			config := rfc2136Config(t, zone)
			for _, key := range []tsig.Key{{}, config.Key} {
				config.Notify = []rfc2136.Secondary{{Address: netip.MustParseAddrPort(zone.Secondaries[0]), Key: key}}
				z := updated{t, rfc2136.New(config)}
				var lags []time.Duration
				for i := range changes {
					name := fmt.Sprintf("notified%d-%t", i, key.IsZero())
					z.must(z.write(record.Append, z.in(name, "TXT", "x")))
					lags = append(lags, harness.WaitTexts(t, zone.Secondaries[0], name+"."+updatedZone+".", 1, harness.StartTimeout))
				}
				z.Close()
				slices.Sort(lags)
				t.Log("served by the secondary after", lags)
				if lags[changes/2] > 500*time.Millisecond {
					t.Errorf("at the median, the secondary has a change %s after the answer", lags[changes/2])
				}
			}
		})
	}
}
