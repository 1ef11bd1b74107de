package protocol

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
)

// The naive reading of what is remembered of zones with a DNS provider, which does not say whose a
// record is: the answers to challenges, and who has added each.

// rememberedKey is what a record is remembered by.
func rememberedKey(zone, owner labels, text string) string {
	return zone.slashed() + " " + owner.slashed() + " " + text
}

// noted returns what an item of a request is remembered by, if it is in a zone with a provider, and
// whether it is the answer to a challenge under a right to certificates.
func (w *rightsWorld) noted(q request, it item) (key string, challenge, isNoted bool) {
	z, owner := q.rules.placed(q.asked, it.owner, it.typ)
	if !w.remembers || z == nil || !z.provider || it.typ != "TXT" || it.says == nil || q.kind == "delete" {
		return "", false, false
	}
	challenge = q.kind == "append" && naiveValue.MatchString(*it.says) && q.rules.challenge(z, owner)
	return rememberedKey(z.name, owner, *it.says), challenge, true
}

// remember takes note of what a request has added.
func (w *rightsWorld) remember(q request, after map[string]map[string]held) {
	w.t.Helper()
	before := maps.Clone(w.remembered)
	for _, it := range q.items {
		key, challenge, ok := w.noted(q, it)
		switch {
		case !ok:
		case challenge:
			w.remembered[key] = q.client
		default:
			delete(w.remembered, key)
		}
	}
	w.forgetGone(after)
	if over := w.limits.overRemembered(before, w.remembered); over != "" {
		w.failf(q.client, "%s\nlet through over the limit: %s", q.what, over)
	}
}

// renote takes note of a request that its zone's provider has not been asked for in the end: what
// was remembered before is the client's now.
func (w *rightsWorld) renote(q request) {
	for _, it := range q.items {
		key, challenge, ok := w.noted(q, it)
		_, known := w.remembered[key]
		switch {
		case !ok || !known:
		case challenge:
			w.remembered[key] = q.client
		default:
			delete(w.remembered, key)
		}
	}
}

// forgetGone forgets what is not there any more.
func (w *rightsWorld) forgetGone(after map[string]map[string]held) {
	there := make(map[string]bool)
	for _, z := range w.zones {
		for _, h := range after[z.name.slashed()] {
			if h.typ == "TXT" {
				there[rememberedKey(z.name, h.owner, h.data)] = true
			}
		}
	}
	maps.DeleteFunc(w.remembered, func(key, _ string) bool { return !there[key] })
}

// overLimit returns which limit a request is over, "" if none.
func (w *rightsWorld) overLimit(zone *naiveZone, q request) string {
	if !zone.provider {
		return w.limits.over(w.written, w.wouldBe(q))
	}
	next := maps.Clone(w.remembered)
	for _, it := range q.items {
		if key, challenge, ok := w.noted(q, it); ok && challenge {
			next[key] = q.client
		}
	}
	return w.limits.overRemembered(w.remembered, next)
}

// overRemembered returns a name at which more is remembered than may be, and more than was.
func (l naiveLimits) overRemembered(before, after map[string]string) string {
	at := func(all map[string]string) map[string]int {
		n := make(map[string]int)
		for key := range all {
			zone, rest, _ := strings.Cut(key, " ")
			owner, _, _ := strings.Cut(rest, "/ ")
			n[zone+" "+owner]++
		}
		return n
	}
	was := at(before)
	for name, is := range at(after) {
		if is > l.domainChallenges && is > was[name] {
			return name
		}
	}
	return ""
}

// keyStorage keeps values in memory. Listing those of all folders fails, so that nothing is deleted because it
// has expired.
type keyStorage struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (s *keyStorage) Store(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[key] = value
	return nil
}

func (s *keyStorage) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return value, nil
}

func (s *keyStorage) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, key)
	return nil
}

func (s *keyStorage) List(_ context.Context, folder string, recursive bool) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if recursive {
		return nil, errors.New("not now")
	}
	var keys []string
	for key := range s.values {
		if path.Dir(key) == folder {
			keys = append(keys, key)
		}
	}
	return slices.Clip(keys), nil
}

func (s *keyStorage) Lock(context.Context, string) error   { return nil }
func (s *keyStorage) Unlock(context.Context, string) error { return nil }
