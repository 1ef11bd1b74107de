package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/clientfile"
)

// This file changes the clients of the service where they are configured: in the Caddyfile, and in
// the Caddy that runs.

// clientEdit is a change of one client.
type clientEdit struct {
	name string
	// change returns the client as it is to be: old is nil if there is none of that name; to return nil removes it.
	// Of a client that stays, either the tokens or the day on which it expires may be changed.
	change func(old *Client) (*Client, error)
}

// edited says what became of a change.
type edited struct {
	// File is what was written, or removed with the last client in it; "" if the configuration is in no Caddyfile.
	File string `json:"file,omitempty"`
	// Running is set if the Caddy that runs has it.
	Running bool `json:"running"`
	// Note says what is left to do.
	Note string `json:"note,omitempty"`

	old, new *Client
	emptied  bool   // the file had nothing but the client
	cut      string // the lines that were removed from the file
}

// String says it for people.
func (e edited) String() string {
	var parts []string
	if e.File != "" && e.emptied {
		parts = append(parts, fmt.Sprintf("The file %s is removed.", e.File))
	} else if e.File != "" {
		parts = append(parts, fmt.Sprintf("Written to %s.", e.File))
	}
	if e.Running {
		parts = append(parts, "The running Caddy has it.")
	}
	if e.Note != "" {
		parts = append(parts, e.Note)
	}
	return strings.Join(parts, " ")
}

// apply makes the change in the configuration file, has Caddy adapt it to see that nothing else has changed,
// and hands it to the running Caddy. Where one of these fails, the file is as it was before.
func (e clientEdit) apply(admin adminFlags) (done edited, err error) {
	file, err := admin.file()
	if err != nil {
		return done, err
	}
	if file == "" {
		return e.applyRunning(admin)
	}
	if err := admin.checkCaddyfile(); err != nil {
		return done, err
	}
	unlock, err := clientfile.Lock(file)
	if err != nil {
		return done, fmt.Errorf("changing client %q: %w", e.name, err)
	}
	defer unlock()
	config, err := readCheckedConfig(file, admin.adapter)
	if err != nil {
		return done, err
	}
	before, err := e.read(config)
	if err != nil {
		return done, err
	}
	text, err := clientfile.Read(file)
	if err != nil {
		return done, fmt.Errorf("changing client %q: %w", e.name, err)
	}
	edit, err := before.inFile(text)
	if err != nil {
		return done, fmt.Errorf("changing client %q: %w", e.name, err)
	}
	if err := edit.Write(); err != nil {
		return done, fmt.Errorf("changing client %q: %w", e.name, err)
	}
	done = edited{File: edit.Path, old: before.old, new: before.new, emptied: edit.After == nil, cut: edit.Cut}
	if err := before.isIn(file, admin.adapter); err != nil {
		return edited{}, errors.Join(err, edit.Undo().Write())
	}
	if done.Running, done.Note, err = before.run(admin); err != nil {
		return edited{}, errors.Join(err, edit.Undo().Write())
	}
	return done, nil
}

