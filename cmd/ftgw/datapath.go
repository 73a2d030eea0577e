// The packets: in from the queues, through the translator, verdicts, clones and injected packets
// out. flows.go is what is done to flows from elsewhere.
package main

import (
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/nfq"
	"github.com/ftgw/ftgw/rewrite"
)

// shards is how many flow tables there are; a client's address and port choose one. Queues
// are spread by the kernel's own hash, so that any worker may need any shard.
const shards = 16

// peerNews is where the packet layer sends what concerns the peer. Its calls do not block.
type peerNews interface {
	Confirm(rewrite.Confirmation)
	Note(rewrite.Note)
}

// life is told what packets show of the peer. Its calls are cheap.
type life interface {
	peerSign() // its daemon lives
	progress() // a client gets what it sends
}

// lane is what the packets of one service must know of its group.
type lane struct {
	news   peerNews
	life   life
	awake  func() bool // false: the process stood still and must not act on what waited
	closed atomic.Bool // no connection may begin any more
}

// sender sends whole IP packets.
type sender interface {
	Send(packet []byte) error
}

// datapath carries the pure translator: packets in from the queues, verdicts, clones and
// injected packets out. It is safe for concurrent use.
type datapath struct {
	start    time.Time
	tables   [shards]shard
	reasons  [rewrite.MaxReason]atomic.Uint64
	unsent   atomic.Uint64
	cut      atomic.Bool // the interface has no carrier
	toPeer   sender      // clones
	toLocal  sender      // packets that look as if they came from the client
	toClient sender
	lanes    map[netip.AddrPort]*lane // by advertised address, and by forwarding address
	log      *slog.Logger
}

type shard struct {
	mu    sync.Mutex
	table *rewrite.Table
}

// newDatapath returns a datapath that serves nothing yet. The limits are those of all shards
// together.
func newDatapath(key []byte, limits rewrite.Limits, log *slog.Logger) *datapath {
	d := &datapath{start: time.Now(), lanes: map[netip.AddrPort]*lane{}, log: log}
	limits = perShard(limits)
	for i := range d.tables {
		d.tables[i].table = rewrite.NewTable(key, limits)
	}
	return d
}

func perShard(l rewrite.Limits) rewrite.Limits {
	l.Flows, l.HalfOpen, l.Early = max(1, l.Flows/shards), max(1, l.HalfOpen/shards), max(1, l.Early/shards)
	return l
}

// setLimits changes the limits, those of all shards together. Flows that are there stay.
func (d *datapath) setLimits(l rewrite.Limits) {
	l = perShard(l)
	d.each(func(t *rewrite.Table) { t.SetLimits(l) })
}

// addService makes the tables take an advertised address. It is called before any packet.
func (d *datapath) addService(s rewrite.Service, l *lane) {
	d.lanes[s.Advertised], d.lanes[s.Forward] = l, l
	d.each(func(t *rewrite.Table) { t.AddService(s) })
}

func (d *datapath) now() time.Duration { return time.Since(d.start) }

// shard returns the table of a client.
func (d *datapath) shard(client netip.AddrPort) *shard {
	h := uint32(2166136261) // FNV-1a
	a := client.Addr().As16()
	for _, c := range a[4:] {
		h = (h ^ uint32(c)) * 16777619
	}
	h = (h ^ uint32(client.Port()>>8)) * 16777619
	h = (h ^ uint32(client.Port()&0xff)) * 16777619
	return &d.tables[(h^h>>16)%shards]
}

// each runs f on every table in turn, each under its lock.
func (d *datapath) each(f func(*rewrite.Table)) {
	for i := range d.tables {
		s := &d.tables[i]
		s.mu.Lock()
		f(s.table)
		s.mu.Unlock()
	}
}

// handler returns the handler of one queue: in takes what comes from the network, else what
// the local kernel sends. One goroutine uses it.
func (d *datapath) handler(in bool) nfq.Handler {
	var o rewrite.Outcome
	decide := d.outbound
	if in {
		decide = d.inbound
	}
	return func(packets []nfq.Packet, verdict func(int, nfq.Verdict)) {
		for i := range packets {
			v := decide(&packets[i], &o)
			d.reasons[o.Reason].Add(1)
			verdict(i, v)
			d.send(&o)
		}
	}
}

