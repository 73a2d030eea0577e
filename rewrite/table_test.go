package rewrite

import (
	"net/netip"
	"testing"
	"time"
)

var (
	advertised = netip.MustParseAddrPort("192.0.2.100:80")
	clientEnd  = netip.MustParseAddrPort("198.51.100.2:40000")
	forwardA   = netip.MustParseAddrPort("192.0.2.11:20080")
	forwardB   = netip.MustParseAddrPort("192.0.2.12:20080")
)

const clientISN = Seq(4_294_961_000) // not far from the wrap

// side is one host: its table and the numbers that its kernel would choose.
type side struct {
	t     testing.TB
	table *Table
	now   *time.Duration
	iss   Seq
	stamp uint32
	o     Outcome
}

// pair makes a primary and a backup in duplex; the backup receives.
func pair(t testing.TB) (primary, backup *side) {
	now := new(time.Duration)
	*now = time.Second
	make1 := func(own, peer netip.AddrPort, speak bool, iss Seq, stamp uint32) *side {
		tab := NewTable([]byte("0123456789abcdef"), DefaultLimits)
		tab.AddService(Service{Advertised: advertised, Forward: own, Peer: peer, MSS: 1460, Scale: 7})
		tab.SetStance(advertised, Stance{Serve: true, Duplex: true, Speak: speak})
		return &side{t: t, table: tab, now: now, iss: iss, stamp: stamp}
	}
	return make1(forwardA, forwardB, true, 1000, 777_000), make1(forwardB, forwardA, false, 4_294_967_290, 5)
}

// in gives a packet to the host and returns what its kernel gets, or nil.
func (h *side) in(b []byte) *Segment {
	h.t.Helper()
	s := parse(h.t, append([]byte(nil), b...))
	h.table.Inbound(&s, true, *h.now, &h.o)
	if !h.o.Accept {
		return nil
	}
	if !s.VerifyChecksum() {
		h.t.Fatalf("wrong checksum towards the kernel")
	}
	return &s
}

// out gives what the host's kernel sends and returns what the client gets, or nil.
func (h *side) out(hd Header, payload string) *Segment {
	h.t.Helper()
	hd.Src, hd.Dst = advertised, clientEnd
	s := parse(h.t, AppendSegment(nil, hd, []byte(payload)))
	h.table.Outbound(&s, false, *h.now, &h.o)
	if !h.o.Accept {
		return nil
	}
	if !s.VerifyChecksum() {
		h.t.Fatalf("wrong checksum towards the client")
	}
	return &s
}

func (h *side) synAck() *Segment {
	return h.out(Header{Seq: h.iss, Ack: clientISN + 1, Flags: SYN | ACK, Window: 65160, MSS: 1460,
		WScale: 9, SACKPermitted: true, HasTS: true, TSVal: h.stamp, TSEcr: 50}, "")
}

// kernel is a segment of the host's kernel, off bytes into its stream.
func (h *side) kernel(off Size, ack Seq, payload string) *Segment {
	ms := uint32((*h.now - time.Second) / time.Millisecond)
	return h.out(Header{Seq: h.iss.Add(1 + off), Ack: ack, Flags: ACK, Window: 128, WScale: -1,
		HasTS: true, TSVal: h.stamp + ms, TSEcr: 51}, payload)
}

func (h *side) confirmTo(peer *side) []*Segment {
	h.t.Helper()
	cs := append([]Confirmation(nil), h.o.Confirm...)
	if len(cs) == 0 {
		h.t.Fatal("nothing confirmed")
	}
	var sent []*Segment
	for _, c := range cs {
		peer.table.Confirmed(c, *peer.now, &peer.o)
		for _, b := range peer.o.ToClient {
			s := parse(h.t, b)
			sent = append(sent, &s)
		}
	}
	return sent
}

func parse(t testing.TB, b []byte) Segment {
	t.Helper()
	s, why := ParseSegment(b)
	if why != OK {
		t.Fatalf("packet does not parse: %v", why)
	}
	return s
}

