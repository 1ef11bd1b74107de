package page

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAlerts(t *testing.T) {
	now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	refused, made := Change{Time: now, Outcome: "refused"}, Change{Time: now, Outcome: "changed"}
	earlier := Change{Time: now.Add(-lately), Outcome: "failed"}
	expired, soon, later := Client{Expires: now}, Client{Expires: now.Add(time.Hour)}, Client{Expires: now.Add(1000 * time.Hour)}
	for _, test := range []struct {
		name  string
		view  View
		want  []Alert
		title string
	}{
		{"nothing", View{}, nil, "dns.example.net – BestDNS v0.1.0"},
		{"no trouble", View{Zones: zonesIn(Agree), Clients: []Client{later, {}}, Changes: []Change{made, earlier}, Denials: []Denial{{Time: earlier.Time}}}, nil, "dns.example.net – BestDNS v0.1.0"},
		{"one of each", View{
			Unhealthy: "no room", Zones: zonesIn(Faulty, Agree, NotAsked), Unread: []Text{"z"}, Clients: []Client{expired, soon, later},
			Changes: []Change{refused, made, earlier}, Denials: []Denial{{Time: now}},
		}, []Alert{
			{"The service is unhealthy", "no room", "", "bad"},
			{"1 zone has trouble", "", "zones", "bad"},
			{"1 DNS provider did not list its zone", "", "challenges", "bad"},
			{"1 client has expired", "", "clients", "bad"},
			{"1 client expires within 14 days", "", "clients", "wait"},
			{"1 change was refused or failed in the last hour", "", "changes", "wait"},
			{"1 request was refused in the last hour", "", "refused", "wait"},
			{"The name servers of 1 zone were not asked yet", "", "zones", "wait"},
		}, "The service is unhealthy – dns.example.net – BestDNS v0.1.0"},
		{"many of each", View{
			Zones: zonesIn(Faulty, Differ, Unknown, NotAsked, NotAsked), Unread: []Text{"y", "z"}, Clients: []Client{expired, expired, soon, soon},
			Changes: []Change{refused, refused}, Denials: repeat(4, Denial{Time: now}),
		}, []Alert{
			{"3 zones have trouble", "", "zones", "bad"},
			{"2 DNS providers did not list their zones", "", "challenges", "bad"},
			{"2 clients have expired", "", "clients", "bad"},
			{"2 clients expire within 14 days", "", "clients", "wait"},
			{"2 changes were refused or failed in the last hour", "", "changes", "wait"},
			{"4 requests were refused in the last hour", "", "refused", "wait"},
			{"The name servers of 2 zones were not asked yet", "", "zones", "wait"},
		}, "3 zones have trouble – dns.example.net – BestDNS v0.1.0"},
		{"so many that some are not shown", View{Denials: repeat(5, Denial{Time: now})}, []Alert{
			{"At least 5 requests were refused in the last hour", "", "refused", "wait"},
		}, "dns.example.net – BestDNS v0.1.0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := test.view
			v.Now, v.ExpiryNotice, v.Host, v.Version = now, 14*24*time.Hour, "dns.example.net", "v0.1.0"
			if diff := cmp.Diff(test.want, v.Alerts()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := v.Title(); got != test.title {
				t.Errorf("the title is %q, want %q", got, test.title)
			}
		})
	}
}
