package bestdns

import (
	"fmt"
	"sync"
	"time"

	"github.com/caddy-dns/bestdns/internal/text"
)

// Bounds of what is logged of name servers. The service names them, and could name any.
const (
	mostServers   = 16              // in one line
	silencePeriod = time.Hour       // between two lines about the same silent server
	mostSilent    = 4 * mostServers // servers that are remembered
)

// shownServers makes a list of name servers safe to show.
func shownServers(servers []string) []string {
	shown := make([]string, 0, min(len(servers), mostServers+1))
	for i, server := range servers {
		if i == mostServers {
			return append(shown, fmt.Sprintf("and %d more", len(servers)-i))
		}
		shown = append(shown, text.Brief(server, text.MaxName))
	}
	return shown
}

// silences remembers which silent name servers were logged. The zero value remembers none.
// It is safe for concurrent use.
type silences struct {
	mu     sync.Mutex // guards the following
	logged map[string]time.Time
}

// due returns those of the silent servers that are to be logged now, and remembers them.
// Many changes meet the same one, and it may be silent for long.
func (s *silences) due(servers []string) (due []string) {
	if len(servers) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logged == nil {
		s.logged = make(map[string]time.Time)
	}
	now := time.Now()
	for server, last := range s.logged {
		if now.Sub(last) >= silencePeriod {
			delete(s.logged, server)
		}
	}
	for _, server := range servers {
		if _, known := s.logged[server]; !known && len(s.logged) < mostSilent {
			s.logged[server] = now
			due = append(due, server)
		}
	}
	return due
}