func client(seq, ack Seq, flags Flags, ecr uint32, payload string) []byte {
	h := Header{Src: clientEnd, Dst: advertised, Seq: seq, Ack: ack, Flags: flags, Window: 500,
		WScale: -1, HasTS: true, TSVal: 51, TSEcr: ecr}
	if flags.Has(SYN) {
		h.MSS, h.WScale, h.SACKPermitted = 1460, 7, true
	}
	return AppendSegment(nil, h, []byte(payload))
}

// connect runs the handshake on both hosts and returns the common ISS and stamp.
func connect(t testing.TB, p, b *side) (Seq, uint32) {
	t.Helper()
	if b.in(client(clientISN, 0, SYN, 0, "")) == nil {
		t.Fatal("SYN refused by the receiver")
	}
	if p.in(b.o.Clone) == nil {
		t.Fatal("cloned SYN refused")
	}
	if p.synAck() != nil || p.o.Reason != SynAckHeld {
		t.Fatalf("SYN-ACK not held: %v", p.o.Reason)
	}
	if b.synAck() != nil || b.o.Reason != NotSpeaker {
		t.Fatalf("the backup spoke: %v", b.o.Reason)
	}
	sent := b.confirmTo(p)
	if len(sent) != 1 || !sent[0].Flags().Has(SYN|ACK) {
		t.Fatalf("confirmation released %d packets", len(sent))
	}
	s := sent[0]
	if ws, _ := s.WindowScale(); ws != 7 || s.Ack() != clientISN+1 {
		t.Fatalf("scale %d ack %d", ws, s.Ack())
	}
	val, _, _ := s.Timestamps()
	ack := client(clientISN+1, s.Seq()+1, ACK, val, "")
	for _, h := range []*side{b, p} {
		got := h.in(ack)
		if h == b {
			ack = append([]byte(nil), b.o.Clone...)
		}
		if got == nil || got.Ack() != h.iss+1 {
			t.Fatalf("handshake's last segment: %+v", h.o)
		}
		if _, ecr, _ := got.Timestamps(); ecr != h.stamp {
			t.Fatalf("echoed %d, the kernel only takes %d", ecr, h.stamp)
		}
	}
	return s.Seq(), val
}

func TestHandshakeHasOneSequenceSpace(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	s := p.kernel(0, clientISN+1, "hello")
	if s == nil || s.Seq() != iss+1 {
		t.Fatalf("primary's data: %v %v", s, p.o.Reason)
	}
	if val, _, _ := s.Timestamps(); val != stamp {
		t.Fatalf("stamp %d, want %d", val, stamp)
	}
	if b.kernel(0, clientISN+1, "hello") != nil {
		t.Fatal("two voices")
	}
	// The client's acknowledgment reaches both kernels, each in its own numbers.
	if got := b.in(client(clientISN+1, iss+6, ACK, stamp, "")); got == nil || got.Ack() != b.iss+6 {
		t.Fatalf("backup: %v", b.o.Reason)
	}
	if got := p.in(b.o.Clone); got == nil || got.Ack() != p.iss+6 {
		t.Fatalf("primary: %v", p.o.Reason)
	}
}

func TestNothingIsAcknowledgedBeforeThePeerHasIt(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	req := client(clientISN+1, iss+1, ACK|PSH, stamp, "GET / HTTP/1.1\r\n\r\n")
	end := clientISN + 1 + 18
	if b.in(req) == nil || p.in(b.o.Clone) == nil {
		t.Fatal("request refused")
	}
	if s := p.kernel(0, end, ""); s != nil || p.o.Reason != AckHeld {
		t.Fatalf("acknowledged too early: %v", p.o.Reason)
	}
	// A reply may leave, but acknowledges nothing yet.
	s := p.kernel(0, end, "reply")
	if s == nil || s.Ack() != clientISN+1 || p.o.Reason != AckLimited {
		t.Fatalf("reply: %v %v", s, p.o.Reason)
	}
	// The backup's proxy has read it: its kernel had it.
	id := FlowID{Key: Key{Client: clientEnd, Advertised: advertised}, ISN: clientISN}
	b.table.Received(id, 18, false, *b.now, &b.o)
	sent := b.confirmTo(p)
	if len(sent) != 1 || sent[0].Ack() != end || sent[0].Seq() != iss+6 {
		t.Fatalf("confirmation released %v", sent)
	}
	// From now on the kernel's own acknowledgments pass.
	if s := p.kernel(5, end, ""); s == nil || s.Ack() != end {
		t.Fatalf("held for nothing: %v", p.o.Reason)
	}
}

