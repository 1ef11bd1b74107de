package api

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/record"
)

// schema is what a type and its definition must have in common.
type schema struct{ Properties, Required []string }

// TestOpenAPISchemas holds the schemas to the types that are sent.
func TestOpenAPISchemas(t *testing.T) {
	defined := readSchemas(t)
	for _, v := range []any{Record{}, Change{}, Records{}, CNAME{}, Zones{}, Zone{}, Token{}, Health{}, Problem{}} {
		typ := reflect.TypeOf(v)
		var want schema
		for i := range typ.NumField() {
			name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			want.Properties = append(want.Properties, name)
			if options == "" {
				want.Required = append(want.Required, name)
			}
		}
		if diff := cmp.Diff(want, defined[typ.Name()]); diff != "" {
			t.Errorf("%s (-type +definition):\n%s", typ.Name(), diff)
		}
	}
}

// readSchemas reads the schemas of objects by their indentation, which is all that
// this test needs of YAML.
func readSchemas(t *testing.T) map[string]schema {
	t.Helper()
	_, text, ok := strings.Cut(string(OpenAPI), "\n  schemas:\n")
	text, _, ok2 := strings.Cut(text, "\n  headers:\n")
	if !ok || !ok2 {
		t.Fatal("the definition has no schemas where they are looked for")
	}
	schemas := make(map[string]schema)
	for _, part := range regexp.MustCompile(`(?m)^    (\w+):\n((?:      .*\n|\n)*)`).FindAllStringSubmatch(text+"\n", -1) {
		name, body := part[1], part[2]
		if !strings.Contains(body, "      type: object\n") {
			continue
		}
		if !strings.Contains(body, "      additionalProperties: false\n") {
			t.Errorf("%s accepts further properties", name)
		}
		var s schema
		for _, p := range regexp.MustCompile(`(?m)^        (\w+):`).FindAllStringSubmatch(body, -1) {
			s.Properties = append(s.Properties, p[1])
		}
		if r := regexp.MustCompile(`(?m)^      required: \[(.*)\]`).FindStringSubmatch(body); r != nil {
			s.Required = strings.Split(r[1], ", ")
		}
		schemas[name] = s
	}
	return schemas
}

// TestOpenAPIProblems: each kind is in the list of types, and in an example with its
// title and status.
func TestOpenAPIProblems(t *testing.T) {
	text := string(OpenAPI)
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^ +- urn:bestdns:([a-z-]+)$`).FindAllStringSubmatch(text, -1) {
		listed = append(listed, m[1])
	}
	var want []string
	for kind, k := range kinds {
		want = append(want, kind)
		if example := fmt.Sprintf("{type: \"urn:bestdns:%s\", title: %s, status: %d,", kind, k.title, k.status); !strings.Contains(text, example) {
			t.Errorf("no example is %s", example)
		}
		if kind == MethodNotAllowed {
			continue // no request that is defined is answered so
		}
		if status := fmt.Sprintf("        \"%d\": {$ref", k.status); !strings.Contains(text, status) {
			t.Errorf("no request is answered with status %d", k.status)
		}
	}
	slices.Sort(listed)
	slices.Sort(want)
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("types (-kinds +definition):\n%s", diff)
	}
}

func TestOpenAPILimits(t *testing.T) {
	for _, want := range []string{fmt.Sprintf("maxItems: %d\n", MaxRecords), "1 MiB (1,048,576 bytes) and 1,000 records", fmt.Sprintf("maximum: %d\n", record.MaxTTL)} {
		if !strings.Contains(string(OpenAPI), want) {
			t.Errorf("the definition does not say %q", want)
		}
	}
	if MaxBodyBytes != 1_048_576 || MaxRecords != 1000 {
		t.Error("the limits have changed, the definition's text has not")
	}
}