func (d *datapath) inbound(p *nfq.Packet, o *rewrite.Outcome) nfq.Verdict {
	if p.Truncated {
		return refuse(o, rewrite.Truncated)
	}
	s, why := rewrite.ParseSegment(p.Data)
	if why == rewrite.NotTCP {
		return d.inboundError(p, o)
	}
	if why != rewrite.OK {
		return refuse(o, why)
	}
	if s.PayloadLen() > 0 {
		crashpoint.Here(crashpoint.SegmentIn)
	}
	if p.PartialChecksum { // of this machine: a clone needs the whole sum
		s.Seal(true)
	}
	l := d.lanes[s.Dst()]
	switch {
	case l == nil: // the table counts it
	case !l.awake():
		return refuse(o, rewrite.StoodStill)
	case l.closed.Load() && s.Flags().Has(rewrite.SYN):
		return refuse(o, rewrite.NotServing)
	}
	t := d.shard(s.Src())
	t.mu.Lock()
	t.table.Inbound(&s, p.Unverified, d.now(), o)
	t.mu.Unlock()
	if l != nil && o.FromPeer {
		l.life.peerSign()
	}
	if l != nil && o.Progress {
		l.life.progress()
	}
	return decided(o, s.Changed(), s.Bytes(), 0)
}

func (d *datapath) inboundError(p *nfq.Packet, o *rewrite.Outcome) nfq.Verdict {
	e, why := rewrite.ParseICMPError(p.Data)
	if why != rewrite.OK {
		return refuse(o, why)
	}
	if l := d.lanes[e.QuotedSrc()]; l != nil && !l.awake() {
		return refuse(o, rewrite.StoodStill)
	}
	t := d.shard(e.QuotedDst())
	t.mu.Lock()
	t.table.InboundError(&e, p.Unverified, d.now(), o)
	t.mu.Unlock()
	return decided(o, e.Changed(), e.Bytes(), 0)
}

func (d *datapath) outbound(p *nfq.Packet, o *rewrite.Outcome) nfq.Verdict {
	if p.Truncated {
		return refuse(o, rewrite.Truncated)
	}
	s, why := rewrite.ParseSegment(p.Data)
	if why != rewrite.OK {
		return refuse(o, why)
	}
	if why := d.mute(&s); why != rewrite.OK {
		return refuse(o, why)
	}
	if s.PayloadLen() > 0 {
		crashpoint.Here(crashpoint.DataOut)
	}
	t := d.shard(s.Dst())
	t.mu.Lock()
	t.table.Outbound(&s, p.PartialChecksum, d.now(), o)
	t.mu.Unlock()
	return decided(o, s.Changed(), s.Bytes(), markSend)
}

// refuse makes o the outcome of a packet that no table saw.
func refuse(o *rewrite.Outcome, why rewrite.Reason) nfq.Verdict {
	o.Refuse(why)
	return nfq.Verdict{}
}

func decided(o *rewrite.Outcome, changed bool, b []byte, mark uint32) nfq.Verdict {
	v := nfq.Verdict{Accept: o.Accept}
	if o.Accept {
		v.Mark = mark
		if changed {
			v.Data = b
		}
	}
	return v
}

// send carries out the rest of an outcome: clones after the verdict, so that the kernel here
// has the segment first.
func (d *datapath) send(o *rewrite.Outcome) {
	if o.Clone != nil {
		d.clone(o.Clone)
	}
	if o.Empty() {
		return
	}
	for _, b := range o.ToClient {
		d.say(b)
	}
	for _, b := range o.ToLocal {
		d.one(d.toLocal, b)
	}
	for _, c := range o.Confirm {
		d.lanes[c.Flow.Advertised].news.Confirm(c)
	}
	for _, n := range o.Notes {
		d.lanes[n.Flow.Advertised].news.Note(n)
	}
}

// say sends a segment to the client that its kernel did not ask for, unless this host must not.
func (d *datapath) say(b []byte) {
	s, why := rewrite.ParseSegment(b)
	if why == rewrite.OK {
		why = d.mute(&s)
	}
	if why != rewrite.OK {
		d.reasons[why].Add(1)
		return
	}
	d.one(d.toClient, b)
}

// mute says why nothing may be said to a client now: this process stood still, and the rules that
// would drop it may have been flushed meanwhile; or there is no carrier, and it would wait in the
// kernel for a neighbour's MAC address, behind the lease.
func (d *datapath) mute(s *rewrite.Segment) rewrite.Reason {
	if d.cut.Load() {
		return rewrite.NoCarrier
	}
	if l := d.lanes[s.Src()]; l != nil && !l.awake() {
		return rewrite.StoodStill
	}
	return rewrite.OK
}

// clone sends a segment to the peer.
func (d *datapath) clone(b []byte) {
	data := false
	if crashpoint.Armed() {
		s, why := rewrite.ParseSegment(b)
		data = why == rewrite.OK && s.PayloadLen() > 0
	}
	if data {
		crashpoint.Here(crashpoint.CloneData)
	}
	d.one(d.toPeer, b)
	if data {
		crashpoint.Here(crashpoint.ClonedData)
	}
}

// one sends a packet; a failure is a lost packet, which TCP repairs, and counted.
func (d *datapath) one(s sender, b []byte) {
	if err := s.Send(b); err != nil {
		if d.unsent.Add(1) == 1 {
			d.log.Warn("packet not sent", "error", err)
		}
	}
}
