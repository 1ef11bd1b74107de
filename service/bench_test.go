package service

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkChanges adds a TXT record at a name of its own and removes it again,
// through Caddy's whole handler chain and durably, with the load on the same cores.
// One operation is such a pair.
func BenchmarkChanges(b *testing.B) {
	for _, transport := range []string{"HTTP1", "TLS+HTTP2"} {
		s := newService(b)
		if transport != "HTTP1" {
			s.api = "https://localhost:" + s.api[strings.LastIndexByte(s.api, ':')+1:]
		}
		s.load(b, s.standard())
		for _, clients := range []int{1, 16, 128} {
			b.Run(fmt.Sprintf("%s/%d", transport, clients), func(b *testing.B) {
				s.benchmarkPairs(b, clients)
			})
		}
	}
}

func (s *service) benchmarkPairs(b *testing.B, clients int) {
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: clients,
	}}
	defer client.CloseIdleConnections()
	for s.send(client, `{"append":[]}`) != nil { // the certificate is yet to be made
		time.Sleep(10 * time.Millisecond)
	}
	var next atomic.Int64
	var mu sync.Mutex
	var times []time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			var own []time.Duration
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				for _, op := range []string{"append", "delete"} {
					started := time.Now()
					body := fmt.Sprintf(`{%q:[{"name":"_acme-challenge.host%d","type":"TXT","data":%q}]}`, op, i, challengeValue)
					if err := s.send(client, body); err != nil {
						b.Error(err)
						return
					}
					own = append(own, time.Since(started))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, own...)
		})
	}
	group.Wait()
	b.StopTimer()
	if len(times) == 0 {
		return
	}
	slices.Sort(times)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
}

func (s *service) send(client *http.Client, body string) error {
	request, err := http.NewRequest(http.MethodPatch, s.api+"/v1/zones/example.test/records", bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+s.token["ops"])
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%d %s", response.StatusCode, text)
	}
	return nil
}
