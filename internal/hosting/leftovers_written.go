package hosting

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
)

// writtenPrefix is the folder of the storage in which there is one key for each challenge
// record that is remembered. No key of ours is outside of it.
const writtenPrefix = "bestdns/written"

// mostWritten is the most bytes that the value of a key can have.
const mostWritten = 8 << 10

// written is a challenge record that the service wrote, or was about to write, in a zone
// that a DNS provider hosts.
type written struct {
	zone, name record.Name
	text       string
	ttl        uint32 // seconds
	client     string // whose right it was
	// at is when it was appended the last time. It tells two appends of one record apart.
	at time.Time
	// expires is from when the record is a left-over.
	expires time.Time
}

// storedWritten is written as it is in the storage.
type storedWritten struct {
	Zone    string    `json:"zone"`
	Name    string    `json:"name"`
	Text    string    `json:"text"`
	TTL     uint32    `json:"ttl"`
	Client  string    `json:"client"`
	Written time.Time `json:"written"`
	Expires time.Time `json:"expires"`
}

// writtenFolder returns the folder of a zone. It is the zone's name where that is safe as a
// part of a path in any storage; other zones, of which escapes can make anything, have a
// hash, with a character before it that is in no such name.
func writtenFolder(zone record.Name) string {
	if portableName(zone) && !strings.Contains(string(zone), "*") {
		return writtenPrefix + "/" + zone.Plain()
	}
	sum := sha256.Sum256([]byte(zone))
	return writtenPrefix + "/=" + hex.EncodeToString(sum[:])
}

// writtenAt returns what the keys of all values at a name begin with.
func writtenAt(zone, name record.Name) string {
	sum := sha256.Sum256([]byte(name))
	return writtenFolder(zone) + "/" + hex.EncodeToString(sum[:8]) + "-"
}

// writtenKey returns the key of a value. Clients choose names and values, whose upper and lower
// case not every file system tells apart; hashes are safe. All keys of a zone are in one folder,
// because some storages never remove folders, and clients decide how many names there are.
func writtenKey(zone, name record.Name, text string) string {
	sum := sha256.Sum256([]byte(string(name) + text)) // a name in wire form says where it ends
	return writtenAt(zone, name) + hex.EncodeToString(sum[:])
}

func (w written) key() string { return writtenKey(w.zone, w.name, w.text) }

func (w written) value() ([]byte, error) {
	return json.Marshal(storedWritten{
		Zone: w.zone.String(), Name: w.name.String(), Text: w.text, TTL: w.ttl,
		Client: w.client, Written: w.at, Expires: w.expires,
	})
}

// readWritten reads the value of a key. It accepts nothing but what [written.value] makes for
// that key: what it returns is deleted in DNS.
func readWritten(key string, value []byte) (written, error) {
	if len(value) > mostWritten {
		return written{}, fmt.Errorf("%d bytes, and at most %d are read", len(value), mostWritten)
	}
	var stored storedWritten
	if err := json.Unmarshal(value, &stored); err != nil {
		return written{}, err
	}
	w := written{text: stored.Text, ttl: stored.TTL, client: stored.Client, at: stored.Written, expires: stored.Expires}
	var err error
	if w.zone, err = record.ParseName(stored.Zone); err != nil {
		return written{}, err
	}
	if w.name, err = record.ParseName(stored.Name); err != nil {
		return written{}, err
	}
	r, err := record.At(w.name, "TXT", w.ttl, w.text)
	switch {
	case err != nil:
		return written{}, err
	case !record.IsChallengeValue(r):
		return written{}, errors.New("its text is not the answer to a challenge")
	case !w.name.In(w.zone):
		return written{}, fmt.Errorf("the name %q is not in zone %q", w.name, w.zone)
	case w.key() != key:
		return written{}, errors.New("it is about another record than its key")
	case w.at.IsZero() || w.expires.IsZero():
		return written{}, errors.New("it does not say when the record was written, or until when it is needed")
	}
	return w, nil
}
