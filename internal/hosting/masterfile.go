package hosting

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// Import says how a master file is imported.
type Import struct {
	// Replace has its records be the only ones of the zone.
	Replace bool
	// DryRun has nothing be changed.
	DryRun bool
	// WithoutDNSSEC skips what a zone has because it is signed.
	WithoutDNSSEC bool
}

// Imported is what an import did, or would do, as the admin endpoint answers too.
type Imported struct {
	// Records is the number of those that were read and are in the zone now.
	Records int `json:"records"`
	// Made is the number of those that were skipped, because the server makes
	// them itself: SOA, NS at the apex, addresses of name servers. Skipped has owner and type of
	// some.
	Made    int      `json:"made"`
	Skipped []string `json:"skipped,omitempty"`
	// DNSSEC is the number of those that were skipped because they are of a signed zone.
	DNSSEC int `json:"dnssec,omitempty"`
	// Before and After are how many records the zone had, and how many it has now.
	Before int    `json:"before"`
	After  int    `json:"after"`
	Serial uint32 `json:"serial"`
}

// mostSkipped is how many of the records that were skipped are named.
const mostSkipped = 20

// isOfSigning reports whether records of a type are in a zone because it is signed. (DS records are
// those of zones below.)
func isOfSigning(t record.Type) bool {
	const signingState = 65534 // what BIND keeps there (its option sig-signing-type)
	switch uint16(t) {
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeDNSKEY, dns.TypeCDNSKEY, dns.TypeCDS, signingState:
		return true
	}
	return false
}

// Import adds the records of a master file to a built-in zone, in one commit. It is for who may do
// everything; the audit log has one line.
//
// The error, if any, is an *[Error].
func (s *Service) Import(ctx context.Context, who Caller, zone *Zone, file io.Reader, how Import) (Imported, error) {
	started := time.Now()
	done, err := s.importFile(ctx, zone, file, how)
	var failure *Error
	if err != nil {
		failure = AsError(err, zone.Apex)
	}
	op := "import"
	if how.Replace {
		op = "replace"
	}
	if how.DryRun {
		return done, errorOrNil(failure)
	}
	s.note(who, zone, ChangeSeen{
		Zone: zone.Apex.String(), Op: op, Serial: done.Serial,
		Records: []string{fmt.Sprintf("%d of a master file", done.Records)},
	}, time.Since(started), failure)
	return done, errorOrNil(failure)
}

// errorOrNil returns an error that is nil if there was none.
func errorOrNil(failure *Error) error {
	if failure == nil {
		return nil
	}
	return failure
}

func (s *Service) importFile(ctx context.Context, zone *Zone, file io.Reader, how Import) (done Imported, err error) {
	snapshot := s.snapshot(zone.Apex)
	if snapshot == nil {
		return done, notServed(zone)
	}
	records, err := record.ReadMasterFile(file, "the master file", zone.Apex, zone.TTL, func(t record.Type) bool {
		if how.WithoutDNSSEC && isOfSigning(t) {
			done.DNSSEC++
			return true
		}
		return false
	})
	if err != nil {
		return done, Errorf(api.InvalidRecord, "%w", err)
	}
	var ours []record.Record
	for _, r := range records {
		if snapshot.Made(r.Name, r.Type) {
			if done.Made++; done.Made <= mostSkipped {
				done.Skipped = append(done.Skipped, text.Brief(r.Name.String()+" "+r.Type.String(), text.MaxName))
			}
			continue
		}
		ours = append(ours, r)
	}
	done.Records = len(ours)
	after, err := s.server.Import(ctx, zone.Apex, ours, nameserver.Import{Replace: how.Replace, Rehearse: how.DryRun})
	if err != nil {
		return done, err
	}
	done.Before, done.After, done.Serial = countRecords(snapshot, zone.Apex), countRecords(after, zone.Apex), after.Serial()
	return done, nil
}

func countRecords(z *nameserver.Snapshot, apex record.Name) (n int) {
	for range z.Records(apex) {
		n++
	}
	return n
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
