package protocol

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
)

// The protocols that have one kind of change for each request, and their naive readings.

// make has a client make a change that was read out of a request.
func (w *rightsWorld) make(client *access.Client, change hosting.Change, err error) answer {
	if err != nil {
		return answerOf(err)
	}
	_, err = w.s.Change(w.t.Context(), hosting.Caller{Client: client}, change)
	return answerOf(err)
}

// owned makes an item at a name that has to do with the client.
func (w *rightsWorld) owned(client string) item {
	it := item{valid: true, owner: w.name(), typ: "TXT"}
	if w.chance(85) {
		rule := pick(w, w.naive[client].rules...).meaning()
		for i := 0; i < 3 && rule.verb != "allow" && rule.verb != "certificates"; i++ {
			rule = pick(w, w.naive[client].rules...).meaning()
		}
		it.owner = slices.Clone(rule.name)
		if rule.under && w.chance(50) {
			it.owner = append(labels{pick(w, "a", "b", "x")}, it.owner...)
		}
		if rule.verb == "certificates" {
			it.owner = append(labels{"_acme-challenge"}, it.owner...)
		}
	}
	return it
}

// say gives an item a text.
func (w *rightsWorld) say(it *item, text string) {
	it.says = &text
	it.plain = plainName.MatchString(strings.Join(it.owner, ".")) && !slices.Contains(it.owner, "a.b") &&
		plainData.MatchString(text) && !strings.ContainsAny(text, `"\`)
}

// httpreq presents or cleans up a value as lego does, in one of its two modes.
func (w *rightsWorld) httpreq() {
	w.t.Helper()
	client := pick(w, w.clients...)
	q := request{by: "httpreq", client: client, rules: w.naive[client], kind: pick(w, "append", "append", "delete")}
	it := w.owned(client)
	body := map[string]any{}
	if w.chance(50) {
		q.by = "httpreq in RAW mode"
		if it.owner = slices.DeleteFunc(it.owner, func(l string) bool { return l == "_acme-challenge" || l == "" }); len(it.owner) == 0 {
			it.owner = labels{"org"}
		}
		domain, key := w.text(it.owner), "token."+pick(w, "A", "B", "C")
		if it.owner[0] == "*" { // whose challenge is that of the domain
			it.owner = it.owner[1:]
			domain = "*." + w.text(it.owner)
		}
		sum := sha256.Sum256([]byte(key))
		w.say(&it, base64.RawURLEncoding.EncodeToString(sum[:]))
		it.owner = append(labels{"_acme-challenge"}, it.owner...)
		body["domain"], body["token"], body["keyAuth"] = domain, "token", key
		if domain == "." || domain == "*.." {
			it.valid = false
		}
	} else {
		w.say(&it, w.says())
		body["fqdn"], body["value"] = strings.TrimSuffix(w.text(it.owner), ".")+".", *it.says
		if w.chance(6) {
			body["fqdn"] = pick(w, append([]string{""}, noNames...)...)
			it.valid = false
		}
		if *it.says == "" {
			it.valid = false
		}
	}
	switch {
	case w.chance(2):
		body["domain"], body["keyAuth"], body["fqdn"], body["value"] = "a.org", "b", "a.org.", "c"
		it.valid = false
	case w.chance(2):
		body = map[string]any{}
		it.valid = false
	case w.chance(2):
		body["fqdn"] = 7
		it.valid = false
	}
	q.asked, q.items = it.owner, []item{it}
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	q.what = fmt.Sprintf("%s %s %s", q.by, q.kind, text)
	change, echo, err := HTTPReq(text, q.kind == "append")
	if err == nil {
		var got map[string]any
		if json.Unmarshal(echo, &got) != nil || got["fqdn"] != body["fqdn"] || got["value"] != body["value"] {
			w.failf(client, "%s: echoed as %s", q.what, echo)
		}
	}
	w.settle(q, w.make(w.s.Clients().ByName(client), change, err))
}

// acmeDNS has an account, or a client of the configuration, update a value as acme-dns has it. What
// is sent is mostly what is known of one account, and may be of another.
func (w *rightsWorld) acmeDNS() {
	w.t.Helper()
	if len(w.accounts) == 0 || w.chance(25) {
		w.acmeDNSOfClient()
		return
	}
	a := pick(w, w.accounts...)
	user, key, label := a.username, a.password, a.label
	other := pick(w, w.accounts...)
	switch w.IntN(8) {
	case 0:
		user = pick(w, other.username, "", a.registrar, strings.ToUpper(user))
	case 1:
		key = pick(w, other.password, "", key[1:], key+"A", key+"\n", "A"+key[1:], key[:len(key)-1]+"_")
	case 2:
		label = pick(w, other.label, "", strings.ToUpper(label), label+".", "x."+label, "00000000-0000-4000-8000-000000000000")
	}
	from := pick(w, netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7"))
	it := item{valid: true, owner: a.rules.account, typ: "TXT"}
	w.say(&it, w.says())
	body, err := json.Marshal(map[string]string{"subdomain": label, "txt": *it.says})
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := ReadACMEDNSUpdate(body)
	if err != nil {
		w.failf(a.registrar, "%s: %v", body, err)
	}
	what := fmt.Sprintf("acme-dns %q %q %s from %s", user, key, body, from)
	client, found, err := w.s.Clients().ByAccount(w.t.Context(), user, key, u.Subdomain, nil)
	if err == nil && client != nil {
		err = w.s.Accept(hosting.Caller{Client: client}, from)
	}
	accepted := err == nil && client != nil
	switch may := a.accepts(from) && strings.EqualFold(user, a.username) && key == a.password && label == a.label; {
	case accepted != may:
		w.failf(a.registrar, "%s: accepted: %v (%v), want %v\naccount %+v", what, accepted, err, may, a)
	case !accepted:
		w.seen["refused an account"]++
		return
	case found == nil || !client.IsAccount() || client.Registrar().Name() != a.registrar:
		w.failf(a.registrar, "%s: taken for %q, %+v", what, client.Name(), found)
	}
	change, err := u.Account(found)
	if w.chance(20) { // at a name that is not its own, which no protocol asks for
		it.owner = pick(w, other.rules.account, a.rules.account[1:], append(labels{"x"}, a.rules.account...), append(labels{"_acme-challenge"}, a.rules.account...), w.name())
		change, err = appendText(w.parse(it.owner), *it.says)
	}
	q := request{what: what, by: "a registered account", client: a.registrar, rules: a.rules, kind: "append", asked: it.owner, items: []item{it}}
	if a.imported {
		q.by = "an imported account"
	}
	w.settle(q, w.make(client, change, err))
}

// acmeDNSOfClient has a client of the configuration update the value of a domain.
func (w *rightsWorld) acmeDNSOfClient() {
	w.t.Helper()
	name := pick(w, w.clients...)
	it := w.owned(name)
	if len(it.owner) > 0 && it.owner[0] == "_acme-challenge" {
		it.owner = it.owner[1:]
	}
	domain := w.text(it.owner)
	if len(it.owner) > 0 && it.owner[0] == "*" {
		it.owner = it.owner[1:]
		domain = "*." + w.text(it.owner)
		it.valid = domain != "*.."
	}
	if w.chance(6) {
		domain, it.valid = pick(w, append([]string{""}, noNames...)...), false
	}
	it.owner = append(labels{"_acme-challenge"}, it.owner...)
	w.say(&it, w.says())
	u := ACMEDNSUpdate{Subdomain: domain, Text: *it.says}
	client := w.s.Clients().ByDigest(access.DigestOf(tokenOf(name)))
	change, err := u.Client()
	q := request{
		what: fmt.Sprintf("acme-dns %+v by its token", u), by: "acme-dns", client: name, rules: w.naive[name],
		kind: "append", asked: it.owner, items: []item{it},
	}
	if !naiveValue.MatchString(u.Text) { // whatever other rights there are
		q.items[0].valid = false
	}
	w.settle(q, w.make(client, change, err))
}

// dynDNS sets the addresses of a host as a router does.
func (w *rightsWorld) dynDNS() {
	w.t.Helper()
	name := pick(w, w.clients...)
	it := w.owned(name)
	if len(it.owner) > 0 && it.owner[0] == "_acme-challenge" {
		it.owner = it.owner[1:]
	}
	host := strings.TrimSuffix(w.text(it.owner), ".") + pick(w, "", ".")
	it.valid = naiveHostName.MatchString(it.owner.slashed())
	it.plain = true
	addresses := map[string]string{"A": "", "AAAA": ""}
	query := url.Values{"hostname": {host}}
	caller := netip.Addr{}
	switch w.IntN(4) {
	case 0:
		addresses["A"] = fmt.Sprintf("192.0.2.%d", w.IntN(4))
		query.Set("myip", addresses["A"]+pick(w, "", ","))
	case 1:
		addresses["AAAA"] = fmt.Sprintf("2001:db8::%d", 1+w.IntN(3))
		query.Set("myip", "")
		query.Set("myipv6", addresses["AAAA"])
	case 2:
		addresses["A"], addresses["AAAA"] = fmt.Sprintf("192.0.2.%d", w.IntN(4)), "2001:db8::1"
		query.Set("myip", addresses["AAAA"]+","+addresses["A"])
	default:
		addresses["A"] = fmt.Sprintf("192.0.2.%d", w.IntN(4))
		caller = netip.MustParseAddr(pick(w, "", "::ffff:") + addresses["A"])
	}
	q := request{by: "dyndns2", client: name, rules: w.naive[name], kind: "set", asked: it.owner}
	for _, typ := range []string{"A", "AAAA"} {
		if address := addresses[typ]; address != "" {
			one := it
			one.typ, one.sent = typ, api.Record{Type: typ, Data: &address}
			q.items = append(q.items, one)
		}
	}
	w.nicUpdate(q, query.Encode(), caller)
	if w.chance(30) { // routers send it again and again
		w.nicUpdate(q, query.Encode(), caller)
	}
}

// nicUpdate sends what a router does.
func (w *rightsWorld) nicUpdate(q request, query string, caller netip.Addr) {
	w.t.Helper()
	q.what = fmt.Sprintf("/nic/update?%s from %s", query, caller)
	client := w.s.Clients().ByName(q.client)
	wanted, err := ReadDynDNS(query, caller)
	if err != nil {
		w.settle(q, answerOf(err))
		return
	}
	if len(wanted.Hosts) != 1 { // no name here has a comma
		w.failf(q.client, "%s: read as %q", q.what, wanted.Hosts)
	}
	change, err := wanted.Change(wanted.Hosts[0])
	if err == nil {
		found, failed := w.s.Records(w.t.Context(), client, hosting.Query{Zone: change.Zone, Name: change.Zone})
		if failed == nil && wanted.Has(slices.Collect(found)) && w.s.MayChange(hosting.Caller{Client: client}, change) {
			w.seen["dyndns2 has nothing to change"]++
			w.sameAddresses(q)
			return
		}
	}
	a := w.make(client, change, err)
	if word := DynDNSWord(hosting.Errorf(a.problem.Kind(), "")); a.status == http.StatusForbidden && word != "nohost" {
		w.failf(q.client, "%s: %s", q.what, word)
	}
	w.settle(q, a)
}

// sameAddresses: a host of which nothing was changed has just the addresses, and its client a right
// to them.
func (w *rightsWorld) sameAddresses(q request) {
	w.t.Helper()
	zone, may, why := w.judge(q)
	if !may {
		w.failf(q.client, "%s: answered that nothing changes, without a right to see that: %s", q.what, why)
	}
	for _, it := range q.items {
		records, same := 0, false
		for _, h := range w.state[zone.name.slashed()] {
			if slices.Equal(h.owner, it.owner) && h.typ == it.typ {
				records, same = records+1, h.data == *it.sent.Data
			}
		}
		if records != 1 || !same {
			w.failf(q.client, "%s: nothing was changed, and the host has %d %s records or another address", q.what, records, it.typ)
		}
	}
}
