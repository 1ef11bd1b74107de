package bestdnstest

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/protocol"
)

// The API as the handler in Caddy has it, without what a test has no use for: bounds, turns of clients,
// the page, and the protocols of others.

// request is a call of the API, whose token is known.
type request struct {
	*http.Request
	service *hosting.Service
	who     hosting.Caller
}

// call answers a request with a value to be written as JSON, or an error of hosting.
type call func(r request) (answer any, err error)

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, call := range map[string]call{
		"GET /v1/zones":                  getZones,
		"GET /v1/token":                  getToken,
		"GET /v1/zones/{zone}/records":   getRecords,
		"PATCH /v1/zones/{zone}/records": patchRecords,
		"POST /v1/zones/{zone}/wait":     postWait,
	} {
		mux.Handle(pattern, s.serve(call))
	}
	return mux
}

func (s *Server) serve(call call) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		service := s.service
		s.mu.Unlock()
		req := request{r, service, hosting.Caller{Address: "127.0.0.1", RequestID: uuid.NewString(), Protocol: "api"}}
		w.Header().Set("X-Request-Id", req.who.RequestID)
		answer, err := func() (any, error) {
			token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			if req.who.Client = service.Clients().ByDigest(access.DigestOf(token)); req.who.Client == nil {
				return nil, hosting.Errorf(api.Unauthorized, "the token is not accepted: Server.Token of the test makes one")
			}
			return call(req)
		}()
		if err != nil {
			protocol.WriteProblem(w, hosting.AsError(err, ""), req.who.RequestID)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	})
}

func getZones(r request) (any, error) {
	zones := api.Zones{Zones: []api.Zone{}}
	for _, zone := range r.service.ZonesOf(r.who.Client) {
		zones.Zones = append(zones.Zones, api.Zone{Name: zone.Apex.String()})
	}
	return zones, nil
}

func getToken(r request) (any, error) {
	token := api.Token{Client: r.who.Client.Name(), Rights: []string{}}
	for _, rule := range r.who.Client.Rules() {
		token.Rights = append(token.Rights, rule.String())
	}
	return token, nil
}

func getRecords(r request) (any, error) {
	query, err := protocol.ParseQuery(r.URL.RawQuery, "name", "type")
	if err != nil {
		return nil, hosting.Errorf(api.BadRequest, "%w", err)
	}
	want, err := protocol.Query(r.PathValue("zone"), query["name"], query["type"])
	if err != nil {
		return nil, err
	}
	found, err := r.service.Records(r.Context(), r.who.Client, want)
	if err != nil {
		return nil, err
	}
	answer := api.Records{Records: []api.Record{}}
	for entry := range found {
		answer.Records = append(answer.Records, entry.Record(want.Zone))
	}
	return answer, nil
}

func patchRecords(r request) (any, error) {
	change, err := r.change()
	if err != nil {
		return nil, err
	}
	made, err := r.service.Change(r.Context(), r.who, change)
	if err != nil {
		return nil, err
	}
	return protocol.Records(change.Zone, made), nil
}

// postWait has nothing to wait for: the name server has a change when it is answered.
func postWait(r request) (any, error) {
	change, err := r.change()
	if err != nil {
		return nil, err
	}
	made, err := r.service.Made(r.who, change)
	if err != nil {
		return nil, err
	}
	return protocol.Wait(made), nil
}

// change reads the body.
func (r request) change() (hosting.Change, error) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return hosting.Change{}, hosting.Errorf(api.BadRequest, "reading the body: %w", err)
	}
	body, err := protocol.ReadChange(text)
	if err != nil {
		return hosting.Change{}, err
	}
	zone, err := protocol.ParseZone(r.PathValue("zone"))
	if err != nil {
		return hosting.Change{}, err
	}
	return protocol.Change(zone, body), nil
}
