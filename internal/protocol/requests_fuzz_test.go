package protocol

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/record"
)

// isError reports whether an error is one that a client is told of.
func isError(err error) bool {
	var e *hosting.Error
	return errors.As(err, &e) && e.Status >= 400
}

// FuzzHTTPReq reads any request of httpreq. A success is about one TXT record and
// echoes what was sent, as clients look for it.
func FuzzHTTPReq(f *testing.F) {
	for _, body := range []string{
		`{"fqdn":"_acme-challenge.x.org.","value":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`, `{"domain":"*.x.org","token":"a","keyAuth":"a.b"}`,
		`{"fqdn":"x.","value":"\"<é"}`, `{"fqdn":1}`, `{}`, `null`, `{"FQDN":"x.org","Value":"a","extra":[]}`, `{"fqdn":"x.","value":"a","domain":"b"}`, `{"domain":".","keyAuth":"a"}`,
	} {
		f.Add([]byte(body), true)
		f.Add([]byte(body), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, present bool) {
		c, answer, err := HTTPReq(body, present)
		if err != nil {
			if !isError(err) || answer != nil {
				t.Errorf("%v, answer %q", err, answer)
			}
			return
		}
		if len(c.Records)+len(c.Matches) != 1 || (c.Op == record.Append) != present || c.Invalid != nil {
			t.Fatalf("read %+v", c)
		}
		for name := range c.Names {
			if name != c.Zone {
				t.Errorf("zone %q, name %q", c.Zone, name)
			}
		}
		var sent, echo httpreqBody
		if json.Unmarshal(body, &sent) != nil || json.Unmarshal(answer, &echo) != nil || sent != echo {
			t.Errorf("%q is echoed as %q", body, answer)
		}
		if len(c.Matches) > 0 {
			r, whole := c.Matches[0].Record()
			if !whole || r.Type != record.TypeTXT || c.Matches[0].TTL != nil {
				t.Errorf("deletes %+v", c.Matches[0])
			}
			return
		}
		if r := c.Records[0]; r.Type != record.TypeTXT || r.TTL != hosting.DefaultTTL || sent.Value != "" && record.JoinStrings(r.Data) != sent.Value {
			t.Errorf("%q appends %v", body, r)
		}
	})
}

// FuzzReadACMEDNSUpdate reads any update of acme-dns. One that is made is about the answer to a
// challenge, and the answer to it has the value in quotes.
func FuzzReadACMEDNSUpdate(f *testing.F) {
	for _, body := range []string{
		`{"subdomain":"x.org","txt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`, `{"subdomain":"*.x.org","txt":"a\"b"} trailing`, `{"subdomain":1}`, `[]`, ``, `{"subdomain":""}`,
	} {
		f.Add([]byte(body))
	}
	account := &access.Account{Label: "a", Name: "\x01a\x03org\x00"}
	f.Fuzz(func(t *testing.T, body []byte) {
		u, err := ReadACMEDNSUpdate(body)
		if err != nil {
			return
		}
		for _, of := range []struct {
			client bool
			read   func() (hosting.Change, error)
		}{{true, u.Client}, {false, func() (hosting.Change, error) { return u.Account(account) }}} {
			c, err := of.read()
			if err != nil {
				if !isError(err) || !errors.Is(err, ErrBadSubdomain) && !errors.Is(err, ErrBadText) {
					t.Errorf("%v", err)
				}
				continue
			}
			if c.Op != record.Append || len(c.Records) != 1 || !record.IsChallengeValue(c.Records[0]) || !naiveValue.MatchString(u.Text) {
				t.Fatalf("%q: %+v", body, c)
			}
			owner := c.Records[0].Name
			if of.client && owner.FirstLabel() != "_acme-challenge" || !of.client && owner != account.Name {
				t.Errorf("%q is at %q", body, owner)
			}
			w := httptest.NewRecorder()
			WriteACMEDNSUpdate(w, u)
			if got := w.Body.String(); got != `{"txt": "`+u.Text+`"}` || !json.Valid([]byte(got)) {
				t.Errorf("answer %q", got)
			}
		}
	})
}