func TestHoleOfTheBackupReachesTheClient(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	one := client(clientISN+1, iss+1, ACK, stamp, "0123456789")
	two := client(clientISN+11, iss+1, ACK, stamp, "0123456789")
	b.in(one) // its kernel drops it behind the queue
	p.in(b.o.Clone)
	b.in(two)
	p.in(b.o.Clone)
	p.kernel(0, clientISN+21, "")
	b.out(Header{Seq: b.iss + 1, Ack: clientISN + 1, Flags: ACK, Window: 128, WScale: -1, HasTS: true,
		TSVal: b.stamp + 1, TSEcr: 51, SACK: [][2]Seq{{clientISN + 11, clientISN + 21}}}, "")
	sent := b.confirmTo(p)
	if len(sent) != 1 || sent[0].Ack() != clientISN+1 || sent[0].SACKCount() != 1 {
		t.Fatalf("the client did not learn of the hole: %v", sent)
	}
}

func TestAckAheadOfTheBackupIsMadeUpFor(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	p.kernel(0, clientISN+1, "0123456789")
	got := b.in(client(clientISN+1, iss+11, ACK, stamp, "more"))
	if got == nil || got.Ack() != b.iss+1 || b.o.Reason != AckClamped || string(got.Payload()) != "more" {
		t.Fatalf("not clamped: %v", b.o.Reason)
	}
	b.kernel(0, clientISN+5, "0123")
	if len(b.o.ToLocal) != 1 {
		t.Fatalf("%d fake acknowledgments", len(b.o.ToLocal))
	}
	fake := parse(t, b.o.ToLocal[0])
	if fake.Ack() != b.iss+5 || fake.Seq() != clientISN+5 || fake.Src() != clientEnd || fake.Dst() != advertised {
		t.Fatalf("fake acknowledgment %d %d", fake.Ack(), fake.Seq())
	}
	b.kernel(4, clientISN+5, "456789ABCD")
	if fake := parse(t, b.o.ToLocal[0]); fake.Ack() != b.iss+11 {
		t.Fatalf("second fake acknowledgment %d", fake.Ack())
	}
}

func TestTakeoverSpeaksOnInTheSameSpace(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	p.kernel(0, clientISN+1, "0123456789")
	b.kernel(0, clientISN+1, "0123456789")
	b.in(client(clientISN+1, iss+5, ACK, stamp, ""))
	*b.now += 150 * time.Millisecond
	var sent [][]byte
	local := 0
	b.table.Survive(advertised, *b.now, func(o *Outcome) {
		for _, x := range o.ToClient {
			sent = append(sent, append([]byte(nil), x...))
		}
		local += len(o.ToLocal)
	})
	if len(sent) != 2 || local == 0 {
		t.Fatalf("wake-up: %d to the client, %d to the kernel", len(sent), local)
	}
	fresh, probe := parse(t, sent[0]), parse(t, sent[1])
	if fresh.Ack() != clientISN+1 || probe.Seq() != iss+4 {
		t.Fatalf("fresh %d, probe %d", fresh.Ack(), probe.Seq())
	}
	s := b.kernel(4, clientISN+1, "456789")
	if s == nil || s.Seq() != iss+5 {
		t.Fatalf("the survivor is silent: %v", b.o.Reason)
	}
	val, _, _ := s.Timestamps()
	if ahead := int32(val - stamp); ahead < 1000 {
		t.Fatalf("stamp only %d ms ahead of the dead host's", ahead)
	}
	// Echoes from before and after the jump both make sense to the kernel.
	for _, c := range []struct{ echo, want uint32 }{{stamp, b.stamp}, {val, b.stamp + 150}} {
		got := b.in(client(clientISN+1, iss+11, ACK, c.echo, ""))
		if _, ecr, _ := got.Timestamps(); ecr != c.want {
			t.Errorf("echo %d given as %d, want %d", c.echo, ecr, c.want)
		}
	}
}

