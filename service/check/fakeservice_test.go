package check

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// fakeService is a service whose zones are those of the world, by the rules of
// placing and rights that the real one has. The real one is checked in e2e.
type fakeService struct {
	world  *world
	token  string
	who    api.Token
	hosted []HostedZone
	target string // the zone marked cname_target, "" for none

	// How it is broken.
	turnsAway  string          // its client, and why
	unhealthy  string          // why
	failAppend string          // the kind of problem that every append ends with
	failRead   string          // that of every read
	keepOne    bool            // its provider has room for one value at a name
	cannotRead bool            // its provider cannot read
	failDelete bool            //
	onAppend   func()          // is called when an append is through
	mu         sync.Mutex      // guards what follows
	left       map[string]bool // values that are in a zone
}

func (f *fakeService) zones() record.Zones {
	zones := record.NewZones()
	for _, z := range f.hosted {
		apex, _ := record.ParseName(z.Name)
		zones[apex] = struct{}{}
	}
	return zones
}

// client returns the caller with its rights; everything for the running Caddy.
func (f *fakeService) client(local bool) *access.Client {
	target, _ := record.ParseName(f.target)
	if f.target == "" {
		target = ""
	}
	if local {
		return access.Local(f.zones(), target)
	}
	config := access.Config{Name: f.who.Client, Users: []string{f.who.Client}}
	for _, right := range f.who.Rights {
		rule, err := access.ParseRight(right)
		if err != nil {
			f.world.t.Fatal(err)
		}
		config.Rules = append(config.Rules, rule)
	}
	clients, err := access.New(f.zones(), target, []access.Config{config})
	if err != nil {
		f.world.t.Fatal(err)
	}
	return clients.ByUser(f.who.Client)
}

func (f *fakeService) listZones(client *access.Client) (list []api.Zone) {
	for apex := range f.zones() {
		if client.MayUse(apex) {
			list = append(list, api.Zone{Name: apex.String()})
		}
	}
	return list
}

// change does a change at one owner name, which is all that checks need.
func (f *fakeService) change(client *access.Client, zone string, change api.Change) (api.Records, *api.Problem) {
	asked, err := record.ParseName(zone)
	if err != nil {
		return api.Records{}, api.NewProblem(api.BadRequest, err.Error())
	}
	var answer api.Records
	apex, hosted := f.zones().Of(asked)
	owner := asked
	if !hosted {
		challenge, _ := record.ChallengeOf(asked)
		target, err := record.ParseName(f.target)
		if f.target == "" || err != nil || !client.MayCertify(challenge.Domain) {
			return answer, refusal(api.ZoneNotFound, "no zone that holds "+zone+" is hosted here, or this token has no right in it")
		}
		apex = target
		owner, _ = challenge.Target(apex)
		answer.CNAMEs = []api.CNAME{{Name: zone, Target: owner.String()}}
	}
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	z := f.world.zones[apex.String()]
	for _, r := range append(change.Append, change.Delete...) {
		if r.TTL != nil {
			f.world.t.Errorf("the TTL %d is asked for, which no real challenge does", *r.TTL)
		}
		parsed, err := record.At(owner, "TXT", 0, *r.Data)
		if ok, _ := client.MayWrite(apex, record.Append, parsed); err != nil || !ok {
			return api.Records{}, refusal(api.Forbidden, "client \"web\" may not append this TXT record at "+owner.String())
		}
		if kind := f.failAppend; kind != "" && change.Append != nil {
			p := refusal(kind, "zone \""+apex.String()+"\": its DNS provider failed; the service's log has the cause under this request id")
			p.RequestID = "7b0c"
			return api.Records{}, p
		}
		if f.failDelete && change.Delete != nil {
			return api.Records{}, refusal(api.ProviderFailed, "its DNS provider failed")
		}
		z.written = withoutText(z.written, owner.String(), *r.Data, f.keepOne && change.Append != nil)
		delete(f.left, *r.Data)
		if change.Append != nil {
			z.written = append(z.written, &dns.TXT{
				Hdr: dns.RR_Header{Name: owner.String(), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1}, Txt: []string{*r.Data},
			})
			f.left[*r.Data] = true
		}
		answer.Records = append(answer.Records, r)
	}
	if f.onAppend != nil && change.Append != nil {
		f.onAppend()
	}
	return answer, nil
}

