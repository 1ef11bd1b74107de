package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
)

// accounts returns the URIs of the ACME accounts with a CA that are in Caddy's
// storage, and how to find one where there are none.
func (c *checkedConfig) accounts(ctx context.Context, ca string) (uris []string, help string) {
	help = "find it in Caddy's storage, the user's that runs Caddy: it is \"location\" in acme/<CA>/users/<e-mail>/*.json; or in Caddy's log, where an account is registered; and give it with --account-uri"
	modules, cancel := caddy.NewContext(caddy.Context{Context: ctx})
	defer cancel()
	storage, err := c.openStorage(modules)
	if err != nil {
		return nil, help
	}
	const prefix = "acme" // certmagic's
	keys, err := storage.List(ctx, prefix, true)
	if err != nil {
		return nil, help
	}
	for _, key := range keys {
		if path.Ext(key) != ".json" || !strings.Contains(key, "/users/") {
			continue
		}
		text, err := storage.Load(ctx, key)
		if err != nil {
			continue
		}
		var account struct {
			Status   string `json:"status"`
			Location string `json:"location"`
		}
		if json.Unmarshal(text, &account) == nil && account.Status == "valid" && isAccountAt(account.Location, ca) {
			uris = append(uris, account.Location)
		}
	}
	slices.Sort(uris)
	return slices.Compact(uris), help
}

// isAccountAt reports whether an account is with the CA of that domain name, and
// not with its staging environment, whose certificates no one trusts.
func isAccountAt(location, ca string) bool {
	u, err := url.Parse(location)
	if err != nil {
		return false
	}
	host := u.Hostname()
	return (host == ca || strings.HasSuffix(host, "."+ca)) && !strings.Contains(host, "staging")
}

// openStorage returns Caddy's storage, the configured one if there is any.
func (c *checkedConfig) openStorage(ctx caddy.Context) (certmagic.Storage, error) {
	if c.storage == nil {
		return caddy.DefaultStorage, nil
	}
	module, err := ctx.LoadModule(&caddy.Config{StorageRaw: c.storage}, "StorageRaw")
	if err != nil {
		return nil, err
	}
	converter, ok := module.(caddy.StorageConverter)
	if !ok {
		return nil, fmt.Errorf("the storage is a %T", module)
	}
	return converter.CertMagicStorage()
}
