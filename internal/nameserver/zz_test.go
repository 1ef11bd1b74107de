package nameserver

import (
	"fmt"
	"math/rand"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
)

func cpuNow() time.Duration {
	var ts [2]int64
	syscall.Syscall(228, 3, uintptr(ptr(&ts)), 0)
	return time.Duration(ts[0]*1e9 + ts[1])
}

func BenchmarkZZ(b *testing.B) {
	runtime.LockOSThread()
	for _, names := range []int{100, 10_000, 1_000_000} {
		s, zone := filled(b, storePath(b), names)
		v := s.view.Load()
		for _, kind := range []string{"hit", "NX"} {
			keys := make([]record.Name, 200_000)
			for i := range keys {
				n := challengeAt(zone.Name, rand.Intn(names)).Name
				if kind == "NX" {
					n, _ = n.Parent().Child("missing")
				}
				keys[i] = n
			}
			l := new(lookup)
			var chunks []time.Duration
			for c := 0; c < 200; c++ {
				before := cpuNow()
				for _, k := range keys[c*1000 : c*1000+1000] {
					l.find(v, k, record.TypeTXT)
				}
				chunks = append(chunks, (cpuNow()-before)/1000)
			}
			slices.Sort(chunks)
			fmt.Println(names, kind, "median", chunks[100], "p10", chunks[20])
		}
		s.Close()
	}
}
