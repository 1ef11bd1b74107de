package protocol

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/api"
)

// TestParseChangeStrict sends what Go's decoder would accept and others
// would read in another way.
func TestParseChangeStrict(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"kind twice", `{"append":[],"append":[{"name":"x"}]}`, `duplicate field "append"`},
		{"kind twice, once escaped", `{"append":[],"\u0061ppend":[]}`, `duplicate field "append"`},
		{"key twice in a record", `{"append":[{"name":"x","name":"y","type":"A","data":"192.0.2.1"}]}`, `duplicate field "name"`},
		{"kind in another case", `{"Append":[]}`, `unknown field "Append"`},
		{"key in another case", `{"append":[{"NAME":"x"}]}`, `unknown field "NAME"`},
		{"key in both cases", `{"append":[{"name":"x","Name":"y"}]}`, `unknown field "Name"`},
		{"letter that folds to s", `{"ſet":[]}`, `unknown field "ſet"`},
		{"kind that is null", `{"append":null,"delete":[{"name":"x"}]}`, "null"},
		{"data that is null", `{"delete":[{"name":"x","type":"TXT","data":null}]}`, "null"},
		{"record that is null", `{"delete":[null]}`, "null"},
		{"change that is null", `null`, "null"},
		{"no name", `{"delete":[{}]}`, "record 1 has no name"},
		{"no name in the second", `{"delete":[{"name":"x"},{"type":"A"}]}`, "record 2 has no name"},
		{"empty name", `{"delete":[{"name":""}]}`, "no name"},
		{"not UTF-8", "{\"append\":[{\"name\":\"x\",\"type\":\"TXT\",\"data\":\"\xff\"}]}", "not UTF-8"},
		{"half of a pair before data", `{"append":[{"name":"x","type":"TXT","data":"\ud800SECRETSECRET"}]}`, `half of a character, a surrogate without its other half (RFC 8259 §8.2) in "/append/0/data"`},
		{"invalid escape before data", `{"append":[{"name":"x","type":"TXT","data":"\uSECRET"}]}`, `an invalid escape sequence in "/append/0/data"`},
		{"data as a number", `{"append":[{"name":"x","type":"TXT","data":123456}]}`, `a value of type number is not of the right type in "/append/0/data"`},
		{"half of a pair in data", `{"append":[{"name":"x","type":"TXT","data":"\ud800"}]}`, "half of a character"},
		{"half of a pair in a name", `{"append":[{"name":"\uDFFFx","type":"TXT","data":"x"}]}`, "half of a character"},
		{"half of a pair in a delete", `{"delete":[{"name":"x","data":"a\udbffb"}]}`, "travels as type TYPE16"},
		{"half of a pair behind a pair", `{"delete":[{"name":"\ud83d\ude00\ude00"}]}`, "half of a character"},
		{"two first halves", `{"delete":[{"name":"\ud83d\ud83d\ude00"}]}`, "half of a character"},
		{"halves in the wrong order", `{"delete":[{"name":"\ude00\ud83d"}]}`, "half of a character"},
		{"halves with something between", `{"delete":[{"name":"\ud83dx\ude00"}]}`, "half of a character"},
		{"half of a pair behind a backslash", `{"delete":[{"name":"\\\ud83d"}]}`, "half of a character"},
		{"escape that is cut off", `{"delete":[{"name":"\ud83d\ude`, "unexpected end"},
		{"invalid escape", `{"delete":[{"name":"\uZZZZ"}]}`, "an invalid escape sequence in"},
		{"key of a record outside", `{"name":"x"}`, "name"},
		{"kind in a record", `{"append":[{"name":"x","append":[]}]}`, "append"},
		{"list", `[]`, "array"},
		{"list of changes", `[{"append":[]}]`, "array"},
		{"string", `"append"`, "string"},
		{"something behind", `{"append":[]} x`, "after top-level value"},
		{"a second change behind", `{"append":[]}{"delete":[]}`, "after top-level value"},
		{"unknown kind", `{"append":[],"more":{"append":[]}}`, `unknown field "more"`},
		{"unknown key in a record", `{"append":[{"name":"x","more":[{"name":"y"}]}]}`, `unknown field "more"`},
		{"key twice with space before its colon", "{\"append\":[{\"name\":\"x\",\"name\" \n:\"y\"}]}", `duplicate field "name"`},
		{"key twice in the second record", `{"append":[{"name":"x"},{"name":"x","name":"y"}]}`, `duplicate field "name"`},
		{"byte order mark", "\ufeff{\"append\":[]}", "invalid character"},
		{"comment", `{"append":[]/**/}`, "invalid character"},
		{"comma at the end", `{"append":[],}`, "invalid character"},
		{"TTL as text", `{"append":[{"name":"x","ttl":"60"}]}`, "ttl"},
		{"TTL beyond 64 bits", `{"append":[{"name":"x","ttl":99999999999999999999}]}`, "ttl"},
		{"very deep", strings.Repeat(`{"append":[`, 100_000), `unknown field "append" in "/append/0"`},
		{"very deep lists", strings.Repeat(`[`, 1_000_000), "array"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			change, err := parseChange([]byte(test.body))
			if err == nil {
				t.Fatalf("accepted as %+v", change)
			}
			if reason := jsonReason(err); !strings.Contains(reason, test.want) || strings.Contains(reason, "SECRET") {
				t.Errorf("the reason %q does not say %q, or says too much", reason, test.want)
			}
		})
	}
}

