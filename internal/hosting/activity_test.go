package hosting

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	logobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-dns/bestdns/internal/access"
)

// TestUseIsLogged checks which use of a client is worth a line.
func TestUseIsLogged(t *testing.T) {
	core, logs := logobserver.New(zap.InfoLevel)
	s, err := New(Config{
		Activity: NewActivity(), Logger: zap.New(core),
		Clients: []access.Config{{Name: "of TestUseIsLogged", Description: "for a test", Users: []string{"x"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	who := Caller{Client: s.Clients().ByUser("x"), Address: "192.0.2.1"}
	start := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, after := range []time.Duration{0, time.Second, 24 * time.Hour, 48*time.Hour - time.Nanosecond, 47 * time.Hour, 72*time.Hour - time.Nanosecond} {
		who.RequestID = after.String()
		if err := s.accept(who, netip.Addr{}, start.Add(after)); err != nil {
			t.Error(err)
		}
	}
	var got []string
	for _, entry := range logs.All() {
		fields := entry.ContextMap()
		got = append(got, fmt.Sprint(entry.Level, " ", entry.Message, ": ", fields["client"], " ", fields["description"], " ", fields["request_id"], " ", fields["last_used"]))
	}
	want := []string{
		"info a client is here for the first time since this process started: of TestUseIsLogged for a test 0s <nil>",
		"info a client is back that was not here for a day or more: of TestUseIsLogged for a test 71h59m59.999999999s 2027-03-03 11:59:59.999999999 +0000 UTC",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRing checks that the last changes are remembered and no more.
func TestRing(t *testing.T) {
	a := NewActivity()
	for i := range remembered + 30 {
		a.change(nil, ChangeSeen{Serial: uint32(i)}, Changed, 0)
	}
	var serials []uint32
	for _, c := range a.Recent() {
		serials = append(serials, c.Serial)
	}
	var want []uint32
	for i := remembered + 29; i >= 30; i-- {
		want = append(want, uint32(i))
	}
	if diff := cmp.Diff(want, serials); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
