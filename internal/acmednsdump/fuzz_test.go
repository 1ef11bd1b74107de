package acmednsdump

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzRead reads anything. What it returns is in bounds.
func FuzzRead(f *testing.F) {
	f.Add(sqliteSchema + "INSERT INTO records VALUES('user1'," + asBlob(hash) + ",'label1','[\"192.0.2.0/24\"]');\n" + sqliteEnd)
	f.Add(postgresSchema + "COPY public.records (username, password, subdomain, allowfrom) FROM stdin;\nuser1\t" + hash + "\tlabel1\t[]\n\\.\n" + postgresEnd)
	f.Add(postgresSchema + "INSERT INTO public.records VALUES (E'u\\x73er\\064', '" + hash + "', E'\\u006c\\141bel4', NULL), ('a', (b, c), `d`);\n" + postgresEnd)
	f.Fuzz(func(t *testing.T, dump string) {
		got, err := Read(strings.NewReader(dump), anyAccount)
		if err != nil {
			return
		}
		if len(got.Skipped) > maxSkipped || len(got.Skipped) > got.SkippedInAll {
			t.Errorf("%d of %d skipped accounts are told", len(got.Skipped), got.SkippedInAll)
		}
		usernames, labels := make(map[string]bool), make(map[string]bool)
		lines := strings.Count(dump, "\n") + 1
		for _, a := range got.Taken {
			for _, text := range []string{a.Username, a.Password, a.Subdomain} {
				if len(text) > maxValue || !utf8.ValidString(text) {
					t.Errorf("%q of line %d", text, a.Line)
				}
			}
			if a.Username != "" && usernames[a.Username] || a.Subdomain != "" && labels[a.Subdomain] || a.Line < 1 || a.Line > lines || len(a.Networks) > maxNetworks {
				t.Errorf("account %+v", a)
			}
			usernames[a.Username], labels[a.Subdomain] = true, true
			for _, n := range a.Networks {
				if !n.IsValid() || n != n.Masked() {
					t.Errorf("network %s", n)
				}
			}
		}
	})
}

// FuzzForms writes an account in each form in which sqlite3 and pg_dump write one. All of them
// say the same.
func FuzzForms(f *testing.F) {
	f.Add("user1", hash, "label1", "192.0.2.0/24")
	f.Add("it's", "\\", "tab\tnew\nline\r", "2001:db8::/32")
	f.Add(`\N`, `\.`, `''";--/*$$`, "x")
	f.Fuzz(func(t *testing.T, username, password, label, network string) {
		for _, text := range []string{username, password, label, network} {
			if !utf8.ValidString(text) || len(text) > 1000 {
				return
			}
		}
		list, err := json.Marshal([]string{network})
		if err != nil {
			t.Fatal(err)
		}
		row := []string{username, password, label, string(list)}
		var want Accounts
		for i, form := range []struct {
			schema, row, separator, end string
			escape                      func(string) string
		}{
			{sqliteSchema, "INSERT INTO records VALUES(%s);\n", ",", sqliteEnd, inQuotes},
			{sqliteSchema, "INSERT INTO records VALUES(%s);\n", ",", sqliteEnd, asBlob},
			{postgresSchema, "INSERT INTO public.records VALUES (%s);\n", ", ", postgresEnd, inQuotes},
			{postgresSchema, "INSERT INTO public.records (username, password, subdomain, allowfrom) VALUES (%s);\n", ", ", postgresEnd, withBackslashes},
			{postgresSchema, "COPY public.records (username, password, subdomain, allowfrom) FROM stdin;\n%s\n\\.\n", "\t", postgresEnd, forCopy},
		} {
			var escaped []string
			for _, text := range row {
				escaped = append(escaped, form.escape(text))
			}
			dump := form.schema + fmt.Sprintf(form.row, strings.Join(escaped, form.separator)) + form.end
			got, err := Read(strings.NewReader(dump), anyAccount)
			if err != nil {
				t.Fatalf("%v in\n%s", err, dump)
			}
			if len(got.Taken)+got.SkippedInAll != 1 {
				t.Errorf("%+v from\n%s", got, dump)
			}
			if i == 0 {
				want = got
				if _, err := netip.ParsePrefix(network); err != nil && network != "" && len(got.Taken) > 0 && len(got.Taken[0].Networks) == 0 {
					t.Errorf("bound to %q, and accepted from anywhere", network)
				}
				for _, a := range got.Taken {
					if a.Username != username || a.Password != password || a.Subdomain != label {
						t.Errorf("%q is read as %+v", row, a)
					}
				}
				continue
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Account{}, "Line"), cmpopts.IgnoreFields(Skipped{}, "Line"), cmp.Comparer(sameError), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Errorf("the first form says otherwise (-first +this):\n%s\n%s", diff, dump)
			}
		}
	})
}

func inQuotes(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func withBackslashes(text string) string {
	return "E'" + strings.NewReplacer("'", "''", `\`, `\\`, "\n", `\n`, "\x01", `\x01`, "é", `\u00e9`).Replace(text) + "'"
}

func forCopy(text string) string {
	return strings.NewReplacer(`\`, `\\`, "\b", `\b`, "\f", `\f`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\v", `\v`).Replace(text)
}
