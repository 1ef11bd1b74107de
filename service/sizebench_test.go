package service

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
)

// BenchmarkChangesBySize compares how long changes take in zones of three sizes, through
// Caddy's whole handler chain. Short turns follow each other, so that what else the
// machine does weighs on all of them alike, and the medians are of the ratios within a
// round. With enough rounds it fails where a change takes more than 1.2 times as long.
func BenchmarkChangesBySize(b *testing.B) {
	const (
		worstRatio = 1.2
		enough     = 50
	)
	sizes := []int{100, 100_000, 1_000_000}
	s, zones := startSizes(b, sizes)
	for _, clients := range []int{1, 16, 128} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			var loaders [][]loader
			for _, zone := range zones {
				loaders = append(loaders, s.connectAll(b, zone.String(), clients))
			}
			ratios := make([][]float64, len(zones))
			for b.Loop() {
				var first time.Duration
				for i := range zones {
					started := time.Now()
					changePairs(b, loaders[i], 50+4*clients)
					took := time.Since(started)
					if i == 0 {
						first = took
					}
					ratios[i] = append(ratios[i], took.Seconds()/first.Seconds())
				}
			}
			for i, names := range sizes[1:] {
				of := ratios[i+1]
				slices.Sort(of)
				ratio := of[len(of)/2]
				b.ReportMetric(ratio, fmt.Sprintf("at-%d-names/at-%d", names, sizes[0]))
				if len(of) >= enough && ratio > worstRatio {
					b.Errorf("at %d names a change takes %.2f times as long as at %d, more than %.1f", names, ratio, sizes[0], worstRatio)
				}
			}
		})
	}
}

// startSizes runs a service with a zone of each size.
func startSizes(b *testing.B, sizes []int) (*service, []record.Name) {
	b.Helper()
	s := newService(b)
	var zones []record.Name
	var config strings.Builder
	fmt.Fprintf(&config, "listen %s\nstore %q\nclient ops {\ntoken %s\n", s.dns, s.store, s.digest("ops"))
	for _, names := range sizes {
		zone, err := record.ParseName(fmt.Sprintf("names%d.test", names))
		if err != nil {
			b.Fatal(err)
		}
		zones = append(zones, zone)
		fmt.Fprintf(&config, "allow under %s\n", zone)
	}
	config.WriteString("}\n")
	for _, zone := range zones {
		fmt.Fprintf(&config, "zone %s {\nns ns.elsewhere.invalid\n}\n", zone)
	}
	s.load(b, config.String())
	for i, zone := range zones {
		fill(b, zone, sizes[i])
	}
	return s, zones
}

// fill puts a TXT record at each of many names into a zone of the running service.
func fill(b *testing.B, zone record.Name, names int) {
	b.Helper()
	const most = 10_000
	for from := 0; from < names; from += most {
		change := record.Change{Op: record.Append}
		for i := from; i < min(from+most, names); i++ {
			owner, err := zone.Child(fmt.Sprintf("web%07d", i))
			if err != nil {
				b.Fatal(err)
			}
			r, err := record.At(owner, "TXT", 60, fmt.Sprintf("%043d", i))
			if err != nil {
				b.Fatal(err)
			}
			change.Records = append(change.Records, r)
		}
		if _, err := liveApps.newest(nil).shared.Apply(b.Context(), zone, change); err != nil {
			b.Fatal(err)
		}
	}
}
