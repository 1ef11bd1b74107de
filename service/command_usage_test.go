package service

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestUsage: what a command is not given, or is given too much, is an error that says how it is used.
func TestUsage(t *testing.T) {
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	parent := &cobra.Command{Use: "bestdns [command]"}
	setUpCommand(parent)
	root.AddCommand(parent)
	for line, want := range map[string]string{
		"bestdns chekc":                 `unknown command "chekc" for "caddy bestdns"; did you mean check?`,
		"bestdns frobnicate":            `unknown command "frobnicate" for "caddy bestdns"; caddy bestdns --help lists the commands`,
		"bestdns token":                 "CLIENT is missing\n\nUsage:\n  caddy bestdns token CLIENT",
		"bestdns export":                "ZONE is missing",
		"bestdns import example.org":    "FILE is missing\n\nUsage:\n  caddy bestdns import ZONE FILE",
		"bestdns persist":               "DOMAIN is missing",
		"bestdns backup one two":        `unexpected argument "two"`,
		"bestdns demo now":              `unexpected argument "now"`,
		"bestdns version now":           `unexpected argument "now"`,
		"bestdns import-acme-dns":       "FILE is missing",
		"bestdns check one.org two.org": "accepts at most 1 arg",
	} {
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(strings.Fields(line))
		err := root.Execute()
		if err == nil || !strings.Contains(err.Error()+out.String(), want) {
			t.Errorf("%s: %v\n%s\nwant %q", line, err, out.String(), want)
		}
	}
}