func TestSurvivingPrimaryReleasesWhatWaited(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	b.in(client(clientISN+1, iss+1, ACK, stamp, "0123456789"))
	p.in(b.o.Clone)
	p.kernel(0, clientISN+11, "")
	var acks []Seq
	p.table.Survive(advertised, *p.now, func(o *Outcome) {
		for _, x := range o.ToClient {
			s := parse(t, x)
			acks = append(acks, s.Ack())
		}
	})
	if len(acks) != 1 || acks[0] != clientISN+11 {
		t.Fatalf("released %v", acks)
	}
}

func TestFlowThatOnePeerCannotHoldFallsToSimplex(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	b.in(client(clientISN+1, iss+1, ACK, stamp, "0123456789"))
	p.in(b.o.Clone)
	p.kernel(0, clientISN+11, "")
	*p.now += 1100 * time.Millisecond
	var notes []Note
	acks := 0
	p.table.Expire(*p.now, func(o *Outcome) {
		notes = append(notes, o.Notes...)
		acks += len(o.ToClient)
	})
	if len(notes) != 1 || notes[0].Kind != NoteSimplex || acks != 0 {
		t.Fatalf("notes %v, %d acknowledgments", notes, acks)
	}
	b.table.Noted(notes[0], *b.now, &b.o)
	if len(b.o.Notes) != 1 || b.o.Notes[0].Kind != NoteRelayed {
		t.Fatalf("answered %v", b.o.Notes)
	}
	// Only once the backup has let go may the client be told what it does not have.
	p.table.Noted(b.o.Notes[0], *p.now, &p.o)
	if len(p.o.ToClient) != 1 {
		t.Fatalf("%d acknowledgments", len(p.o.ToClient))
	}
	if b.in(client(clientISN+11, iss+1, ACK, stamp, "x")) != nil || b.o.Reason != Relayed || b.o.Clone == nil {
		t.Fatalf("not relayed: %v", b.o.Reason)
	}
	if p.in(b.o.Clone) == nil {
		t.Fatalf("relayed segment refused: %v", p.o.Reason)
	}
}

func TestSynOnALivePairKeepsTheOldFlow(t *testing.T) {
	p, b := pair(t)
	iss, _ := connect(t, p, b)
	b.in(client(clientISN+5000, 0, SYN, 0, ""))
	p.in(b.o.Clone)
	// The kernel does not believe it: a challenge ACK, in the old numbers.
	if s := p.kernel(0, clientISN+1, ""); s == nil || s.Seq() != iss+1 {
		t.Fatalf("challenge ACK lost: %v", p.o.Reason)
	}
	// It does now: new numbers.
	p.iss = 99
	s := p.out(Header{Seq: 99, Ack: clientISN + 5001, Flags: SYN | ACK, Window: 65160, MSS: 1460, WScale: 9}, "")
	if s != nil || p.o.Reason != SynAckHeld {
		t.Fatalf("new flow: %v", p.o.Reason)
	}
	if n := p.table.Count(advertised); n.HalfOpen != 1 || n.Duplex != 0 {
		t.Fatalf("flows: %+v", n)
	}
}

func TestConfirmationThatOvertakesItsClone(t *testing.T) {
	p, b := pair(t)
	b.in(client(clientISN, 0, SYN, 0, ""))
	clone := append([]byte(nil), b.o.Clone...)
	b.synAck()
	if sent := b.confirmTo(p); len(sent) != 0 {
		t.Fatal("released what is not there")
	}
	p.in(clone)
	if s := p.synAck(); s == nil {
		t.Fatalf("SYN-ACK held though confirmed: %v", p.o.Reason)
	}
}

func TestSegmentBeforeTheSynAckIsParked(t *testing.T) {
	p, b := pair(t)
	b.in(client(clientISN, 0, SYN, 0, ""))
	p.in(b.o.Clone)
	p.synAck()
	iss, stamp := p.table.initial(FlowID{Key: Key{Client: clientEnd, Advertised: advertised}, ISN: clientISN})
	if b.in(client(clientISN+1, iss+1, ACK, stamp, "early")) != nil || b.o.Reason != Parked || b.o.Clone == nil {
		t.Fatalf("not parked: %v", b.o.Reason)
	}
	b.synAck()
	if len(b.o.ToLocal) != 1 {
		t.Fatalf("%d released", len(b.o.ToLocal))
	}
	if s := parse(t, b.o.ToLocal[0]); s.Ack() != b.iss+1 || string(s.Payload()) != "early" || !s.VerifyChecksum() {
		t.Fatalf("released %d %q", s.Ack(), s.Payload())
	}
}

