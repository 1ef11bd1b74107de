package service

import (
	"errors"
	"fmt"

	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/rfc2136"
)

// readPrimary reads on which primary the zone is, if it is on one.
func (z *Zone) readPrimary(zone *hosting.Zone) error {
	switch {
	case z.Primary == nil && len(z.Notify) > 0:
		return errors.New("notify is for zones with a primary; a provider tells its servers by itself")
	case z.Primary == nil:
		return nil
	case len(z.ProviderRaw) > 0:
		return errors.New("a zone has a provider or a primary, not both")
	}
	primary := &rfc2136.Config{Zone: zone.Apex}
	var err error
	if primary.Primaries, primary.Key, err = z.Primary.read(); err != nil {
		return fmt.Errorf("primary: %w", err)
	}
	for _, peers := range z.Notify {
		addresses, key, err := peers.read()
		if err != nil {
			return fmt.Errorf("notify: %w", err)
		}
		for _, address := range addresses {
			primary.Notify = append(primary.Notify, rfc2136.Secondary{Address: address, Key: key})
		}
	}
	if n := max(len(primary.Primaries), len(primary.Notify)); n > hosting.MostServers {
		return fmt.Errorf("%d addresses of other name servers are given, and %d are the most", n, hosting.MostServers)
	}
	zone.Primary = primary
	return nil
}
