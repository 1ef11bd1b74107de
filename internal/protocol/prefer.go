package protocol

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-dns/bestdns/internal/hosting"
)

// PreferredWait reads how long a caller wants to wait for name servers: the preference "wait" of
// RFC 7240 §4.3, in whole seconds. It is at most [hosting.MostWait]. Without one it is
// that of the zone. The answer's header says that it was heeded (§3).
func PreferredWait(request, answer http.Header) time.Duration {
	for _, line := range request.Values("Prefer") {
		for preference := range strings.SplitSeq(line, ",") {
			preference, _, _ = strings.Cut(preference, ";") // its parameters
			name, value, _ := strings.Cut(preference, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
			if err != nil {
				return hosting.ZoneWait
			}
			wait := min(time.Duration(seconds)*time.Second, hosting.MostWait)
			answer.Set("Preference-Applied", fmt.Sprintf("wait=%d", int(wait.Seconds())))
			return wait
		}
	}
	return hosting.ZoneWait
}
