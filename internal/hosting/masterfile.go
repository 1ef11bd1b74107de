package hosting

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
)

// Imported is what an import did, as the admin endpoint answers too.
type Imported struct {
	// Records is the number of those that were read and are in the zone now.
	Records int `json:"records"`
	// Made is the number of those that were skipped, because the server makes
	// them itself: SOA, NS at the apex, addresses of name servers.
	Made   int    `json:"made"`
	Serial uint32 `json:"serial"`
}

// Import adds the records of a master file to a built-in zone, or with replace makes them the
// only ones, in one commit. It is for who may do everything; the audit log has one line.
//
// The error, if any, is an *[Error].
func (s *Service) Import(ctx context.Context, who Caller, zone *Zone, file io.Reader, replace bool) (Imported, error) {
	started := time.Now()
	done, err := s.importFile(ctx, zone, file, replace)
	var failure *Error
	if err != nil {
		failure = AsError(err, zone.Apex)
	}
	op := "import"
	if replace {
		op = "replace"
	}
	s.note(who, zone, ChangeSeen{
		Zone: zone.Apex.String(), Op: op, Serial: done.Serial,
		Records: []string{fmt.Sprintf("%d of a master file", done.Records)},
	}, time.Since(started), failure)
	if failure != nil {
		return Imported{}, failure
	}
	return done, nil
}

func (s *Service) importFile(ctx context.Context, zone *Zone, file io.Reader, replace bool) (done Imported, err error) {
	snapshot := s.snapshot(zone.Apex)
	if snapshot == nil {
		return done, notServed(zone)
	}
	records, err := record.ReadMasterFile(file, "the master file", zone.Apex, zone.TTL)
	if err != nil {
		return done, Errorf(api.InvalidRecord, "%w", err)
	}
	var ours []record.Record
	for _, r := range records {
		if snapshot.Made(r.Name, r.Type) {
			done.Made++
			continue
		}
		ours = append(ours, r)
	}
	done.Records = len(ours)
	var result nameserver.Result
	if replace {
		result, err = s.server.Replace(ctx, zone.Apex, ours)
	} else {
		result, err = s.server.Apply(ctx, zone.Apex, record.Change{Op: record.Append, Records: ours})
	}
	done.Serial = result.Serial
	return done, err
}

// Export writes a built-in zone as a master file, without the challenges under way, whose
// number it tells at the end. The error is an *[Error] if nothing is written.
func (s *Service) Export(w io.Writer, zone *Zone) error {
	snapshot := s.snapshot(zone.Apex)
	if snapshot == nil {
		return notServed(zone)
	}
	left, err := record.WriteMasterFile(w, zone.Apex, zone.TTL, snapshot.Records(zone.Apex))
	if err == nil && left > 0 {
		_, err = fmt.Fprintf(w, "; left out: %d records of challenges under way\n", left)
	}
	return err
}

func notServed(zone *Zone) *Error {
	return Errorf(api.ZoneNotFound, "the name server does not have the zone %q", zone.Apex)
}
