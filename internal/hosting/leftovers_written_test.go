package hosting

import (
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/record"
)

// safeKey is what a key can be: a path of parts that every file system can have, and that are the
// same only if they are equal in lower case.
var safeKey = regexp.MustCompile(`^bestdns/written/[a-z0-9_.=-]{1,255}/[0-9a-f]{16}-[0-9a-f]{64}$`)

func checkKey(t *testing.T, key string) {
	t.Helper()
	if !safeKey.MatchString(key) || path.Clean(key) != key || !strings.HasPrefix(key, writtenPrefix+"/") {
		t.Errorf("the key %q is not safe", key)
	}
}

func TestWrittenKeys(t *testing.T) {
	keys := make(map[string]string)
	for _, zone := range []string{
		"example.test", "EXAMPLE.org", `a\/b.test`, `\.\..test`, `\..\.`, `\000.test`, `a\\b.test`, "*.test", "_acme-challenge.example.test",
		`=\046.test`, strings.Repeat("a.", 126) + "a",
	} {
		apex := mustParse(zone)
		for _, label := range []string{"", "b."} {
			name, err := record.ParseOwner(label+"@", apex)
			if label != "" {
				name, err = record.ParseOwner("b", apex)
			}
			if err != nil {
				continue // too long
			}
			for _, text := range []string{"A", "a", "../../x"} {
				key := writtenKey(apex, name, text)
				checkKey(t, key)
				if !strings.HasPrefix(key, writtenAt(apex, name)) {
					t.Errorf("the key %q of zone %s is not at its name", key, zone)
				}
				this := zone + " " + label + " " + text
				if before, exists := keys[key]; exists {
					t.Errorf("%s and %s have one key", before, this)
				}
				keys[key] = this
			}
		}
	}
}

func FuzzReadWritten(f *testing.F) {
	at := time.Date(2027, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, zone := range []string{"example.test", `a\/b.test`} {
		w := written{zone: mustParse(zone), name: mustParse("_acme-challenge.web1." + zone), text: value(1), ttl: 60, client: "web1", at: at, expires: at.Add(time.Hour)}
		value, err := w.value()
		if err != nil {
			f.Fatal(err)
		}
		read, err := readWritten(w.key(), value)
		if err != nil {
			f.Fatal(err)
		}
		if diff := cmp.Diff(w, read, cmp.AllowUnexported(written{})); diff != "" {
			f.Errorf("written and read again (-want +got):\n%s", diff)
		}
		f.Add(w.key(), value)
		if _, err := readWritten(w.key()+"0", value); err == nil {
			f.Error("a value is read for another key")
		}
	}
	f.Add("", []byte("{}"))
	f.Add("x", []byte(`{"zone":"example.test","name":"example.org"}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		w, err := readWritten(key, value)
		if err != nil {
			return
		}
		checkKey(t, key)
		r, err := record.At(w.name, "TXT", w.ttl, w.text)
		if err != nil || !record.IsChallengeValue(r) || !w.name.In(w.zone) {
			t.Errorf("%+v would be deleted", w)
		}
		again, err := w.value()
		if err != nil {
			t.Fatal(err)
		}
		if same, err := readWritten(key, again); err != nil || !same.at.Equal(w.at) || !same.expires.Equal(w.expires) {
			t.Errorf("%+v, read again %+v, %v", w, same, err)
		}
	})
}