// TestSurrogates: pairs are characters, and an escaped backslash begins no escape.
func TestSurrogates(t *testing.T) {
	for body, want := range map[string]string{
		`{"append":[{"name":"x","data":"\ud83d\ude00"}]}`:       "😀",
		`{"append":[{"name":"x","data":"\uD83D\uDE00\u0041"}]}`: "😀A",
		`{"append":[{"name":"x","data":"\\ud800"}]}`:            `\ud800`,
		`{"append":[{"name":"x","data":"\\\\ud800\n"}]}`:        "\\\\ud800\n",
		`{"append":[{"name":"x","data":"\ufffd\ud7ff\ue000"}]}`: "\ufffd\ud7ff\ue000",
	} {
		change, err := parseChange([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if got := *change.Append[0].Data; got != want {
			t.Errorf("%s: read as %q, want %q", body, got, want)
		}
	}
}

// TestParseChange sends what looks like something else.
func TestParseChange(t *testing.T) {
	one, text := int64(1), "\"name\":null}{\\"
	record := api.Record{Name: "name", Type: "TXT", TTL: &one, Data: &text}
	tests := []struct {
		name, body string
		want       api.Change
	}{
		{"space", " {\t\"delete\" :\r\n[ ] } \n", api.Change{Delete: []api.Record{}}},
		{"escaped keys", `{"\u0064elete":[{"n\u0061me":"name"}]}`, api.Change{Delete: []api.Record{{Name: "name"}}}},
		{
			"syntax in values", `{"append":[{"name":"name","type":"TXT","ttl":1,"data":"\"name\":null}{\\"},{"data":"\"name\":null}{\\","ttl":1,"type":"TXT","name":"name"}]}`,
			api.Change{Append: []api.Record{record, record}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseChange([]byte(test.body))
			if err != nil {
				t.Fatal(jsonReason(err))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzParseChange: what is accepted is the same change when it is written again,
// and to a decoder that knows nothing of types has no more in it.
func FuzzParseChange(f *testing.F) {
	f.Add([]byte(`{"append":[{"name":"x","type":"TXT","ttl":60,"data":"a"}]}`))
	f.Add([]byte(`{"delete":[{"name":"@"}],"delete":[]}`))
	f.Add([]byte(`{"Set":[]}`))
	f.Add([]byte(`{"set":[{"name":"\ud83d\ude00","data":"\\\ud800"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		change, err := parseChange(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(change)
		if err != nil {
			t.Fatal(err)
		}
		const replacement = "\ufffd"
		if strings.Contains(string(again), replacement) && !strings.Contains(strings.ToLower(string(text)), `\ufffd`) && !strings.Contains(string(text), replacement) {
			t.Errorf("something was replaced: %s", again)
		}
		var asSent, asRead map[string][]map[string]any
		if err := json.Unmarshal(text, &asSent); err != nil {
			t.Fatalf("accepted, and yet: %v", err)
		}
		for kind, records := range asSent {
			if len(records) == 0 {
				delete(asSent, kind) // Go's encoder leaves an empty list out
			}
			for _, r := range records {
				if r["type"] == "" {
					delete(r, "type")
				}
			}
		}
		if err := json.Unmarshal(again, &asRead); err != nil {
			t.Fatal(err)
		}
		if len(asSent) == 0 && len(asRead) == 0 {
			return
		}
		if diff := cmp.Diff(asSent, asRead); diff != "" {
			t.Errorf("(-sent +read):\n%s", diff)
		}
	})
}

// BenchmarkReadChange reads a usual body and the largest one of usual records.
func BenchmarkReadChange(b *testing.B) {
	const record = `{"name":"_acme-challenge.host","type":"TXT","ttl":60,"data":"LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"}`
	for _, count := range []int{1, api.MaxRecords} {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			body := []byte(`{"append":[` + record + strings.Repeat(","+record, count-1) + `]}`)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ReadChange(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
