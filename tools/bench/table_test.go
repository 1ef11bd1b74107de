package main

import (
	"bufio"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTable reads what go test and a comparison print, and keeps the best.
func TestTable(t *testing.T) {
	const tests = `goos: linux
pkg: github.com/caddy-dns/bestdns/service
cpu: AMD EPYC
BenchmarkChanges/HTTP1/128-2         	    5374	    125739 ns/op	        49.06 p99-ms	      7885 pairs/s	   46128 B/op
BenchmarkChanges/HTTP1/128-2         	    5374	    121234 ns/op	        14.06 p99-ms	      8885 pairs/s	   46128 B/op
BenchmarkChanges/HTTP1/128-2         	    5374	    129999 ns/op	        64.06 p99-ms	      6885 pairs/s	   46128 B/op
BenchmarkLoad/100000_records-2       	       3	 249458616 ns/op	       148.8 B/record
BenchmarkCertificate                 	      20	         1.046 bestdns/http-01
BenchmarkTiny-2   	  1000	  12.4 ns/op
PASS
ok  	github.com/caddy-dns/bestdns/service	12.3s
?   	github.com/caddy-dns/bestdns/service/demo	[no test files]
`
	const comparison = `
| | queries/s | of Knot's |
|---|---|---|
| 10000 names | 412000 | 0.97 |
`
	const want = `| benchmark | time | measured |
|---|---|---|
| service Changes/HTTP1/128 | 121µs | 14.06 p99-ms, 8885 pairs/s, 46128 B/op |
| service Load/100000 records | 249ms | 148.8 B/record |
| service Certificate |  | 1.046 bestdns/http-01 |
| service Tiny | 12ns |  |
| queries 10000 names |  | 412000 queries/s, 0.97 of Knot's |
`
	var all table
	for _, printed := range []struct{ title, output string }{{"", tests}, {"queries", comparison}} {
		if err := all.read(bufio.NewReader(strings.NewReader(printed.output)), printed.title); err != nil {
			t.Fatal(err)
		}
	}
	var got strings.Builder
	all.write(&got)
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
