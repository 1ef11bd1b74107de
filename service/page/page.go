// Package page draws what the service shows to people: one HTML page with its style and
// its script in it, so that it takes no other path of the site that it is served on. It
// does not decide what a visitor may see: it draws the view that it is given.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
)

var (
	//go:embed page.html
	source string
	//go:embed page.css
	style string
	//go:embed page.js
	script string

	document = template.Must(template.New("page").Parse(source))
)

// Policy is the page's Content-Security-Policy: nothing but its own style and script,
// by their hashes, and for the script to fetch the page again.
var Policy = "default-src 'none'; style-src " + source256(style) + "; script-src " + source256(script) +
	"; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

func source256(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// SetHeaders sets the headers that guard the page. They belong on an error that is answered
// instead of it too.
func SetHeaders(h http.Header) {
	h.Set("Content-Security-Policy", Policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// Render returns the page.
func Render(v View) ([]byte, error) {
	var out bytes.Buffer
	err := document.Execute(&out, struct {
		View
		Style  template.CSS
		Script template.JS
	}{v, template.CSS(style), template.JS(script)})
	return out.Bytes(), err
}
