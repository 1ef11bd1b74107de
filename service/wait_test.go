package service

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/api"
)

// waitZone is a zone on other name servers, of which there is one here: a stand-in that has a
// record when it is told to.
type waitZone struct {
	*service
	has   atomic.Bool
	asked chan struct{} // has room for one
	more  string        // options of the zone
	at    string
}

func startWaitZone(t *testing.T, more string) *waitZone {
	t.Helper()
	z := &waitZone{service: newService(t), asked: make(chan struct{}, 1), more: more}
	z.admin = freeAddress(t)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: conn, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(z.answer)}
	go server.ActivateAndServe()
	<-started
	t.Cleanup(func() { server.Shutdown() })
	z.at = conn.LocalAddr().String()
	memory.reset()
	z.load(t, z.options(""))
	return z
}

func (z *waitZone) options(more string) string {
	return fmt.Sprintf(`
		zone example.test {
			provider test_memory
			servers %s
			%s
		}
		client ops {
			token %s
			allow under example.test
		}
		client web1 {
			token %s
			certificates web1.example.test
		}
		%s`, z.at, z.more, z.digest("ops"), z.digest("web1"), more)
}

func (z *waitZone) answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	if z.has.Load() {
		m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{"text"}}}
	}
	w.WriteMsg(m)
	select {
	case z.asked <- struct{}{}:
	default:
	}
}

// waitBody appends the record.
const waitBody = `{"append":[{"name":"x","type":"TXT","data":"text"}]}`

// send sends a request with a preference, and returns the answer with what it says of servers.
func (z *waitZone) send(t *testing.T, client, method, path, body, prefer string) (answer, api.Wait) {
	t.Helper()
	request, err := http.NewRequest(method, z.api+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+z.token[client])
	request.Header.Set("Content-Type", "application/json")
	if prefer != "" {
		request.Header.Set("Prefer", prefer)
	}
	got := do(t, request)
	var wait api.Wait
	if got.status == http.StatusOK {
		if err := json.Unmarshal([]byte(got.body), &wait); err != nil {
			t.Fatalf("%v: %s", err, got.body)
		}
	}
	return got, wait
}

const (
	waitRecords = "/v1/zones/example.test/records"
	waitPath    = "/v1/zones/example.test/wait"
)

// TestWait asks in each way for how long to wait for a server that lags.
func TestWait(t *testing.T) {
	z := startWaitZone(t, "wait 1s")
	pending := []string{z.at}
	for _, test := range []struct {
		name, method, path, body, prefer string
		pending                          []string
		applied                          string
		atLeast                          time.Duration
	}{
		{"as the zone says", "PATCH", waitRecords, waitBody, "", pending, "", 900 * time.Millisecond},
		{"as the client says", "PATCH", waitRecords, waitBody, "wait=2", pending, "wait=2", 1900 * time.Millisecond},
		{"not at all", "PATCH", waitRecords, waitBody, "wait=0", nil, "wait=0", 0},
		{"once more", "POST", waitPath, waitBody, "wait=1", pending, "wait=1", 900 * time.Millisecond},
		{"a look", "POST", waitPath, waitBody, "wait=0", pending, "wait=0", 0},
		{"set", "PATCH", waitRecords, strings.Replace(waitBody, "append", "set", 1), "", pending, "", 900 * time.Millisecond},
		{"delete", "PATCH", waitRecords, strings.Replace(waitBody, "append", "delete", 1), "", nil, "", 0},
		{"for a delete", "POST", waitPath, strings.Replace(waitBody, "append", "delete", 1), "", nil, "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			got, wait := z.send(t, "ops", test.method, test.path, test.body, test.prefer)
			took := time.Since(began)
			if got.status != http.StatusOK || !slices.Equal(wait.Pending, test.pending) || got.header.Get("Preference-Applied") != test.applied || took < test.atLeast {
				t.Errorf("%d %s, applied %q, after %s", got.status, got.body, got.header.Get("Preference-Applied"), took)
			}
		})
	}
	// A large answer has the same at its end.
	var large []string
	for i := range 40 {
		large = append(large, fmt.Sprintf(`{"name":"x%d","type":"TXT","data":"text"}`, i))
	}
	got, wait := z.send(t, "ops", "PATCH", waitRecords, `{"append":[`+strings.Join(large, ",")+`]}`, "wait=1")
	var records api.Records
	if err := json.Unmarshal([]byte(got.body), &records); err != nil || len(records.Records) != 40 || !slices.Equal(wait.Pending, pending) {
		t.Errorf("%v: %s", err, got.body)
	}
	z.has.Store(true)
	for _, request := range [][2]string{{"PATCH", waitRecords}, {"POST", waitPath}} {
		if got, wait := z.send(t, "ops", request[0], request[1], waitBody, ""); got.status != http.StatusOK || len(wait.Pending) > 0 {
			t.Errorf("%s: %d %s", request[0], got.status, got.body)
		}
	}
}

// TestWaitNeedsTheRight asks for waits for what the client may not do.
func TestWaitNeedsTheRight(t *testing.T) {
	z := startWaitZone(t, "")
	for _, test := range []struct {
		client, method, body string
		status               int
	}{
		{"web1", "POST", waitBody, http.StatusForbidden},
		{"expired", "POST", waitBody, http.StatusUnauthorized},
		{"ops", "POST", `{"append":[{"name":"x.elsewhere.test.","type":"TXT","data":"text"}]}`, http.StatusNotFound},
		{"ops", "POST", `{"append":[`, http.StatusBadRequest},
		{"ops", "POST", `{"append":[{"name":"x","type":"A","data":"text"}]}`, http.StatusUnprocessableEntity},
		{"ops", "GET", "", http.StatusMethodNotAllowed},
		{"ops", "PATCH", waitBody, http.StatusMethodNotAllowed},
	} {
		got, _ := z.send(t, test.client, test.method, waitPath, test.body, "wait=1")
		if got.status != test.status {
			t.Errorf("%s %s by %s: %d %s", test.method, test.body, test.client, got.status, got.body)
		}
	}
	if got, _ := z.send(t, "ops", "GET", waitPath, "", ""); got.header.Get("Allow") != "POST" {
		t.Errorf("allowed: %q", got.header.Get("Allow"))
	}
	if len(memory.records) > 0 {
		t.Errorf("something was written: %v", memory.records)
	}
}

// TestWaitEndsWithConfiguration reloads while a client waits, over the API and in process: neither
// holds up the reload.
func TestWaitEndsWithConfiguration(t *testing.T) {
	z := startWaitZone(t, "")
	app := liveApps.newest(nil)
	answered := make(chan api.Wait, 1)
	go func() {
		_, wait := z.send(t, "ops", "PATCH", waitRecords, waitBody, "wait=25")
		answered <- wait
	}()
	local := make(chan error, 1)
	go func() {
		_, err := app.AppendRecords(t.Context(), "example.test.", []libdns.Record{libdns.TXT{Name: "x", Text: "text"}})
		local <- err
	}()
	<-z.asked
	<-z.asked
	began := time.Now()
	z.load(t, z.options("rate_limit off"))
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the reload took %s", took)
	}
	if wait := <-answered; !slices.Equal(wait.Pending, []string{z.at}) {
		t.Errorf("pending %q", wait.Pending)
	}
	if err := <-local; err != nil {
		t.Error(err)
	}
}
