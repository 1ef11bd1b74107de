package service

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	logobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/hosting"
)

// TestExpiryIsAnnounced lets three weeks pass and notes which warnings come on which day.
func TestExpiryIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // with a clock of its own, which begins at midnight
		time.Sleep(18 * time.Hour)
		start := time.Now().UTC()
		midnight := midnightAfter(start)
		core, logs := logobserver.New(zap.InfoLevel)
		s, err := hosting.New(hosting.Config{Clients: []access.Config{
			{Name: "ever", Users: []string{"1"}},
			{Name: "over", Users: []string{"2"}, Expires: start.AddDate(0, 0, -30)},
			{Name: "soon", Users: []string{"3"}, Expires: midnight.AddDate(0, 0, 2), Description: "in rack 4"},
			{Name: "later", Users: []string{"4"}, Expires: midnight.AddDate(0, 0, 16)},
			{Name: "much later", Users: []string{"5"}, Expires: midnight.AddDate(1, 0, 0)},
		}})
		if err != nil {
			t.Fatal(err)
		}
		app := &App{logger: zap.New(core), hosting: s}
		app.announceExpiry()

		said := make(map[string][]string)
		for hour := 0; hour < 21*24; hour++ {
			synctest.Wait()
			for _, entry := range logs.TakeAll() {
				fields := entry.ContextMap()
				name := fmt.Sprint(fields["client"])
				left, ends := fields["days_left"]
				if !ends {
					left = "over"
				}
				said[name] = append(said[name], fmt.Sprint(entry.Level, " ", entry.Time.UTC().Format("15h+")+fmt.Sprint(int(entry.Time.Sub(start)/(24*time.Hour))), " ", left))
				if name == "soon" && fields["description"] != "in rack 4" {
					t.Errorf("described as %q", fields["description"])
				}
			}
			time.Sleep(time.Hour)
		}
		s.Close() // or the test would not end

		want := map[string][]string{
			"over": {"warn 18h+0 over"},
			"soon": {"warn 18h+0 2", "warn 00h+0 2", "warn 00h+1 1"},
		}
		for day := range 21 {
			at := fmt.Sprintf("warn 00h+%d ", day)
			want["over"] = append(want["over"], at+"over")
			if day >= 2 {
				want["soon"] = append(want["soon"], at+"over")
				left := fmt.Sprint(16 - day)
				if day >= 16 {
					left = "over"
				}
				want["later"] = append(want["later"], at+left)
			}
		}
		if diff := cmp.Diff(want, said); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestExpiryIsAnnouncedAtLoad checks that loading a configuration says what has
// expired, and a reload says it again.
func TestExpiryIsAnnouncedAtLoad(t *testing.T) {
	s := startStandard(t)
	s.load(t, s.standard()+"\nrate_limit 50")
	want := [][]string{{"warn", "expired"}, {"warn", "expired"}}
	const message = `a client's access has ended: ` + access.RenewAdvice
	if diff := cmp.Diff(want, s.logged(t, message, "level", "client")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