func TestUnknownFlows(t *testing.T) {
	p, b := pair(t)
	stray := client(77, 88, ACK, 0, "x")
	if b.in(stray) != nil || b.o.Reason != UnknownFlow || b.o.Clone == nil {
		t.Fatalf("receiver: %v", b.o.Reason)
	}
	if p.in(b.o.Clone) != nil || p.o.Reason != ResetUnknown || len(p.o.ToClient) != 1 {
		t.Fatalf("speaker: %v", p.o.Reason)
	}
	if s := parse(t, p.o.ToClient[0]); !s.Flags().Has(RST) || s.Seq() != 88 {
		t.Fatalf("reset at %d", s.Seq())
	}
	if p.out(Header{Seq: 5, Flags: RST, WScale: -1}, "") != nil || p.o.Reason != UnknownFlow {
		t.Fatalf("the kernel's reset left: %v", p.o.Reason)
	}
	p.table.SetStance(advertised, Stance{})
	if p.in(stray) != nil || p.o.Reason != NotServing {
		t.Fatalf("not serving: %v", p.o.Reason)
	}
	bad := client(clientISN, 0, SYN, 0, "")
	bad[len(bad)-1] ^= 1
	if b.in(bad) != nil || b.o.Reason != BadChecksum {
		t.Fatalf("corrupt: %v", b.o.Reason)
	}
}

func TestSynFloodIsBounded(t *testing.T) {
	_, b := pair(t)
	b.table.limits.HalfOpen = 100
	for i := range 1000 {
		s := parse(t, client(Seq(i), 0, SYN, 0, ""))
		s.SetSrc(netip.AddrPortFrom(clientEnd.Addr(), uint16(i+1)))
		s.Seal(false)
		b.table.Inbound(&s, false, *b.now, &b.o)
		if b.o.Accept != (i < 100) {
			t.Fatalf("SYN %d: %v", i, b.o.Reason)
		}
	}
	// After a second the flood's handshakes give way to newer ones, one for one.
	*b.now += patience
	s := parse(t, client(77, 0, SYN, 0, ""))
	s.SetSrc(netip.AddrPortFrom(clientEnd.Addr(), 5000))
	s.Seal(false)
	b.table.Inbound(&s, false, *b.now, &b.o)
	if !b.o.Accept || len(b.o.ToLocal) != 1 || b.table.halfOpen != 100 || len(b.table.flows) != 100 {
		t.Fatalf("locked out: %v, %d half-open", b.o.Reason, b.table.halfOpen)
	}
	if r := parse(t, b.o.ToLocal[0]); !r.Flags().Has(RST) || r.Seq() != 1 || r.Src().Port() != 1 {
		t.Fatalf("the kernel keeps its request: %d from %v", r.Seq(), r.Src())
	}
	*b.now += halfOpenLife + time.Second
	b.table.Expire(*b.now, func(*Outcome) {})
	if b.table.halfOpen != 0 || len(b.table.flows) != 0 {
		t.Fatalf("%d half-open, %d flows left", b.table.halfOpen, len(b.table.flows))
	}
}

// A client that begins anew on the port of its own unfinished handshake may be the one for which
// just that is given up: the newer one is known all the same.
func TestHandshakeGivenUpForItsSuccessor(t *testing.T) {
	_, b := pair(t)
	b.table.limits.HalfOpen = 1
	b.in(client(clientISN, 0, SYN, 0, ""))
	*b.now += patience
	b.in(client(clientISN+5000, 0, SYN, 0, ""))
	if f := b.table.flows[Key{Client: clientEnd, Advertised: advertised}]; f == nil || f.id.ISN != clientISN+5000 {
		t.Fatalf("%v, but no such flow", b.o.Reason)
	}
	*b.now += halfOpenLife + time.Second
	b.table.Expire(*b.now, func(*Outcome) {})
	if b.table.halfOpen != 0 {
		t.Fatalf("%d half-open left", b.table.halfOpen)
	}
}

