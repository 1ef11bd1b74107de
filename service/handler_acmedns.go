package service

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/protocol"
	"github.com/caddy-dns/bestdns/internal/text"
)

// acmeDNSRoute returns the route of a path of acme-dns' protocol. A client that knows no credential for
// registration has it in the server's path: /r/TOKEN/register, and then /r/TOKEN/update too.
func acmeDNSRoute(path string) (found route, known bool) {
	token := ""
	if rest, ok := strings.CutPrefix(path, "/r/"); ok {
		token, path, _ = strings.Cut(rest, "/")
		path = "/" + path
	}
	found = route{open: true, fail: protocol.WriteACMEDNSError, secret: true}
	switch path {
	case "/update":
		found.post = (*Handler).postUpdate
	case "/register":
		found.post = (*Handler).postRegister
	case "/health":
		found.get = (*Handler).getACMEDNSHealth
		found.secret = token != ""
	default:
		if token == "" {
			return route{}, false
		}
		// Other handlers, and their logs, are not to have it. It has no methods.
	}
	var err error
	found.token, err = url.PathUnescape(token)
	if err != nil {
		found = route{open: true, secret: true}
	}
	return found, true
}

// postUpdate has an account, or a client of the configuration, answer a challenge.
func (h *Handler) postUpdate(w http.ResponseWriter, r *http.Request, req *request) error {
	if isEarlyData(r) { // of whom is not known yet, so that it has no line
		return errEarly()
	}
	body, err := readSmall(w, r)
	if err != nil {
		return err
	}
	update, err := protocol.ReadACMEDNSUpdate(body)
	if err != nil { // acme-dns finds out after the password, and says the same
		return hosting.Errorf(api.Unauthorized, "the body is not an update in JSON: %s", err).NotLetIn(hosting.WrongToken, nil)
	}
	client, account, err := req.app.byAccount(r, req.who, update.Subdomain)
	if err != nil {
		return err
	}
	if err := req.enter(r.Context(), client); err != nil {
		return err
	}
	change, err := update.Client()
	if account != nil {
		change, err = update.Account(account)
	}
	if err != nil {
		req.app.hosting.Unread(req.who, update.Subdomain, err)
		req.gates.requests.leave()
		return err
	}
	made, err := req.app.hosting.Change(r.Context(), req.who, change)
	req.gates.requests.leave() // what waits for name servers has bounds of its own
	if err == nil {
		err = req.app.hosting.Served(r.Context(), req.who, &made, hosting.ZoneWait)
	}
	if err != nil {
		return err
	}
	protocol.WriteACMEDNSUpdate(w, update)
	return nil
}

// byAccount returns the client that a request of acme-dns comes from: an account, which is nil for a
// client of the configuration, whose token is the password.
func (a *App) byAccount(r *http.Request, who hosting.Caller, subdomain string) (*access.Client, *access.Account, error) {
	address := addressOf(who)
	if len(r.Header.Values("X-Api-Key")) > 1 {
		// A proxy before this server may have looked at the other one.
		return nil, nil, hosting.Errorf(api.Unauthorized, "there are several X-Api-Key headers: send one").NotLetIn(hosting.WrongToken, nil)
	}
	user, key := r.Header.Get("X-Api-User"), r.Header.Get("X-Api-Key")
	clients := a.hosting.Clients()
	var account *access.Account
	client := clients.ByDigest(access.DigestOf(key))
	if client == nil {
		var err error
		client, account, err = clients.ByAccount(r.Context(), user, key, subdomain, func() bool { return slowHashes.wait(address, time.Now()) == 0 })
		switch {
		case errors.Is(err, access.ErrTooManyPasswords):
			e := hosting.Errorf(api.TooManyRequests, "%w; a right one that is known is accepted all the while", err)
			e.RetryAfter = slowHashes.interval
			return nil, nil, e.NotLetIn(hosting.Throttled, nil)
		case r.Context().Err() != nil:
			return nil, nil, errGone()
		case err != nil:
			return nil, nil, refusedAccount(user, subdomain, address, err)
		}
	}
	who.Client = client
	return client, account, a.hosting.Accept(who, address)
}

// refusedAccount is wrongToken for an account. Its text is for the log: the answer says no more than that
// it is not accepted.
func refusedAccount(user, subdomain string, address netip.Addr, why error) error {
	if wait := wrongTokens.wait(address, time.Now()); wait > 0 {
		e := hosting.Errorf(api.TooManyRequests, "too many wrong accounts from one address: user %q, subdomain %q: %w", brief(user), brief(subdomain), why)
		e.RetryAfter = wait
		return e.NotLetIn(hosting.Throttled, nil)
	}
	return hosting.Errorf(api.Unauthorized, "user %q, subdomain %q: %w", brief(user), brief(subdomain), why).NotLetIn(hosting.WrongToken, nil)
}

// brief shortens what a client sends instead of a user name, which may be anything.
func brief(s string) string { return text.Brief(s, 64) }

// postRegister makes an account.
func (h *Handler) postRegister(w http.ResponseWriter, r *http.Request, req *request) error {
	if isEarlyData(r) {
		return errEarly()
	}
	client, err := req.app.registrar(r, req.who, req.token)
	if err != nil {
		return err
	}
	body, err := readSmall(w, r) // which takes as long as the client likes
	if err != nil {
		return err
	}
	if err := req.enter(r.Context(), client); err != nil {
		return err
	}
	defer req.gates.requests.leave()
	networks, err := protocol.ReadACMEDNSRegistration(body)
	if err != nil {
		return err
	}
	account, err := client.Register(networks)
	if err != nil {
		return hosting.Errorf(api.Forbidden, "client %q: %w", client.Name(), err).NotLetIn(hosting.NoRight, client)
	}
	h.logger.Info("an account was registered", zap.String("client", text.Visible(client.Name())), zap.String("account", account.Label),
		zap.String("remote_ip", req.who.Address), zap.String("request_id", req.who.RequestID))
	protocol.WriteACMEDNSAccount(w, account)
	return nil
}

// registrar returns the client that wants an account, by the token in the path, or as the API has it.
func (a *App) registrar(r *http.Request, who hosting.Caller, token string) (*access.Client, error) {
	if token == "" {
		return a.authenticate(r, who)
	}
	address := addressOf(who)
	if who.Client = a.hosting.Clients().ByDigest(access.DigestOf(token)); who.Client == nil {
		return nil, wrongToken(token, address)
	}
	return who.Client, a.hosting.Accept(who, address)
}

// getACMEDNSHealth answers as acme-dns does: with nothing.
func (h *Handler) getACMEDNSHealth(_ http.ResponseWriter, _ *http.Request, req *request) error {
	return req.app.healthProblem()
}
