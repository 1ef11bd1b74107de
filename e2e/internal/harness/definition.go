package harness

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/errors"

	"github.com/caddy-dns/bestdns/internal/api"
)

// loadDefinition reads openapi.yaml as the service answers it.
var loadDefinition = sync.OnceValues(func() (validator.Validator, error) {
	document, err := libopenapi.NewDocument(api.OpenAPI)
	if err != nil {
		return nil, err
	}
	v, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		return nil, fmt.Errorf("openapi.yaml: %v", errs)
	}
	return v, nil
})

// Definition returns the definition of the API, which requests and answers are held
// against.
func Definition(t testing.TB) validator.Validator {
	t.Helper()
	v, err := loadDefinition()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// DefinedTransport holds each request that goes through it, and its answer, against
// openapi.yaml: an answer is always as it is defined, and so is a request that is not
// refused. What the service hands on to the next handler is no business of it.
func DefinedTransport(t testing.TB, next http.RoundTripper) http.RoundTripper {
	t.Helper()
	return definedTransport{t, Definition(t), next}
}

type definedTransport struct {
	t    testing.TB
	v    validator.Validator
	next http.RoundTripper
}

// CloseIdleConnections lets [http.Client.CloseIdleConnections] reach the transport.
func (d definedTransport) CloseIdleConnections() {
	if c, ok := d.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (d definedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	var sent []byte
	if req.Body != nil {
		var err error
		if sent, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body.Close()
		req.Body = io.NopCloser(bytes.NewReader(sent))
	}
	resp, err := d.next.RoundTrip(req)
	if err != nil || resp.Header.Get("X-Request-Id") == "" { // which every answer of the API has
		return resp, err
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	for _, fault := range d.faults(req, sent, resp, got) {
		d.t.Errorf("openapi.yaml and %s %s %.300q, answered with %d %.300q: %s", req.Method, req.URL.EscapedPath(), sent, resp.StatusCode, got, fault)
	}
	resp.Body = io.NopCloser(bytes.NewReader(got))
	return resp, nil
}

// faults returns in what a request and its answer differ from the definition.
func (d definedTransport) faults(req *http.Request, sent []byte, resp *http.Response, got []byte) (faults []string) {
	asked := req.Clone(req.Context())
	asked.Body = io.NopCloser(bytes.NewReader(sent))
	switch {
	case resp.StatusCode == http.StatusMethodNotAllowed:
		// No operation is defined, so nothing but the body of the answer is.
		asked.Method = http.MethodGet
		resp = &http.Response{StatusCode: http.StatusInternalServerError, Header: resp.Header}
	case req.Method == http.MethodHead:
		if len(got) > 0 {
			faults = append(faults, "there is a body")
		}
		return faults
	case resp.StatusCode < 400:
		_, errs := d.v.ValidateHttpRequest(asked)
		faults = append(faults, ValidationTexts(errs)...)
		asked.Body = io.NopCloser(bytes.NewReader(sent))
	}
	answer := &http.Response{StatusCode: resp.StatusCode, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(got))}
	_, errs := d.v.ValidateHttpResponse(asked, answer)
	return append(faults, ValidationTexts(errs)...)
}

func ValidationTexts(errs []*errors.ValidationError) (texts []string) {
	for _, err := range errs {
		parts := []string{err.Message, err.Reason}
		for _, s := range err.SchemaValidationErrors {
			parts = append(parts, s.FieldPath+": "+s.Reason)
		}
		texts = append(texts, strings.Join(parts, "; "))
	}
	return texts
}