func TestEstablishedSegmentAllocatesNothing(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	payload := string(make([]byte, 1448))
	segment := client(clientISN+1, iss+1, ACK, stamp, payload)
	buf := make([]byte, len(segment))
	if n := testing.AllocsPerRun(1000, func() {
		copy(buf, segment)
		s, _ := ParseSegment(buf)
		b.table.Inbound(&s, true, *b.now, &b.o)
	}); n != 0 {
		t.Errorf("inbound: %v allocations", n)
	}
	reply := AppendSegment(nil, Header{Src: advertised, Dst: clientEnd, Seq: p.iss + 1, Ack: clientISN + 1,
		Flags: ACK, Window: 128, WScale: -1, HasTS: true, TSVal: p.stamp, TSEcr: 51}, []byte(payload))
	for _, h := range []*side{p, b} {
		if n := testing.AllocsPerRun(1000, func() {
			copy(buf, reply)
			s, _ := ParseSegment(buf)
			h.table.Outbound(&s, false, *h.now, &h.o)
		}); n != 0 {
			t.Errorf("outbound: %v allocations", n)
		}
	}
}

func TestVoiceMovesBetweenLivingHosts(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	b.in(client(clientISN+1, iss+1, ACK, stamp, "0123456789"))
	p.in(b.o.Clone)
	p.kernel(0, clientISN+11, "") // held: the backup has not confirmed
	var told []Confirmation
	p.table.SetStance(advertised, Stance{Serve: true, Duplex: true})
	p.table.Yield(advertised, func(o *Outcome) { told = append(told, o.Confirm...) })
	if len(told) != 1 || told[0].RcvNxt != clientISN+11 {
		t.Fatalf("the peer was told %v", told)
	}
	if p.kernel(0, clientISN+11, "x") != nil || p.o.Reason != NotSpeaker {
		t.Fatalf("still speaks: %v", p.o.Reason)
	}
	b.table.SetStance(advertised, Stance{Serve: true, Duplex: true, Speak: true})
	b.table.Speak(advertised, *b.now, func(o *Outcome) {
		if len(o.ToClient) != 0 {
			t.Error("acknowledged what the other kernel has not confirmed")
		}
	})
	if b.kernel(0, clientISN+11, "") != nil || b.o.Reason != AckHeld {
		t.Fatalf("not held: %v", b.o.Reason)
	}
	b.table.Confirmed(told[0], *b.now, &b.o)
	if len(b.o.ToClient) != 1 {
		t.Fatalf("%d acknowledgments released", len(b.o.ToClient))
	}
	if s := parse(t, b.o.ToClient[0]); s.Ack() != clientISN+11 || s.Seq() != iss+1 {
		t.Fatalf("released %d at %d", s.Ack(), s.Seq())
	}
	s := b.kernel(0, clientISN+11, "reply")
	if s == nil || s.Seq() != iss+1 {
		t.Fatalf("the new voice is silent: %v", b.o.Reason)
	}
	// The old voice's kernel may lag behind: it learns of acknowledgments all the same.
	if got := p.in(client(clientISN+11, iss+6, ACK, stamp, "")); got == nil || got.Ack() != p.iss+2 || p.o.Reason != AckClamped {
		t.Fatalf("not clamped: %v", p.o.Reason)
	}
}

// A connection on which nothing is owed stays both hosts', however often the voice moves.
func TestVoiceComesBack(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	b.in(client(clientISN+1, iss+1, ACK, stamp, "0123456789"))
	p.in(b.o.Clone)
	b.kernel(0, clientISN+11, "")
	b.confirmTo(p)
	p.kernel(0, clientISN+11, "")
	for i, way := range [][2]*side{{p, b}, {b, p}, {p, b}} {
		from, to := way[0], way[1]
		from.table.Yield(advertised, func(o *Outcome) { from.o.Confirm = append(from.o.Confirm[:0], o.Confirm...) })
		from.confirmTo(to)
		to.table.Speak(advertised, *to.now, func(*Outcome) {})
		*to.now += DefaultLimits.Hold + time.Millisecond
		to.table.Expire(*to.now, func(o *Outcome) { t.Errorf("turn %d: %v", i+1, o.Notes) })
	}
}