// FuzzReadACMEDNSRegistration reads any registration of acme-dns.
func FuzzReadACMEDNSRegistration(f *testing.F) {
	for _, body := range []string{``, `null`, `{}`, `{"allowfrom":["192.0.2.0/24","[2001:db8::]/32"]}`, `{"allowfrom":[""]}`, `{"allowfrom":["192.0.2.1"]}`, `{"allowfrom":["::ffff:192.0.2.0/120"]}`, `{"allowfrom":[1]}`, `{"allowfrom":["1.2.3.4/0"]} x`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		networks, err := ReadACMEDNSRegistration(body)
		if err != nil {
			if !isError(err) || !errors.Is(err, ErrBadJSON) && !errors.Is(err, ErrBadNetwork) {
				t.Errorf("%v", err)
			}
			return
		}
		if len(networks) > access.MostNetworks {
			t.Errorf("%d networks", len(networks))
		}
		for _, network := range networks {
			if !network.IsValid() || network.Addr().Zone() != "" {
				t.Errorf("network %v", network)
			}
		}
		w := httptest.NewRecorder()
		WriteACMEDNSAccount(w, access.Account{Name: "\x01a\x00", Networks: networks})
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("answer %q", w.Body)
		}
	})
}

// FuzzReadDynDNS reads any request of a router.
func FuzzReadDynDNS(f *testing.F) {
	for _, query := range []string{
		"hostname=a.org&myip=192.0.2.1", "hostname=a.org,B.ORG,&myip=&myipv6=2001:db8::1", "hostname=a.org", "myip=192.0.2.1", "hostname=a&myip=%31", "hostname=a.org&myip=1.2.3.4,::ffff:1.2.3.4", "hostname=a.org&myip=fe80::1%25eth0",
		"hostname=" + strings.Repeat("a.org,", 21), "hostname=%", "hostname=a.org&myip=x", "hostname=a.org&hostname=b.org&myip=192.0.2.1,192.0.2.2", "hostname=\n.org&myip=1.1.1.1",
	} {
		f.Add(query, "192.0.2.9")
		f.Add(query, "2001:db8::9")
		f.Add(query, "")
	}
	f.Fuzz(func(t *testing.T, query, from string) {
		caller, _ := netip.ParseAddr(from)
		d, err := ReadDynDNS(query, caller)
		if err != nil {
			var e *hosting.Error
			if !isError(err) || !errors.As(err, &e) || DynDNSWord(e) == "" {
				t.Errorf("%v", err)
			}
			return
		}
		if len(d.Hosts) == 0 || len(d.Hosts) > mostHosts || !d.IPv4.IsValid() && !d.IPv6.IsValid() {
			t.Fatalf("%q: %+v", query, d)
		}
		if d.IPv4.IsValid() && !d.IPv4.Is4() || d.IPv6.IsValid() && (!d.IPv6.Is6() || d.IPv6.Is4In6() || d.IPv6.Zone() != "") {
			t.Errorf("%q: %+v", query, d)
		}
		for _, host := range d.Hosts {
			c, err := d.Change(host)
			if err != nil {
				if !isError(err) {
					t.Errorf("%q: %v", host, err)
				}
				continue
			}
			if c.Op != record.Set || len(c.Records) == 0 || len(c.Records) > 2 {
				t.Fatalf("%q: %+v", host, c)
			}
			var entries []hosting.Entry
			for _, r := range c.Records {
				if r.Name != c.Zone || !r.Name.IsHostName() || r.TTL != hosting.DefaultTTL {
					t.Errorf("%q: %v", host, r)
				}
				typ, data := r.Text()
				entries = append(entries, hosting.Entry{Owner: r.Name, Type: typ, Data: data})
			}
			if !d.Has(entries) || d.Has(nil) || d.Has(append(entries, hosting.Entry{Type: entries[0].Type, Data: strconv.Itoa(len(entries))})) {
				t.Errorf("%q: whether a host has its addresses is not known", query)
			}
		}
		w := httptest.NewRecorder()
		WriteDynDNS(w, []string{"good " + d.Addresses()}, nil)
		if strings.Count(w.Body.String(), "\n") != 1 {
			t.Errorf("answer %q", w.Body)
		}
	})
}
