package nameserver

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// expiring returns the record, which then expires after some time.
func expiring(r record.Record, after time.Duration) record.Record {
	r.Expires = time.Now().Add(after).Unix()
	return r
}

func TestRecordsExpire(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) { // with a clock of its own
		s := open(t, path)
		zone := zoneConfig(t, "example.org")
		serve(t, s, zone)
		early, late := rr(t, zone.Name, "www 60 TXT early"), rr(t, zone.Name, "www 60 TXT late")
		other, stays := rr(t, zone.Name, "other 60 TXT x"), rr(t, zone.Name, "other 60 A 192.0.2.1")
		apply(t, s, zone.Name, appending(expiring(early, time.Hour), expiring(late, 3*time.Hour), expiring(other, 2*time.Hour), stays))

		check := func(when string, serialRose bool, before uint32, want ...record.Record) uint32 {
			t.Helper()
			synctest.Wait()
			z := snapshot(t, s, zone.Name)
			var got []string
			for _, owner := range []string{"www.example.org", "other.example.org"} {
				for _, r := range z.At(name(t, owner)) {
					got = append(got, r.String())
				}
			}
			var wantText []string
			for _, r := range want {
				wantText = append(wantText, r.String())
			}
			if diff := cmp.Diff(wantText, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
			if rose := int32(z.Serial()-before) > 0; rose != serialRose {
				t.Errorf("%s: serial %d, before %d", when, z.Serial(), before)
			}
			return z.Serial()
		}
		serial := check("at once", true, 0, early, late, stays, other)
		time.Sleep(time.Hour - 2*time.Second)
		serial = check("just before", false, serial, early, late, stays, other)
		time.Sleep(2 * time.Second)
		serial = check("after an hour", true, serial, late, stays, other)

		// Appending again puts it off.
		apply(t, s, zone.Name, appending(expiring(other, 10*time.Hour)))
		serial = check("put off", true, serial, late, stays, other)
		time.Sleep(2 * time.Hour)
		serial = check("after three hours", true, serial, stays, other)
		if m := ask(t, s, "www.example.org", "TXT"); m.Rcode != dns.RcodeNameError {
			t.Errorf("in DNS: %v", m)
		}

		// What expires while no server runs is gone when one does.
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		s = open(t, path)
		if err := s.Load(); err != nil {
			t.Fatal(err)
		}
		check("after downtime", true, serial, stays)
	})
}

// More than one commit may take go within one Load.
func TestManyExpireDuringDowntime(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, path)
		zone := zoneConfig(t, "example.org")
		serve(t, s, zone)
		var records []record.Record
		for i := range 2*expireAtOnce + 1 {
			owner, err := zone.Name.Child(string([]byte{'n', 'a' + byte(i/676), 'a' + byte(i/26%26), 'a' + byte(i%26)}))
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, expiring(record.Record{Name: owner, Type: record.TypeTXT, TTL: 60, Data: "\x01x"}, time.Minute))
		}
		apply(t, s, zone.Name, appending(records...))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		s = open(t, path)
		if err := s.Load(); err != nil {
			t.Fatal(err)
		}
		if left := lines(snapshot(t, s, zone.Name)); len(left) != 0 {
			t.Errorf("%d records are left", len(left))
		}
	})
}

// When the store cannot be written, the expired are tried again, and DNS goes on.
func TestExpiryIsTriedAgain(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, path)
		zone := zoneConfig(t, "example.org")
		serve(t, s, zone)
		text := rr(t, zone.Name, "www 60 TXT x")
		apply(t, s, zone.Name, appending(expiring(text, time.Minute)))
		failAt(t, s, stepCommit, stepOpen)
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if m := ask(t, s, "www.example.org", "TXT"); len(m.Answer) != 1 {
			t.Errorf("while it cannot be written: %v", m)
		}
		time.Sleep(expireRetry)
		synctest.Wait()
		if m := ask(t, s, "www.example.org", "TXT"); m.Rcode != dns.RcodeNameError {
			t.Errorf("after that: %v", m)
		}
	})
}
