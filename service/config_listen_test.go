package service

import (
	"strings"
	"testing"
)

// TestParseListen: what cannot be listened on is refused when the configuration is loaded,
// with what to write instead.
func TestParseListen(t *testing.T) {
	for text, want := range map[string]string{
		":53":                    "udp/:53 tcp/:53",
		"127.0.0.1:5353":         "udp/127.0.0.1:5353 tcp/127.0.0.1:5353",
		"127.0.0.1":              "udp/127.0.0.1:53 tcp/127.0.0.1:53",
		"[::1]:53":               "udp/[::1]:53 tcp/[::1]:53",
		"[::1]":                  "udp/[::1]:53 tcp/[::1]:53",
		"[fe80::1%eth0]:53":      "udp/[fe80::1%eth0]:53 tcp/[fe80::1%eth0]:53",
		"udp/:53":                "udp/:53",
		"udp/127.0.0.1:53-54":    "udp/127.0.0.1:53 udp/127.0.0.1:54",
		"localhost:53":           "udp/localhost:53 tcp/localhost:53",
		"ns_1.example-a.net.:53": "udp/ns_1.example-a.net.:53 tcp/ns_1.example-a.net.:53",
		"1password.com":          "udp/1password.com:53 tcp/1password.com:53",
		"fd/3":                   "fd/3",
		"fdgram/4":               "fdgram/4",

		"53":                                    `"53" is a port without a colon before it: write listen :53`,
		"udp/53":                                `"53" is a port without a colon before it: write listen udp/:53`,
		"0":                                     `"0" is neither an IP address nor a host name`,
		":0":                                    `port 0 is any port`,
		"127.0.0.1:0":                           `port 0 is any port`,
		":0-5":                                  `port 0 is any port`,
		":dns":                                  `the port "dns" is not a number from 1 to 65535: write it like :53`,
		":65536":                                `the port "65536" is not a number from 1 to 65535`,
		"127.0.0.1:":                            "udp/127.0.0.1:53 tcp/127.0.0.1:53",
		"::1":                                   "udp/[::1]:53 tcp/[::1]:53",
		"udp/::1":                               "udp/[::1]:53",
		"::1:53":                                `"::1:53" can be read in two ways: write listen [::1:53]:53, or [::1]:53 if the last number is the port`,
		"2001:db8::5":                           "udp/[2001:db8::5]:53 tcp/[2001:db8::5]:53",
		"127.0.0.1:53:54":                       `"127.0.0.1:53:54" is neither`,
		"127.0.0":                               `"127.0.0" is neither an IP address nor a host name`,
		"300.0.0.1:53":                          `"300.0.0.1" is neither an IP address nor a host name`,
		"*:53":                                  `"*" is neither an IP address nor a host name`,
		"a b:53":                                `"a b" is neither an IP address nor a host name`,
		"bücher.example:53":                     `"bücher.example" is neither an IP address nor a host name`,
		"-a.example:53":                         `"-a.example" is neither an IP address nor a host name`,
		"a..example:53":                         `"a..example" is neither an IP address nor a host name`,
		strings.Repeat("a", 64) + ".example:53": `is neither an IP address nor a host name`,
		"http://127.0.0.1:53":                   `the network "http:" carries no DNS`,
		"fd/three":                              `"three" is not the number of a file descriptor`,
		"":                                      "the address is empty: write it like :53",
		"udp6/127.0.0.1:53":                     `"127.0.0.1" is not an IPv6 address, and the network is udp6`,
		"tcp4/[::1]:53":                         `"::1" is not an IPv4 address, and the network is tcp4`,
		"udp6/[::1]:53":                         "udp6/[::1]:53",
		"udp4/127.0.0.1:53":                     "udp4/127.0.0.1:53",
		"udp4/:53":                              "udp4/:53",
	} {
		t.Run(text, func(t *testing.T) {
			addresses, err := parseListen(text)
			var labels []string
			for _, address := range addresses {
				labels = append(labels, socketLabel(address))
			}
			got := strings.Join(labels, " ")
			if err != nil {
				got = err.Error()
			}
			if got != want && (err == nil || !strings.Contains(got, want)) {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}
