package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pb33f/jsonschema/v6"
)

// lint looks for what makes a definition hard to use although it is valid.
type lint struct {
	t    *testing.T
	doc  map[string]any
	used map[string]bool // references
	ids  map[string]bool // operations
}

func (l lint) run() {
	l.references("", l.doc)
	paths := l.doc["paths"].(map[string]any)
	for path, item := range paths {
		for method, operation := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			l.operation(strings.ToUpper(method)+" "+path, operation.(map[string]any))
		}
	}
	for kind, all := range l.doc["components"].(map[string]any) {
		for name := range all.(map[string]any) {
			ref := "#/components/" + kind + "/" + name
			// Nothing refers to a security scheme, and to what all paths may answer.
			if kind != "securitySchemes" && name != "MethodNotAllowed" && !l.used[ref] {
				l.t.Errorf("%s is used nowhere", ref)
			}
		}
	}
}

func (l lint) operation(where string, o map[string]any) {
	id, _ := o["operationId"].(string)
	if id == "" || l.ids[id] {
		l.t.Errorf("%s: the operationId %q is missing or not the only one", where, id)
	}
	l.ids[id] = true
	if o["summary"] == nil {
		l.t.Errorf("%s has no summary", where)
	}
	success := false
	for status, response := range o["responses"].(map[string]any) {
		success = success || status == "200"
		response := l.resolve(response.(map[string]any))
		if response["description"] == nil {
			l.t.Errorf("%s: the answer %s has no description", where, status)
		}
		var code int
		if _, err := fmt.Sscan(status, &code); err != nil || http.StatusText(code) == "" {
			l.t.Errorf("%s: %s is no status", where, status)
		}
		l.examples(where+" "+status, response)
	}
	if !success {
		l.t.Errorf("%s never succeeds", where)
	}
	if body, ok := o["requestBody"].(map[string]any); ok {
		l.examples(where, body)
	}
}

// examples holds the examples of a body against its schema.
func (l lint) examples(where string, body map[string]any) {
	for mediaType, content := range body["content"].(map[string]any) {
		content := content.(map[string]any)
		examples := map[string]any{}
		if one, ok := content["example"]; ok {
			examples["example"] = one
		}
		if several, ok := content["examples"].(map[string]any); ok {
			for name, e := range several {
				examples[name] = e.(map[string]any)["value"]
			}
		}
		if len(examples) == 0 && strings.Contains(mediaType, "json") {
			l.t.Errorf("%s: %s has no example", where, mediaType)
		}
		schema := l.compile(content["schema"])
		for name, example := range examples {
			if err := schema.Validate(asJSON(l.t, example)); err != nil {
				l.t.Errorf("%s: %s, %s: %v", where, mediaType, name, err)
			}
		}
	}
}

// compile makes a schema that can look up what it refers to in the definition.
func (l lint) compile(schema any) *jsonschema.Schema {
	l.t.Helper()
	root := map[string]any{"components": l.doc["components"], "allOf": []any{schema}}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("urn:definition", asJSON(l.t, root)); err != nil {
		l.t.Fatal(err)
	}
	compiled, err := c.Compile("urn:definition")
	if err != nil {
		l.t.Fatal(err)
	}
	return compiled
}

// asJSON returns a value of YAML as a decoder of JSON would have it.
func asJSON(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

// references notes what is referred to, and that it is there.
func (l lint) references(where string, v any) {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			l.used[ref] = true
			if l.resolve(v) == nil {
				l.t.Errorf("%s refers to %s, which is not there", where, ref)
			}
		}
		for key, value := range v {
			l.references(where+"/"+key, value)
		}
	case []any:
		for i, value := range v {
			l.references(fmt.Sprint(where, "/", i), value)
		}
	}
}

func (l lint) resolve(v map[string]any) map[string]any {
	ref, ok := v["$ref"].(string)
	if !ok {
		return v
	}
	at := l.doc
	for _, step := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		at, _ = at[step].(map[string]any)
	}
	return at
}
