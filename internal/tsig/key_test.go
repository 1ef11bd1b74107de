package tsig

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

func TestNewKey(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString([]byte("sixteen octets.."))
	for _, test := range []struct{ name, algorithm, secret, want, err string }{
		{"BestDNS.Example", "HMAC-SHA256", secret, "bestdns.example (hmac-sha256)", ""},
		{"k.", "hmac-sha512.", secret, "k (hmac-sha512)", ""},
		{"", "hmac-sha256", secret, "", "name"},
		{".", "hmac-sha256", secret, "", "name is empty"},
		{"k", "hmac-md5", secret, "", `TSIG key "k": hmac-md5 is broken`},
		{"k", "hmac-md5.sig-alg.reg.int", secret, "", "hmac-md5 is broken"},
		{"k", "sha256", secret, "", `there is no algorithm "sha256"`},
		{"k", "", secret, "", `there is no algorithm ""`},
		{"k", "hmac-sha256", "!!", "", "not base64"},
		{"k", "hmac-sha256", "c2hvcnQ=", "", "has 5 bytes"},
		{"k", "hmac-sha256", "", "", "has 0 bytes"},
	} {
		key, err := NewKey(test.name, test.algorithm, test.secret)
		switch {
		case test.err == "" && (err != nil || key.String() != test.want || key.Secret() != test.secret || key.IsZero()):
			t.Errorf("%q %q: %v, %v", test.name, test.algorithm, key, err)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || !key.IsZero()):
			t.Errorf("%q %q: %v, %v, want %q", test.name, test.algorithm, key, err, test.err)
		case err != nil && test.secret != "" && strings.Contains(err.Error(), test.secret):
			t.Errorf("the secret is in %q", err)
		}
		for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(form, struct{ Key Key }{key}); err == nil && (strings.Contains(text, "sixteen") || strings.Contains(text, secret)) {
				t.Errorf("%s prints the secret: %s", form, text)
			}
		}
	}
}