// file returns the path of the configuration file: that of --config or, if no other flag says where the service is,
// a Caddyfile in this folder, as "caddy reload" has it. It is "" if there is none.
func (f *adminFlags) file() (string, error) {
	const usual = "Caddyfile"
	if f.config == "" && f.address == "" && f.adapter == "" {
		if _, err := os.Stat(usual); err == nil {
			f.config = usual
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if f.config == "" {
		return "", nil
	}
	return filepath.Abs(f.config)
}

// written returns the flags as they are given again.
func (f *adminFlags) written() (flags string) {
	for _, flag := range [][2]string{{"--config", f.config}, {"--address", f.address}, {"--adapter", f.adapter}} {
		if flag[1] != "" {
			flags += " " + flag[0] + " " + shellQuote(flag[1])
		}
	}
	return flags
}

// live reads the configuration of the running Caddy.
func (f *adminFlags) live() (config checkedConfig, err error) {
	address, err := f.endpoint(nil)
	if err != nil {
		return config, err
	}
	live, err := readLive(address)
	if err != nil {
		return config, err
	}
	return live.parse()
}

// checkCaddyfile refuses files of other forms, which are not changed.
func (f *adminFlags) checkCaddyfile() error {
	base := strings.ToLower(filepath.Base(f.config))
	if f.adapter == "caddyfile" || strings.HasPrefix(base, "caddyfile") || strings.HasSuffix(base, ".caddyfile") {
		return nil
	}
	if _, err := os.Stat(f.config); err != nil {
		return err
	}
	return fmt.Errorf("%s is not a Caddyfile, and only those are changed: change it yourself, or name the running Caddy with --address to change that alone", f.config)
}

// plannedEdit is a change of the service's configuration as JSON.
type plannedEdit struct {
	clientEdit
	old, new *Client
	// app is the configuration of the app before it, changed after it.
	app, changed json.RawMessage
	// config is the whole configuration of the file, for the address of the admin endpoint.
	config []byte
}

// read plans the change of a configuration.
func (e clientEdit) read(config checkedConfig) (*plannedEdit, error) {
	if config.app == nil {
		return nil, fmt.Errorf("changing client %q: %s has no global option bestdns; --config names the service's configuration", e.name, config.file)
	}
	p, err := e.plan(appIn(config.text))
	if err != nil {
		return nil, err
	}
	p.config = config.text
	return p, p.check(config)
}

// appIn returns the app's part of a configuration.
func appIn(config []byte) json.RawMessage {
	var known struct {
		Apps struct {
			BestDNS json.RawMessage `json:"bestdns"`
		} `json:"apps"`
	}
	_ = json.Unmarshal(config, &known) // what cannot be read has no app
	return known.Apps.BestDNS
}

// plan works the change out.
func (e clientEdit) plan(app json.RawMessage) (p *plannedEdit, err error) {
	p = &plannedEdit{clientEdit: e, app: app}
	var options map[string]json.RawMessage
	if err := json.Unmarshal(app, &options); err != nil || options == nil {
		return nil, fmt.Errorf("changing client %q: the configuration of the app bestdns is not an object", e.name)
	}
	var list []json.RawMessage
	if clients, ok := options["clients"]; ok {
		err = json.Unmarshal(clients, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("changing client %q: the list of clients cannot be read: %w", e.name, err)
	}
	at := -1
	for i, raw := range list {
		client := new(Client)
		if err := json.Unmarshal(raw, client); err != nil {
			return nil, fmt.Errorf("changing client %q: a client of the configuration cannot be read: %w", e.name, err)
		}
		if client.Name == e.name {
			at, p.old = i, client
		}
	}
	if p.new, err = e.change(p.old); err != nil {
		return nil, err
	}
	switch {
	case p.new == nil && at < 0: // the running Caddy does not have it
	case p.new == nil:
		list = slices.Delete(list, at, at+1)
	case at < 0:
		list = append(list, nil)
		at = len(list) - 1
		fallthrough
	default:
		if list[at], err = json.Marshal(p.new); err != nil {
			return nil, err
		}
	}
	delete(options, "clients")
	if len(list) > 0 {
		if options["clients"], err = json.Marshal(list); err != nil {
			return nil, err
		}
	}
	p.changed, err = json.Marshal(options)
	return p, err
}

// check judges the client as the service will when it loads it.
func (p *plannedEdit) check(config checkedConfig) error {
	if p.new == nil {
		return nil
	}
	zones, err := config.zones()
	if err != nil {
		return err
	}
	client, err := p.new.access()
	if err != nil {
		return fmt.Errorf("client %q: %w", p.name, err)
	}
	all, target := apexes(zones)
	_, err = access.New(all, target, []access.Config{client})
	return err
}

// inFile returns the change of the file.
func (p *plannedEdit) inFile(text *clientfile.Config) (clientfile.Edit, error) {
	switch {
	case p.old == nil:
		return text.Add(label(p.name), p.new.caddyfile(""))
	case p.new == nil:
		return text.Remove(p.name)
	case p.old.Expires != p.new.Expires:
		return text.Set(p.name, "expires", []string{p.new.Expires})
	default:
		return text.Set(p.name, "token", p.new.Tokens)
	}
}

// isIn reports, by an error, whether a file that was changed does not say what was planned: because of an import or a
// snippet that its lines do not show, for example.
func (p *plannedEdit) isIn(file, adapter string) error {
	config, _, _, err := caddycmd.LoadConfig(file, adapter)
	if err == nil && !p.sameButFor(config) {
		err = errors.New("the changed lines would have changed more than the client, or not this client")
	}
	if err != nil {
		return fmt.Errorf("changing client %q in %s, which is left as it was: %w; change it yourself", p.name, file, err)
	}
	return nil
}

// sameButFor reports whether a configuration is the one before with the change.
func (p *plannedEdit) sameButFor(config []byte) bool {
	return reflect.DeepEqual(withApp(p.config, p.changed), withApp(config, appIn(config)))
}

// withApp returns a configuration with an app bestdns in place of its own.
func withApp(config []byte, app json.RawMessage) any {
	var all struct {
		Apps map[string]any `json:"apps"`
		Rest map[string]any `json:"-"`
	}
	if json.Unmarshal(config, &all) != nil || json.Unmarshal(config, &all.Rest) != nil {
		return nil
	}
	delete(all.Rest, "apps")
	delete(all.Apps, "bestdns")
	return []any{all.Rest, all.Apps, inOrder(app)}
}

// inOrder returns the app's configuration with its clients in one order: an import has another one than the
// running Caddy, to which clients were added one after the other, and nothing depends on it.
func inOrder(app json.RawMessage) map[string]any {
	var options map[string]any
	if json.Unmarshal(app, &options) != nil {
		return nil
	}
	clients, _ := options["clients"].([]any)
	slices.SortFunc(clients, func(x, y any) int { return strings.Compare(fmt.Sprint(x), fmt.Sprint(y)) })
	options["clients"] = clients
	return options
}

// run makes the same change in the running Caddy, if that runs this service.
func (p *plannedEdit) run(admin adminFlags) (running bool, note string, err error) {
	address, err := admin.endpoint(p.config)
	if err != nil {
		return false, "", err
	}
	live, err := readLive(address)
	for try := 0; errors.Is(err, errNotRunning) && try < 5; try++ {
		time.Sleep(100 * time.Millisecond) // for a moment after each load, nothing answers
		live, err = readLive(address)
	}
	switch {
	case errors.Is(err, errNotRunning):
		return false, fmt.Sprintf("No Caddy answers at its admin endpoint %s. It has the change when it starts; one that runs without that endpoint has to be restarted, and goes on as before until then.", address), nil
	case err != nil:
		return false, "", err
	case !sameService(appIn(live.text), p.app):
		return false, fmt.Sprintf("The Caddy at %s runs another configuration, with none of these zones, and was left as it is.", address), nil
	}
	there := p.clientEdit
	there.change = func(*Client) (*Client, error) { return p.new, nil }
	planned, err := there.plan(appIn(live.text))
	if err != nil {
		return false, "", err
	}
	return true, "", live.change(planned.changed)
}

// sameService reports whether two configurations of the app have a zone in common: the one that runs may be
// older than the file, or have other values of variables.
func sameService(x, y json.RawMessage) bool {
	zones := func(app json.RawMessage) (names []string) {
		var options struct {
			Zones []struct {
				Name string `json:"name"`
			} `json:"zones"`
		}
		_ = json.Unmarshal(app, &options) // what cannot be read has none
		for _, zone := range options.Zones {
			names = append(names, zone.Name)
		}
		return names
	}
	there := zones(y)
	return slices.ContainsFunc(zones(x), func(name string) bool { return slices.Contains(there, name) })
}

// applyRunning makes the change in the running Caddy alone.
func (e clientEdit) applyRunning(admin adminFlags) (done edited, err error) {
	address, err := admin.endpoint(nil)
	if err != nil {
		return done, err
	}
	live, err := readLive(address)
	if err != nil {
		return done, fmt.Errorf("changing client %q: %w", e.name, err)
	}
	config, err := live.parse()
	if err != nil {
		return done, err
	}
	p, err := e.read(config)
	if err != nil {
		return done, err
	}
	if err := live.change(p.changed); err != nil {
		return done, err
	}
	return edited{
		Running: true, old: p.old, new: p.new,
		Note: "No file was changed: write it into the configuration too, or it is lost when Caddy is reloaded or restarted. (--config names a Caddyfile to write to.)",
	}, nil
}

// liveConfig is the configuration that a Caddy runs.
type liveConfig struct {
	address string
	text    []byte
	etag    string // with which a change says that it is of this configuration
}

// Paths at the admin endpoint.
const (
	adminConfig = "/config/"
	adminApp    = "/config/apps/bestdns"
)

// mostConfig bounds what is read of a configuration, in bytes. Caddy itself takes no larger one.
const mostConfig = 100 << 20

// readLive reads the configuration at an admin endpoint. The error wraps [errNotRunning] if nothing answers there.
func readLive(address string) (*liveConfig, error) {
	response, err := askAdmin(address, http.MethodGet, adminConfig, nil, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	live := &liveConfig{address: address, etag: response.Header.Get("Etag")}
	if live.text, err = io.ReadAll(io.LimitReader(response.Body, mostConfig)); err != nil {
		return nil, fmt.Errorf("reading the configuration of the running Caddy at %s: %w", address, err)
	}
	return live, nil
}

// parse reads the configuration. The error says that there is no service in it, if there is none.
func (l *liveConfig) parse() (checkedConfig, error) {
	config, err := parseCheckedConfig("the configuration of the running Caddy at "+l.address, l.text)
	if err == nil && config.app == nil {
		err = fmt.Errorf("the running Caddy at %s has no app bestdns", l.address)
	}
	return config, err
}

// change replaces the app's configuration, which Caddy loads before it answers. It fails if the configuration
// was changed since it was read.
func (l *liveConfig) change(app json.RawMessage) error {
	headers := http.Header{"Content-Type": {"application/json"}, "If-Match": {l.etag}}
	response, err := askAdmin(l.address, http.MethodPatch, adminApp, headers, bytes.NewReader(app))
	if err != nil {
		return fmt.Errorf("handing the change to the running Caddy, which goes on as before: %w", err)
	}
	return response.Body.Close()
}
