package nameserver

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// fakeClients are clients with keys, of which a test says what they may do.
type fakeClients struct {
	keys []tsig.Key
	// update makes an update; nil: it is made, whatever it is.
	update func(ctx context.Context, u Update) (rcode int, text string)
	// transfer returns why a client may not have a zone transferred; nil: it may.
	transfer func(key, zone record.Name, to netip.Addr) error
	records  func(zone record.Name) (iter.Seq[record.Record], error)
	// mute has no one answered whose key is not known.
	mute bool

	mu      sync.Mutex
	updates []Update
	refused []strangerRefused
}

type strangerRefused struct {
	from netip.Addr
	tcp  bool
	why  error
}

func (c *fakeClients) Key(name record.Name) (tsig.Key, bool) {
	i := slices.IndexFunc(c.keys, func(k tsig.Key) bool { return k.Name == name })
	if i < 0 {
		return tsig.Key{}, false
	}
	return c.keys[i], true
}

func (c *fakeClients) Update(ctx context.Context, u Update) (int, string) {
	c.mu.Lock()
	c.updates = append(c.updates, u)
	c.mu.Unlock()
	if c.update == nil {
		return dns.RcodeSuccess, ""
	}
	return c.update(ctx, u)
}

func (c *fakeClients) Transfer(key, zone record.Name, to netip.Addr) error {
	if c.transfer == nil {
		return nil
	}
	return c.transfer(key, zone, to)
}

func (c *fakeClients) Records(_ context.Context, _, zone record.Name) (iter.Seq[record.Record], error) {
	if c.records == nil {
		return nil, errors.New("there are none")
	}
	return c.records(zone)
}

func (c *fakeClients) Refuse(from netip.Addr, tcp bool, why error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = append(c.refused, strangerRefused{from, tcp, why})
	return !c.mute
}

// taken returns the updates that have come.
func (c *fakeClients) taken() []Update {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.updates)
}

// made returns how many updates have come.
func (c *fakeClients) made() int { return len(c.taken()) }

// refusals returns and forgets who was refused.
func (c *fakeClients) refusals() []strangerRefused {
	c.mu.Lock()
	defer c.mu.Unlock()
	refused := c.refused
	c.refused = nil
	return refused
}

// servingClients returns a server with clients and a zone, and some that are claimed.
func servingClients(t testing.TB, clients Clients, claimed ...string) *Server {
	t.Helper()
	s := open(t, storePath(t))
	settings := Settings{Zones: []ZoneConfig{zoneConfig(t, "example.org")}, Clients: clients}
	for _, zone := range claimed {
		settings.Claimed = append(settings.Claimed, name(t, zone))
	}
	if err := s.Serve(settings); err != nil {
		t.Fatal(err)
	}
	return s
}

// updateOf returns an update that is not signed.
func updateOf(zone string, change ...func(*dns.Msg)) *dns.Msg {
	m := new(dns.Msg)
	m.SetUpdate(dns.Fqdn(zone))
	rr, err := dns.NewRR("_acme-challenge." + dns.Fqdn(zone) + ` 60 TXT "x"`)
	if err != nil {
		panic(err)
	}
	m.Insert([]dns.RR{rr})
	for _, f := range change {
		f(m)
	}
	return m
}

// signed returns a message signed with a key, and the MAC.
func signed(t testing.TB, m *dns.Msg, key tsig.Key, when time.Time) (message []byte, mac string) {
	t.Helper()
	m = m.Copy()
	m.SetTsig(key.Name.String(), key.Algorithm, 300, when.Unix())
	message, mac, err := dns.TsigGenerate(m, key.Secret(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	return message, mac
}

// byKey is a client of the DNS library that verifies the answers by a key.
func byKey(network string, key tsig.Key) dns.Client {
	return dns.Client{Net: network, Timeout: 20 * time.Second, TsigSecret: map[string]string{key.Name.String(): key.Secret()}}
}

// reasonIn returns the reason that an answer has for people, "" if it has none.
func reasonIn(m *dns.Msg) string {
	if opt := m.IsEdns0(); opt != nil {
		for _, option := range opt.Option {
			if ede, ok := option.(*dns.EDNS0_EDE); ok {
				return ede.ExtraText
			}
		}
	}
	return ""
}

// md5 makes MACs of the length of HMAC-MD5. No one here verifies them.
type md5 struct{}

func (md5) Generate([]byte, *dns.TSIG) ([]byte, error) { return make([]byte, 16), nil }
func (md5) Verify([]byte, *dns.TSIG) error             { return nil }

// signedMD5 returns a message signed with HMAC-MD5 and the name of a key.
func signedMD5(t testing.TB, m *dns.Msg, key tsig.Key) []byte {
	t.Helper()
	m = m.Copy()
	m.SetTsig(key.Name.String(), dns.HmacMD5, 300, time.Now().Unix())
	message, _, err := dns.TsigGenerateWithProvider(m, md5{}, "", false)
	if err != nil {
		t.Fatal(err)
	}
	return message
}

// shortened returns a message with a MAC of so many bytes.
func shortened(t testing.TB, message []byte, bytes int) []byte {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(message); err != nil {
		t.Fatal(err)
	}
	r := m.IsTsig()
	r.MAC, r.MACSize = r.MAC[:2*bytes], uint16(bytes)
	return packed(t, m)
}

// verifies reports why an answer is not signed with a key as that to a request with a MAC.
func verifies(message []byte, key tsig.Key, requestMAC string, when time.Time) error {
	start, ok := tsig.Find(message)
	if !ok {
		return errors.New("it is not signed")
	}
	r, err := tsig.Read(message, start)
	if err != nil {
		return err
	}
	mac, err := hex.DecodeString(requestMAC)
	if err != nil {
		return err
	}
	return key.Verify(message, &r, mac, when)
}

// keyOf makes a key of any algorithm.
func keyOf(t testing.TB, name, algorithm, secret string) tsig.Key {
	t.Helper()
	key, err := tsig.NewKey(name, algorithm, base64.StdEncoding.EncodeToString([]byte(secret)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}
