package rfc2136

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

const (
	// transferTimeout is how long a transfer may take, and transferPause how long the server
	// may be silent in it.
	transferTimeout = 2 * time.Minute
	transferPause   = 10 * time.Second
	// How much a transfer may bring.
	mostTransferBytes   = 256 << 20
	mostTransferRecords = 5_000_000
	// mostUnsigned is how many messages may come unsigned before one that signs them too
	// (RFC 8945 §5.3.1).
	mostUnsigned = 99
)

// Records returns all records of the zone as its primary has them, the SOA record once. It
// reads them by zone transfer (AXFR, RFC 5936) over a connection of its own, with the zone's
// key, one transfer at a time, in the client's turn. It is an *[Error] if there are more than 5
// million, or more than 256 MB.
func (z *Zone) Records(ctx context.Context, client string) ([]record.Record, error) {
	return z.transfer(ctx, client, nil, func(record.Record) bool { return true })
}

// readForDelete reads the zone for what a delete takes, and returns the job for it.
func (z *Zone) readForDelete(ctx context.Context, j *job, arrived time.Time) (*job, error) {
	ctx, cancel := context.WithDeadline(ctx, arrived.Add(turnTimeout))
	defer cancel()
	names := make(map[record.Name]bool, len(j.matches))
	apexNS := false
	for _, m := range j.matches {
		names[m.Name] = true
		apexNS = apexNS || m.Name == z.Zone
	}
	takes := z.taker(j.matches)
	found, err := z.transfer(ctx, j.client, names, func(r record.Record) bool {
		return takes(r) >= 0 || apexNS && z.isApexNS(r.Name, r.Type)
	})
	if err != nil {
		return nil, unchanged(err)
	}
	read := newJob(j.client, j.deadline)
	read.op, read.matches, read.apexNS = j.op, j.matches, j.apexNS
	if err := z.composeDelete(read, found, func(question) bool { return true }); err != nil {
		return nil, err
	}
	return read, z.measure(read)
}

// transfer returns the records of the zone that are wanted, of those at some names; nil is any.
func (z *Zone) transfer(ctx context.Context, client string, names map[record.Name]bool, wanted func(record.Record) bool) ([]record.Record, error) {
	release, err := z.transfers.Acquire(ctx, "", client)
	if err != nil {
		return nil, z.busy("earlier transfers of the zone have not ended in time", context.Cause(ctx))
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	c, err := z.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	t := &transfer{zone: z.Zone, key: z.Key, names: names, wanted: wanted}
	if err := t.run(c); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, z.notTransferred(c.server, err)
	}
	return t.records, nil
}

// notTransferred is the error of a transfer.
func (z *Zone) notTransferred(server netip.AddrPort, err error) error {
	var refused *transferRefused
	switch {
	case errors.As(err, &refused):
		err = z.refused(server, forTransfer, refused.answer, refused.invalid)
	case errors.Is(err, context.Canceled):
		err = z.busy("the caller has gone during its transfer", err)
	case nsquery.IsTimeout(err), isClosed(err):
		err = z.unanswered(server, err)
	default:
		err = &Error{
			Kind: Failed, Zone: z.Zone, Server: server, Err: err,
			Reason: fmt.Sprintf("its transfer from the primary name server %s ended with an error: %v", server, err),
		}
	}
	return unchanged(err)
}

// transfer is a zone transfer under way.
type transfer struct {
	zone   record.Name
	key    tsig.Key
	names  map[record.Name]bool // nil: any
	wanted func(record.Record) bool

	id       uint16
	verifier *tsig.Verifier // nil: the messages are not to be signed
	messages int
	skipped  int // messages since the last that was signed

	soa     record.Record
	records []record.Record
	read    int // records
	bytes   int
	ended   bool
}

// transferRefused is an answer that is not a transfer.
type transferRefused struct {
	answer  *dns.Msg
	invalid error
}

func (e *transferRefused) Error() string {
	return "the server answers " + nsquery.RcodeText(e.answer.Rcode)
}

// run asks for the zone, and reads all of it.
func (t *transfer) run(c *conn) error {
	m := new(dns.Msg).SetAxfr(t.zone.String())
	t.id = m.Id
	wire, verifier, err := pack(m, t.key)
	if err != nil {
		return fmt.Errorf("packing the question: %w", err)
	}
	t.verifier = verifier
	if err := c.SetDeadline(time.Now().Add(transferPause)); err != nil {
		return err
	}
	if err := c.write(wire); err != nil {
		return err
	}
	for !t.ended {
		if err := c.SetReadDeadline(time.Now().Add(transferPause)); err != nil {
			return err
		}
		wire, err := c.read()
		if err != nil {
			return err
		}
		if err := t.take(wire); err != nil {
			return err
		}
	}
	if t.skipped > 0 {
		return errors.New("its last message is not signed")
	}
	return nil
}

// take reads a message.
func (t *transfer) take(wire []byte) error {
	if t.bytes += len(wire); t.bytes > mostTransferBytes {
		return fmt.Errorf("the zone has more than %d MB, which is not read", mostTransferBytes>>20)
	}
	m := new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		return fmt.Errorf("reading a message: %w", err)
	}
	if m.Id != t.id || !m.Response || m.Opcode != dns.OpcodeQuery {
		return errAnswer
	}
	if err := t.verify(wire, m); err != nil || m.Rcode != dns.RcodeSuccess {
		return &transferRefused{m, err}
	}
	t.messages++
	for _, rr := range m.Answer {
		if err := t.takeRecord(rr); err != nil {
			return err
		}
	}
	return nil
}

// verify verifies the signature of a message. The first has one; of those that follow, not
// each needs one.
func (t *transfer) verify(wire []byte, m *dns.Msg) error {
	if t.verifier != nil && m.IsTsig() == nil && t.messages > 0 && m.Rcode == dns.RcodeSuccess && t.skipped < mostUnsigned {
		t.verifier.Skip(wire)
		t.skipped++
		return nil
	}
	if err := verify(wire, m, t.verifier); err != nil {
		return err
	}
	t.skipped = 0
	return nil
}

// takeRecord takes one record of the transfer, which begins and ends with the SOA record
// (RFC 5936 §2.2).
func (t *transfer) takeRecord(rr dns.RR) error {
	if t.read++; t.read > mostTransferRecords {
		return fmt.Errorf("the zone has more than %d records, which is not read", mostTransferRecords)
	}
	header := rr.Header()
	if t.names != nil && t.read > 1 && !t.ended && header.Rrtype != dns.TypeSOA && !t.names[nameOf(header.Name)] {
		return nil
	}
	r, err := record.FromRR(rr)
	switch {
	case err != nil:
		return fmt.Errorf("record %d of the transfer: %w", t.read, err)
	case t.ended:
		return errors.New("the transfer does not end with the SOA record")
	case !r.Name.In(t.zone):
		return fmt.Errorf("record %d of the transfer, %q, is not in the zone", t.read, r.Name.Plain())
	case t.read == 1 && (r.Type != record.TypeSOA || r.Name != t.zone):
		return errors.New("the transfer does not begin with the SOA record")
	case t.read == 1:
		t.soa = r
	case r.Type == record.TypeSOA:
		if t.ended = r == t.soa; !t.ended {
			return errors.New("the transfer has two SOA records")
		}
		return nil
	}
	if t.wanted(r) {
		t.records = append(t.records, r)
	}
	return nil
}
