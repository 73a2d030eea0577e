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
	sign()     // its daemon lives
	progress() // a client gets what it sends
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
	toPeer   sender // clones
	toLocal  sender // packets that look as if they came from the client
	toClient sender
	news     map[netip.AddrPort]peerNews // by advertised address
	life     life
	awake    func() bool // false: the process stood still and must not act on what waited
	log      *slog.Logger
}

type shard struct {
	mu    sync.Mutex
	table *rewrite.Table
}

// newDatapath returns a datapath that serves nothing yet. The limits are those of all shards
// together.
func newDatapath(key []byte, limits rewrite.Limits, log *slog.Logger) *datapath {
	d := &datapath{start: time.Now(), news: map[netip.AddrPort]peerNews{}, log: log}
	limits.Flows = max(1, limits.Flows/shards)
	limits.HalfOpen = max(1, limits.HalfOpen/shards)
	limits.Early = max(1, limits.Early/shards)
	for i := range d.tables {
		d.tables[i].table = rewrite.NewTable(key, limits)
	}
	return d
}

// addService makes the tables take an advertised address. It is called before any packet.
func (d *datapath) addService(s rewrite.Service, news peerNews) {
	d.news[s.Advertised] = news
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
			var v nfq.Verdict
			if d.awake() {
				v = decide(&packets[i], &o)
			} else {
				v = refuse(&o, rewrite.StoodStill)
			}
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
	t := d.shard(s.Src())
	t.mu.Lock()
	t.table.Inbound(&s, p.Unverified, d.now(), o)
	t.mu.Unlock()
	if o.FromPeer {
		d.life.sign()
	}
	if o.Progress {
		d.life.progress()
	}
	return decided(o, s.Changed(), s.Bytes(), 0)
}

func (d *datapath) inboundError(p *nfq.Packet, o *rewrite.Outcome) nfq.Verdict {
	e, why := rewrite.ParseICMPError(p.Data)
	if why != rewrite.OK {
		return refuse(o, why)
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
		d.one(d.toClient, b)
	}
	for _, b := range o.ToLocal {
		d.one(d.toLocal, b)
	}
	for _, c := range o.Confirm {
		d.news[c.Flow.Advertised].Confirm(c)
	}
	for _, n := range o.Notes {
		d.news[n.Flow.Advertised].Note(n)
	}
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

// on runs f on the table of a client and sends what comes of it.
func (d *datapath) on(client netip.AddrPort, f func(t *rewrite.Table, o *rewrite.Outcome)) {
	o := outcomes.Get().(*rewrite.Outcome)
	s := d.shard(client)
	s.mu.Lock()
	f(s.table, o)
	s.mu.Unlock()
	d.send(o)
	outcomes.Put(o)
}

var outcomes = sync.Pool{New: func() any { return new(rewrite.Outcome) }}

// confirmed takes the peer's confirmations.
func (d *datapath) confirmed(cs []rewrite.Confirmation) {
	crashpoint.Here(crashpoint.ConfirmIn)
	for _, c := range cs {
		d.on(c.Flow.Client, func(t *rewrite.Table, o *rewrite.Outcome) { t.Confirmed(c, d.now(), o) })
	}
}

// noted takes the peer's news of a flow.
func (d *datapath) noted(n rewrite.Note) {
	d.on(n.Flow.Client, func(t *rewrite.Table, o *rewrite.Outcome) { t.Noted(n, d.now(), o) })
}

// setStance sets what becomes of new flows of a service.
func (d *datapath) setStance(advertised netip.AddrPort, s rewrite.Stance) {
	d.each(func(t *rewrite.Table) { t.SetStance(advertised, s) })
}

// alone tells the peer of the flows that this host holds alone.
func (d *datapath) alone(advertised netip.AddrPort) {
	var notes []rewrite.Note
	d.each(func(t *rewrite.Table) {
		t.Alone(advertised, func(o *rewrite.Outcome) { notes = append(notes, o.Notes...) })
	})
	for _, n := range notes {
		d.news[advertised].Note(n)
	}
}

// survive makes this host the only one of a service. What wakes the flows up is kept for
// release, since the gate is opened in between (I6).
func (d *datapath) survive(advertised netip.AddrPort) (held []*rewrite.Outcome) {
	d.each(func(t *rewrite.Table) {
		t.SetStance(advertised, rewrite.Stance{Serve: true, Speak: true})
		t.Survive(advertised, d.now(), func(o *rewrite.Outcome) { held = append(held, o.Copy()) })
	})
	return held
}

// release sends what survive returned, with pauses, so that a takeover of many flows does not
// overrun a switch or the clients' path.
func (d *datapath) release(held []*rewrite.Outcome) {
	const burst, pause = 256, time.Millisecond
	for i, o := range held {
		d.send(o)
		if i%burst == burst-1 {
			time.Sleep(pause)
		}
	}
}

// fence forgets every flow of a service and returns how many there were.
func (d *datapath) fence(advertised netip.AddrPort) int {
	n := 0
	d.each(func(t *rewrite.Table) {
		t.SetStance(advertised, rewrite.Stance{})
		n += t.Fence(advertised)
	})
	return n
}

// expire is called a few times a second.
func (d *datapath) expire() {
	d.each(func(t *rewrite.Table) { t.Expire(d.now(), d.send) })
}

// resume repeats to the peer what this host holds.
func (d *datapath) resume(advertised netip.AddrPort) {
	var cs []rewrite.Confirmation
	d.each(func(t *rewrite.Table) { cs = t.Confirmations(advertised, cs) })
	for _, c := range cs {
		d.news[advertised].Confirm(c)
	}
}

// sweep forgets the flows of a service whose sockets are gone.
func (d *datapath) sweep(advertised netip.AddrPort, live map[netip.AddrPort]struct{}) {
	d.each(func(t *rewrite.Table) {
		t.Sweep(advertised, func(c netip.AddrPort) bool { _, ok := live[c]; return ok }, d.now())
	})
}

// count counts the flows of a service.
func (d *datapath) count(advertised netip.AddrPort) rewrite.Count {
	var sum rewrite.Count
	d.each(func(t *rewrite.Table) {
		c := t.Count(advertised)
		sum.Duplex += c.Duplex
		sum.Simplex += c.Simplex
		sum.Relay += c.Relay
		sum.HalfOpen += c.HalfOpen
		sum.Closing += c.Closing
	})
	return sum
}

// drops returns the counters of all reasons that came up.
func (d *datapath) drops() map[string]uint64 {
	m := map[string]uint64{}
	for r := range d.reasons {
		if n := d.reasons[r].Load(); n > 0 {
			m[rewrite.Reason(r).String()] = n
		}
	}
	if n := d.unsent.Load(); n > 0 {
		m["unsent"] = n
	}
	return m
}
