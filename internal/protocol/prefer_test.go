package protocol

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/internal/hosting"
)

func TestPreferredWait(t *testing.T) {
	for _, test := range []struct {
		lines   []string
		want    time.Duration
		applied string
	}{
		{nil, hosting.ZoneWait, ""},
		{[]string{"wait=8"}, 8 * time.Second, "wait=8"},
		{[]string{"wait=0"}, 0, "wait=0"},
		{[]string{"respond-async, WAIT = \"10\"; x=y"}, 10 * time.Second, "wait=10"},
		{[]string{"return=minimal", "wait=3", "wait=4"}, 3 * time.Second, "wait=3"}, // the first counts (RFC 7240 §2)
		{[]string{"wait=26"}, hosting.MostWait, "wait=25"},
		{[]string{"wait=99999999999999999999"}, hosting.ZoneWait, ""},
		{[]string{"wait=-1"}, hosting.ZoneWait, ""},
		{[]string{"wait"}, hosting.ZoneWait, ""},
		{[]string{"waits=3, =, ;,"}, hosting.ZoneWait, ""},
	} {
		answer := make(http.Header)
		if got := PreferredWait(http.Header{"Prefer": test.lines}, answer); got != test.want || answer.Get("Preference-Applied") != test.applied {
			t.Errorf("%q: %s, applied %q", test.lines, got, answer.Get("Preference-Applied"))
		}
	}
}
