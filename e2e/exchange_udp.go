//go:build unsettled

package e2e

import (
	"net"
	"testing"
	"time"
)

// askAllUDP does what askAll does by UDP, some questions at a time, as a resolver does that
// has several clients. Any so many in a row need IDs of their own.
func askAllUDP(t testing.TB, addr string, messages [][]byte) [][]byte {
	t.Helper()
	const atOnce = 20
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := make([][]byte, len(messages))
	buf := make([]byte, 65536)
	for i := 0; i < len(messages); i += atOnce {
		conn.SetDeadline(time.Now().Add(exchangeTimeout))
		waiting := make(map[string]int)
		for j, m := range messages[i:min(i+atOnce, len(messages))] {
			if _, err := conn.Write(m); err != nil {
				t.Fatalf("asking %s by UDP: %v", addr, err)
			}
			waiting[string(m[:2])] = i + j
		}
		for len(waiting) > 0 {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("asking %s by UDP: %d of %d questions from %d on are not answered: %v", addr, len(waiting), atOnce, i, err)
			}
			place, ok := waiting[string(buf[:min(n, 2)])]
			if n < 12 || !ok {
				t.Fatalf("asking %s by UDP: %q answers no question", addr, buf[:n])
			}
			answers[place] = append([]byte(nil), buf[:n]...)
			delete(waiting, string(buf[:2]))
		}
	}
	return answers
}
