package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Cloudflare is a DNS host of one zone with as much of Cloudflare's API as the
// provider module uses for TXT records. A Caddy with Env takes it for the real one.
type Cloudflare struct {
	// DNS is the address of its name server.
	DNS string
	Env Env

	zone, token string

	mu      sync.Mutex
	next    int
	records []cloudflareRecord
}

type cloudflareRecord struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Name    string `json:"name"` // absolute, without the final dot
	Content string `json:"content"`
	TTL     int    `json:"ttl"`
}

const cloudflareHost = "api.cloudflare.com"

// NewCloudflare starts one that ends with the test.
func NewCloudflare(t testing.TB, zone string) *Cloudflare {
	t.Helper()
	c := &Cloudflare{zone: zone, token: strings.Repeat("k", 40)}
	server := httptest.NewUnstartedServer(c.routes())
	certificate := selfSigned(t, cloudflareHost)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	t.Cleanup(server.Close)
	proxy := httptest.NewServer(tunnelTo(t, cloudflareHost+":443", server.Listener.Addr().String()))
	t.Cleanup(proxy.Close)
	c.Env = Env{
		"CLOUDFLARE_API_TOKEN": c.token,
		"HTTPS_PROXY":          proxy.URL,
		"SSL_CERT_FILE":        WriteCertificate(t, certificate.Leaf),
	}

	tcp, udp := ListenBoth(t)
	c.DNS = tcp.Addr().String()
	ServeDNS(t, &dns.Server{Listener: tcp, Handler: c}, &dns.Server{PacketConn: udp, Handler: c})
	return c
}

// Records returns what is in the zone.
func (c *Cloudflare) Records() []cloudflareRecord {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]cloudflareRecord(nil), c.records...)
}

func (c *Cloudflare) routes() http.Handler {
	const zoneID = "z1"
	answer := func(w http.ResponseWriter, result any, n int) {
		json.NewEncoder(w).Encode(map[string]any{
			"success": true, "result": result,
			"result_info": map[string]int{"page": 1, "per_page": 100, "count": n, "total_count": n},
		})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /client/v4/zones", func(w http.ResponseWriter, r *http.Request) {
		zones := []any{}
		if strings.TrimSuffix(r.FormValue("name"), ".") == c.zone {
			zones = append(zones, map[string]string{"id": zoneID, "name": c.zone})
		}
		answer(w, zones, len(zones))
	})
	const records = "/client/v4/zones/" + zoneID + "/dns_records"
	mux.HandleFunc("GET "+records, func(w http.ResponseWriter, r *http.Request) {
		found := []cloudflareRecord{}
		for _, rec := range c.Records() {
			if name := r.FormValue("name"); name != "" && name != rec.Name {
				continue
			}
			if typ := r.FormValue("type"); typ != "" && typ != rec.Type {
				continue
			}
			if strings.Contains(rec.Content, r.FormValue("content.contains")) {
				found = append(found, rec)
			}
		}
		answer(w, found, len(found))
	})
	mux.HandleFunc("POST "+records, func(w http.ResponseWriter, r *http.Request) {
		var rec cloudflareRecord
		if err := json.NewDecoder(r.Body).Decode(&rec); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if rec.Name != c.zone && !strings.HasSuffix(rec.Name, "."+c.zone) {
			rec.Name += "." + c.zone
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.next++
		rec.ID = fmt.Sprint("r", c.next)
		c.records = append(c.records, rec)
		answer(w, rec, 1)
	})
	mux.HandleFunc("DELETE "+records+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i, rec := range c.records {
			if rec.ID == r.PathValue("id") {
				c.records = append(c.records[:i:i], c.records[i+1:]...)
				answer(w, rec, 1)
				return
			}
		}
		http.Error(w, `{"errors":[{"code":81044,"message":"Record does not exist."}]}`, http.StatusNotFound)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+c.token {
			http.Error(w, `{"errors":[{"code":10000,"message":"Authentication error"}]}`, http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// ServeDNS answers out of the records.
func (c *Cloudflare) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	reply.Authoritative = true
	soa, err := dns.NewRR(dns.Fqdn(c.zone) + " 60 IN SOA ns.invalid. hostmaster.invalid. 1 3600 600 1209600 5")
	if err != nil {
		panic(err)
	}
	q := query.Question[0]
	if q.Qtype == dns.TypeSOA && dns.CanonicalName(q.Name) == dns.Fqdn(c.zone) {
		reply.Answer = append(reply.Answer, soa)
	}
	for _, rec := range c.Records() {
		if dns.Fqdn(rec.Name) != dns.CanonicalName(q.Name) || rec.Type != dns.TypeToString[q.Qtype] {
			continue
		}
		if rr, err := dns.NewRR(fmt.Sprintf("%s 60 IN %s %s", q.Name, rec.Type, rec.Content)); err == nil {
			reply.Answer = append(reply.Answer, rr)
		}
	}
	if len(reply.Answer) == 0 {
		reply.Ns = append(reply.Ns, soa)
	}
	w.WriteMsg(reply)
}

// tunnelTo is a proxy for HTTPS that leads to one place, whatever host it is asked for, and
// fails the test if that is another one.
func tunnelTo(t testing.TB, name, addr string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != name {
			t.Errorf("the proxy was asked for %s %s", r.Method, r.Host)
			http.Error(w, "not here", http.StatusForbidden)
			return
		}
		upstream, err := net.Dial("tcp", addr)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			upstream.Close()
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			io.Copy(upstream, conn)
			upstream.Close()
		}()
		io.Copy(conn, upstream)
		conn.Close()
	})
}

// selfSigned makes a certificate for a name.
func selfSigned(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
