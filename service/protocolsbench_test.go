package service

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/tsig"
)

// BenchmarkProtocols compares the rates of appends by each protocol with that of the API. Each client
// has a connection and a name of its own, at which it appends one of twenty values, so that after the
// first of each only their expiry is renewed: acme-dns' protocol deletes nothing. The protocols take
// turns of a quarter of a second.
func BenchmarkProtocols(b *testing.B) {
	s := newService(b)
	secret := base64.StdEncoding.EncodeToString([]byte("a secret of many bytes"))
	b.Setenv("ACCOUNT_SECRET", "a secret of more than sixteen bytes")
	options := s.standard() + fmt.Sprintf(`
		client devices {
			token %s
			certificates under example.test
			tsig bench hmac-sha256 %s
			register under accounts.example.test
			account_secret {env.ACCOUNT_SECRET}
		}`, s.digest("devices"), secret)
	text := strings.Replace(s.caddyfile(options), "\t\tbestdns\n", "bestdns {\nhttpreq\nacme_dns\n}\n", 1)
	if err := s.tryLoadText(b, text); err != nil {
		b.Fatal(err)
	}
	key, err := tsig.NewKey("bench", "hmac-sha256", secret)
	if err != nil {
		b.Fatal(err)
	}
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			ways := s.appenders(b, key, clients)
			rates := make([]float64, len(ways))
			for b.Loop() {
				for i, way := range ways {
					rates[i] += appendRate(b, way.clients)
				}
			}
			b.ReportMetric(0, "ns/op") // the sum says nothing
			for i, way := range ways {
				b.ReportMetric(rates[i]/float64(b.N), way.name+"/s")
				if i > 0 {
					b.ReportMetric(rates[i]/rates[0], way.name+"-of-"+ways[0].name)
				}
			}
		})
	}
}

// appender is a client that appends one value after the other.
type appender func(value string) error

type wayToAppend struct {
	name    string
	clients []appender
}

// appenders returns clients of each protocol, the API's first.
func (s *service) appenders(b *testing.B, key tsig.Key, clients int) []wayToAppend {
	b.Helper()
	api, err := url.Parse(s.api)
	if err != nil {
		b.Fatal(err)
	}
	token := "Authorization: Bearer " + s.token["devices"]
	by := func(request, format string, headers ...string) appender {
		l, err := newHTTP1Loader(api.Host, request, headers...)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { l.Close() })
		return func(value string) error { return l.patch(fmt.Appendf(nil, format, value)) }
	}
	ways := []wayToAppend{{name: "PATCH"}, {name: "present"}, {name: "update"}, {name: "UPDATE"}}
	for i := range clients {
		host := fmt.Sprintf("%d-%d", clients, i)
		account := s.register(b, "", "")
		for w, client := range []appender{
			by("PATCH /v1/zones/example.test/records", `{"append":[{"name":"_acme-challenge.a`+host+`","type":"TXT","data":"%s"}]}`, token),
			by("POST /present", `{"fqdn":"_acme-challenge.b`+host+`.example.test.","value":"%s"}`, token),
			by("POST /update", `{"subdomain":"`+account.Subdomain+`","txt":"%s"}`, account.headers()...),
			s.updater(b, key, "_acme-challenge.c"+host+".example.test."),
		} {
			ways[w].clients = append(ways[w].clients, client)
		}
	}
	return ways
}

// updater returns a client that sends dynamic updates by a TCP connection.
func (s *service) updater(b *testing.B, key tsig.Key, owner string) appender {
	b.Helper()
	conn, err := net.Dial("tcp", s.dns)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	in := bufio.NewReader(conn)
	m := new(dns.Msg).SetUpdate("example.test.")
	txt := &dns.TXT{Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}}
	m.Ns = []dns.RR{txt}
	var answer [512]byte
	return func(value string) error {
		txt.Txt = []string{value}
		m.Id++
		message, err := m.Pack()
		if err != nil {
			return err
		}
		message = key.NewSigner(nil).Sign(message, time.Now())
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)); err != nil {
			return err
		}
		if _, err := io.ReadFull(in, answer[:2]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint16(answer[:])
		if _, err := io.ReadFull(in, answer[:n]); err != nil {
			return err
		}
		if rcode := answer[3] & 0xf; rcode != dns.RcodeSuccess {
			return fmt.Errorf("the answer is %s", dns.RcodeToString[int(rcode)])
		}
		return nil
	}
}

// appendRate returns how many appends clients make in a second.
func appendRate(b *testing.B, clients []appender) float64 {
	b.Helper()
	var group sync.WaitGroup
	counts := make([]int, len(clients))
	began := time.Now()
	until := began.Add(250 * time.Millisecond)
	for i, client := range clients {
		group.Go(func() {
			for ; time.Now().Before(until); counts[i]++ {
				if err := client(fmt.Sprintf("%043d", counts[i]%20)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	all := 0
	for _, n := range counts {
		all += n
	}
	return float64(all) / time.Since(began).Seconds()
}