func withoutText(records []dns.RR, owner, text string, all bool) (kept []dns.RR) {
	for _, rr := range records {
		txt := rr.(*dns.TXT)
		if txt.Hdr.Name != owner || !all && strings.Join(txt.Txt, "") != text {
			kept = append(kept, rr)
		}
	}
	return kept
}

func refusal(kind, detail string) *api.Problem {
	p := api.NewProblem(kind, detail)
	p.Unchanged = true
	return p
}

func (f *fakeService) records(zone string) (api.Records, *api.Problem) {
	if f.cannotRead {
		return api.Records{}, refusal(api.NotSupported, "the zone's DNS provider cannot list records")
	}
	if f.failRead != "" {
		return api.Records{}, refusal(f.failRead, "its primary name server refuses the transfer")
	}
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	answer := api.Records{Records: []api.Record{}}
	for _, z := range f.world.zones {
		for _, rr := range z.written {
			if txt := rr.(*dns.TXT); txt.Hdr.Name == zone {
				answer.Records = append(answer.Records, api.Record{Name: "@", Type: "TXT", Data: &txt.Txt[0]})
			}
		}
	}
	return answer, nil
}

// ServeHTTP is its API.
func (f *fakeService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	write := func(answer any, p *api.Problem) {
		w.Header().Set("Content-Type", "application/json")
		if p != nil {
			answer = p
			w.Header().Set("Content-Type", api.ProblemContentType)
			w.WriteHeader(p.Status)
		}
		json.NewEncoder(w).Encode(answer)
	}
	if r.URL.Path == "/v1/health" {
		if f.unhealthy != "" {
			write(nil, refusal(api.Internal, f.unhealthy))
			return
		}
		write(api.Health{Status: "ok"}, nil)
		return
	}
	if !strings.HasPrefix(r.URL.Path, "/v1/") {
		http.NotFound(w, r)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+f.token {
		write(nil, refusal(api.Unauthorized, "no client has this token"))
		return
	}
	if f.turnsAway != "" {
		write(nil, refusal(api.Unauthorized, f.turnsAway))
		return
	}
	zone, _ := url.PathUnescape(strings.TrimSuffix(strings.TrimPrefix(r.URL.EscapedPath(), "/v1/zones/"), "/records"))
	switch {
	case r.URL.Path == "/v1/token":
		write(f.who, nil)
	case r.URL.Path == "/v1/zones":
		write(api.Zones{Zones: f.listZones(f.client(false))}, nil)
	case r.Method == http.MethodPatch:
		var change api.Change
		if err := json.NewDecoder(r.Body).Decode(&change); err != nil {
			write(nil, refusal(api.BadRequest, err.Error()))
			return
		}
		answer, p := f.change(f.client(false), zone, change)
		write(answer, p)
	default:
		answer, p := f.records(zone)
		write(answer, p)
	}
}

// fakeRunning is the same service in a running Caddy.
type fakeRunning struct {
	*fakeService
	down error
}

func (f fakeRunning) String() string { return "the Caddy at localhost:2019" }

func (f fakeRunning) Hosting(context.Context) ([]HostedZone, error) { return f.hosted, f.down }

func (f fakeRunning) GetRecords(_ context.Context, zone string) (list []libdns.Record, err error) {
	answer, p := f.records(zone)
	if p != nil {
		return nil, &api.Error{Problem: *p}
	}
	for _, r := range answer.Records {
		list = append(list, r.Libdns())
	}
	return list, nil
}

func (f fakeRunning) Change(_ context.Context, zone string, change api.Change) (api.Records, error) {
	answer, p := f.change(f.client(true), zone, change)
	if p != nil {
		return answer, &api.Error{Problem: *p}
	}
	return answer, nil
}