// A backup that confirms all the time, always a little late, holds the flow.
func TestSteadyLagIsNoReasonForSimplex(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	end := clientISN + 1
	id := FlowID{Key: Key{Client: clientEnd, Advertised: advertised}, ISN: clientISN}
	for n := uint64(10); n < 400; n += 10 {
		*p.now += 50 * time.Millisecond
		b.in(client(end, iss+1, ACK, stamp, "0123456789"))
		p.in(b.o.Clone)
		end += 10
		p.kernel(0, end, "") // ahead of the backup by ten bytes
		p.table.Expire(*p.now, func(o *Outcome) { t.Fatalf("after %v: %v", *p.now, o.Notes) })
		b.table.Received(id, n-5, false, *b.now, &b.o)
		for _, c := range append([]Confirmation(nil), b.o.Confirm...) {
			p.table.Confirmed(c, *p.now, &p.o)
		}
	}
}

// After a partition in which both hosts claimed, a client that went on with the other host is
// told so; one that this host may have served is not.
func TestFlowThatTheOtherHostWentOnWith(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	p.kernel(0, clientISN+1, "0123456789")
	b.in(client(clientISN+1, iss+11, ACK, stamp, "")) // ahead of the backup's kernel
	for _, h := range []*side{p, b} {
		h.table.Survive(advertised, *h.now, func(*Outcome) {})
		if got := h.in(client(clientISN+1, iss+11, ACK, stamp, "x")); got == nil {
			t.Fatalf("dropped though it was served here: %v", h.o.Reason)
		}
		if h.in(client(clientISN+1, iss+2_000_000, ACK, stamp, "x")) != nil || h.o.Reason != ResetUnknown || len(h.o.ToClient) != 1 {
			t.Fatalf("not told: %v", h.o.Reason)
		}
		if s := parse(t, h.o.ToClient[0]); !s.Flags().Has(RST) || s.Seq() != iss+2_000_000 {
			t.Fatalf("told at %d", s.Seq())
		}
		if len(h.o.ToLocal) != 1 || len(h.table.flows) != 0 {
			t.Error("the local copy stays")
		}
	}
}

// A flow that falls to simplex in the moment of a switchover has a host without voice; its client
// is told by the other.
func TestSimplexInTheMomentOfASwitchover(t *testing.T) {
	p, b := pair(t)
	connect(t, p, b)
	id := FlowID{Key: Key{Client: clientEnd, Advertised: advertised}, ISN: clientISN}
	b.table.Noted(Note{Flow: id, Kind: NoteSimplex}, *b.now, &b.o)
	p.table.Yield(advertised, func(*Outcome) {})
	p.table.Noted(b.o.Notes[0], *p.now, &p.o) // too late
	if m, _ := p.table.Mode(id); m != Duplex {
		t.Fatalf("a flow without voice is %v", m)
	}
	b.table.SetStance(advertised, Stance{Serve: true, Duplex: true, Speak: true})
	told := 0
	b.table.Speak(advertised, *b.now, func(o *Outcome) { told += len(o.ToClient) })
	if _, ok := b.table.Mode(id); ok || told == 0 {
		t.Errorf("the client waits: told %d times", told)
	}
}

// Where the peer that executes cannot hold a flow any more, this host executes what is accepted
// from then on.
func TestSimplexEndsExecutionAbroad(t *testing.T) {
	p, b := pair(t)
	connect(t, p, b)
	id := FlowID{Key: Key{Client: clientEnd, Advertised: advertised}, ISN: clientISN}
	p.table.Yield(advertised, func(*Outcome) {})
	b.table.Executes(id)
	b.table.Speak(advertised, *b.now, func(*Outcome) {})
	if _, _, executes, _ := b.table.Accepted(id.Key); executes {
		t.Fatal("two executors")
	}
	b.table.Noted(Note{Flow: id, Kind: NoteUnknown}, *b.now, &b.o)
	if _, mode, executes, _ := b.table.Accepted(id.Key); !executes || mode != Simplex {
		t.Fatalf("%v without an executor", mode)
	}
}
