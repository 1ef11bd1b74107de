package page

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkRender draws the page of a service with many zones and clients.
func BenchmarkRender(b *testing.B) {
	now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	v := View{Now: now, Watches: true, ExpiryNotice: 14 * 24 * time.Hour, Host: "dns.example.net", Version: "v0.1.0"}
	for i := range 50 {
		name := Text(fmt.Sprintf("zone%d.example.com", i))
		v.Zones = append(v.Zones, Zone{Name: name, State: Agree, Asked: now, Servers: []Server{{Name: "ns1." + name, Address: "192.0.2.1"}, {Name: "ns2." + name, Address: "192.0.2.2"}}})
	}
	for i := range 500 {
		v.Clients = append(v.Clients, Client{
			Name: Text(fmt.Sprintf("web%d", i)), Description: "A web server", LastUsed: now, Expires: now.Add(1000 * time.Hour),
			Rights: []Text{Text(fmt.Sprintf("certificates web%d.example.com", i))},
		})
	}
	for i := range 100 {
		v.Challenges = append(v.Challenges, Challenge{Name: Text(fmt.Sprintf("_acme-challenge.web%d.example.com", i)), Zone: "example.com", Expires: now, Written: now, Writer: "web"})
		v.Changes = append(v.Changes, Change{Time: now, Client: "web", Address: "192.0.2.9", Zone: "example.com", Op: "append", Records: []Text{"_acme-challenge.web.example.com TXT"}, Outcome: "changed"})
		v.Denials = append(v.Denials, Denial{Time: now, Client: "web", Address: "192.0.2.9", Protocol: "api", Reason: "no token", RequestID: "id"})
	}
	for b.Loop() {
		html, err := Render(v)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(html)), "bytes")
	}
}
