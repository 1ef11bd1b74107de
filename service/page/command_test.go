package page

import (
	"os/exec"
	"testing"
)

func TestCommandOf(t *testing.T) {
	for _, test := range []struct {
		argument string
		want     Command
	}{
		{"web1", "caddy bestdns renew web1"},
		{"0/25.2.0.192.in-addr.arpa", "caddy bestdns renew 0/25.2.0.192.in-addr.arpa"},
		{"web 1", "caddy bestdns renew 'web 1'"},
		{"it's; rm -rf $HOME `x` \"", `caddy bestdns renew 'it'\''s; rm -rf $HOME ` + "`x`" + ` "'`},
		{"-h", "caddy bestdns renew -- -h"},
		{"~", "caddy bestdns renew '~'"},
		{"Bücher", "caddy bestdns renew 'Bücher'"},
		{"", ""},
		{"a\nb", ""},
		{"a\u202eb", ""},
		{"\xff", ""},
	} {
		if got := CommandOf(test.argument, "caddy", "bestdns", "renew"); got != test.want {
			t.Errorf("%q: %s, want %s", test.argument, got, test.want)
		}
	}
}

// FuzzCommandOf has a shell read what is shown.
func FuzzCommandOf(f *testing.F) {
	f.Add("web 1")
	f.Add("-")
	f.Add(`it's $(x) \ "`)
	f.Fuzz(func(t *testing.T, argument string) {
		command := CommandOf(argument, "set", "--", "first")
		if command == "" {
			return
		}
		out, err := exec.Command("sh", "-c", string(command)+`; for last; do :; done; printf %s "$last"`).Output()
		if err != nil || string(out) != argument {
			t.Errorf("%s prints %q: %v", command, out, err)
		}
	})
}
