package service

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// parseListen reads a listen address; one without a network means UDP and TCP, one
// without a port port 53. It refuses what no socket can be opened at: Caddy would
// find out only when it starts the configuration, and take it for a host name.
func parseListen(text string) ([]caddy.NetworkAddress, error) {
	const defaultPort = 53
	var networks []string
	network, host, port, err := caddy.SplitNetworkAddress(text)
	if err != nil {
		return nil, err
	}
	switch network {
	case "":
		networks = []string{"udp", "tcp"}
	case "udp", "udp4", "udp6", "tcp", "tcp4", "tcp6":
		networks = []string{network}
	case "fd", "fdgram":
		if _, err := strconv.ParseUint(host, 10, 31); err != nil {
			return nil, fmt.Errorf("%q is not the number of a file descriptor: write it like %s/3", host, network)
		}
		networks = []string{network}
	default:
		return nil, fmt.Errorf("the network %q carries no DNS; use udp, tcp, fd or fdgram, or none for UDP and TCP", network)
	}
	if !caddy.IsFdNetwork(network) {
		if text == "" {
			return nil, errors.New("the address is empty: write it like :53")
		}
		if err := checkListenFamily(network, host); err != nil {
			return nil, err
		}
		if err := checkListenHost(text, host, port); err != nil {
			return nil, err
		}
		if err := checkListenPort(port); err != nil {
			return nil, err
		}
	}
	var addresses []caddy.NetworkAddress
	for _, network := range networks {
		address, err := caddy.ParseNetworkAddressWithDefaults(text, network, defaultPort)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, address.Expand()...)
	}
	return addresses, nil
}

// checkListenFamily refuses an address of the other IP version than the network's.
func checkListenFamily(network, host string) error {
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	switch {
	case err != nil:
		return nil
	case strings.HasSuffix(network, "4") && !address.Unmap().Is4():
		return fmt.Errorf("%q is not an IPv4 address, and the network is %s", host, network)
	case strings.HasSuffix(network, "6") && address.Is4():
		return fmt.Errorf("%q is not an IPv6 address, and the network is %s", host, network)
	}
	return nil
}

// checkListenHost judges the host of a listen address, of which text is the whole.
func checkListenHost(text, host, port string) error {
	before, _, _ := strings.Cut(text, host) // the network
	address, err := netip.ParseAddr(host)
	switch isPort := isPortNumber(host); {
	case host == "":
		return nil
	case err == nil && address.Is6() && !strings.Contains(text, "["):
		if shorter, ok := cutPort(host); ok {
			return fmt.Errorf("%q can be read in two ways: write listen %s%s, or %s%s if the last number is the port",
				host, before, net.JoinHostPort(host, "53"), before, shorter)
		}
		return nil
	case err == nil:
		return nil
	case isPort && port == "":
		return fmt.Errorf("%q is a port without a colon before it: write listen %s:%s", host, before, host)
	case !isHostName(host):
		return fmt.Errorf("%q is neither an IP address nor a host name: write it like :53, 127.0.0.1:53 or [::1]:53", host)
	}
	return nil
}

// cutPort returns an IPv6 address without brackets as a shorter one and a port, if it may as
// well be that.
func cutPort(host string) (shorter string, ok bool) {
	colon := strings.LastIndexByte(host, ':')
	_, err := netip.ParseAddr(host[:colon])
	return net.JoinHostPort(host[:colon], host[colon+1:]), err == nil && isPortNumber(host[colon+1:])
}

func isPortNumber(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// hostName is what the system's resolver can be asked for. The last label is not a number
// (RFC 1123 §2.1): that is a port, or an address that is mistyped.
var hostName = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?$`)

func isHostName(text string) bool {
	labels := strings.Split(strings.TrimSuffix(text, "."), ".")
	_, err := strconv.ParseUint(labels[len(labels)-1], 10, 64)
	return len(text) <= 254 && hostName.MatchString(text) && errors.Is(err, strconv.ErrSyntax)
}

// checkListenPort judges the port or ports of a listen address.
func checkListenPort(port string) error {
	for _, end := range strings.SplitN(port, "-", 2) {
		n, err := strconv.ParseUint(end, 10, 16)
		switch {
		case port == "":
		case err != nil:
			return fmt.Errorf("the port %q is not a number from 1 to 65535: write it like :53 or 127.0.0.1:53", port)
		case n == 0:
			return errors.New("port 0 is any port, for UDP another than for TCP, at which no resolver asks: write it like :53 or 127.0.0.1:53")
		}
	}
	return nil
}
