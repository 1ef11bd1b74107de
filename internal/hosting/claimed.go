package hosting

import "github.com/caddy-dns/bestdns/internal/record"

// Claimed returns the names that those who send updates are to take for zones, so that they send
// them here: the zones that are not built in, and the domains hosted elsewhere whose challenges go to
// the target of a CNAME. Only clients with keys count.
func (s *Service) Claimed() (names []record.Name) {
	for _, zone := range s.zones {
		if !zone.Builtin() {
			names = append(names, zone.Apex)
		}
	}
	if s.cnameTarget == "" {
		return names
	}
	seen := make(map[record.Name]bool)
	for client := range s.clients.All() {
		if !client.HasKey() {
			continue
		}
		for domain := range client.Certifies() {
			if _, hosted := s.apexes.Of(domain); !hosted && !seen[domain] {
				seen[domain] = true
				names = append(names, domain)
			}
		}
	}
	return names
}
