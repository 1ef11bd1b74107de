package protocol

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/record"
)

// This file is lego's httpreq protocol, in its default and its RAW mode, and that of acmeproxy, which
// is the former: POST /present and POST /cleanup.
//
// What its clients take for success: lego any 2xx; libdns/acmeproxy 200 and JSON with the same fqdn and
// value; acme.sh the value in quotes anywhere in the body, whatever the status. So a success echoes
// what was sent, and an error does not.

// httpreqBody is the body of a request, and of the answer.
type httpreqBody struct {
	FQDN  string `json:"fqdn,omitempty"`
	Value string `json:"value,omitempty"`

	// In RAW mode:
	Domain  string `json:"domain,omitempty"`
	Token   string `json:"token,omitempty"`
	KeyAuth string `json:"keyAuth,omitempty"`
}

// HTTPReq reads the body of a request, and returns the change that it wants and the body of the answer
// once that is made. present is false for a cleanup. The error is a *[hosting.Error].
func HTTPReq(text []byte, present bool) (c hosting.Change, answer []byte, err error) {
	var body httpreqBody
	if err := json.Unmarshal(text, &body); err != nil {
		return c, nil, hosting.Errorf(api.BadRequest, "the body is not a request of httpreq in JSON, with fqdn and value, or domain and keyAuth, as strings")
	}
	name, value, err := body.record()
	if err != nil {
		return c, nil, hosting.Errorf(api.BadRequest, "%w", err)
	}
	owner, err := record.ParseName(name)
	if err != nil {
		return c, nil, hosting.Errorf(api.InvalidRecord, "%w", err)
	}
	if present {
		c, err = appendText(owner, value)
	} else {
		c, err = deleteText(owner, value)
	}
	if err != nil {
		return c, nil, err
	}
	answer, err = json.Marshal(body)
	return c, append(answer, '\n'), err
}

// record returns the name and the value of the TXT record that a request is about.
func (b *httpreqBody) record() (name, value string, err error) {
	const needed = "the body needs fqdn and value, or in RAW mode domain and keyAuth"
	plain, raw := b.FQDN != "" || b.Value != "", b.Domain != "" || b.KeyAuth != ""
	switch {
	case plain && raw:
		return "", "", errors.New(needed + ", and not both")
	case b.FQDN != "" && b.Value != "":
		return b.FQDN, b.Value, nil
	case b.Domain == "" || b.KeyAuth == "":
		return "", "", errors.New(needed)
	}
	sum := sha256.Sum256([]byte(b.KeyAuth)) // RFC 8555 §8.4
	name = "_acme-challenge." + strings.TrimPrefix(b.Domain, "*.")
	return name, base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// appendText returns the change that appends a TXT record, with the zone's TTL.
func appendText(owner record.Name, text string) (hosting.Change, error) {
	c := hosting.Change{Zone: owner}
	c.Op = record.Append
	r, err := record.At(owner, "TXT", 0, text)
	if err != nil {
		return c, hosting.Errorf(api.InvalidRecord, "%w", err)
	}
	r.TTL = hosting.DefaultTTL
	c.Records = []record.Record{r}
	return c, nil
}

// deleteText returns the change that deletes a TXT record.
func deleteText(owner record.Name, text string) (hosting.Change, error) {
	c := hosting.Change{Zone: owner}
	c.Op = record.Delete
	m, err := record.MatchAt(owner, "TXT", nil, &text)
	if err != nil {
		return c, hosting.Errorf(api.InvalidRecord, "%w", err)
	}
	c.Matches = []record.Match{m}
	return c, nil
}
