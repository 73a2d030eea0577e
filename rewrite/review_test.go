package rewrite

import (
	"net/netip"
	"testing"
	"time"
)

// stamped returns the client's segment with another stamp.
func stamped(t *testing.T, b []byte, val uint32) []byte {
	t.Helper()
	s := parse(t, b)
	_, ecr, _ := s.Timestamps()
	s.SetTimestamps(val, ecr)
	s.Seal(false)
	return b
}

// A kernel in SYN-RECEIVED answers a stray acknowledgment by a bare RST. Its request lives on,
// so the SYN-ACK that waits must still go out, and later ones too.
func TestResetOfAStrayDoesNotLoseTheHeldSynAck(t *testing.T) {
	p, b := pair(t)
	b.in(client(clientISN, 0, SYN, 0, ""))
	p.in(b.o.Clone)
	b.synAck()
	confirmed := append([]Confirmation(nil), b.o.Confirm...)
	p.synAck()
	p.out(Header{Seq: 4711, Flags: RST, WScale: -1}, "")
	if n := p.table.Count(advertised); n.HalfOpen != 1 {
		t.Fatalf("a bare RST ended the handshake: %+v", n)
	}
	p.table.Confirmed(confirmed[0], *p.now, &p.o)
	if len(p.o.ToClient) != 1 {
		t.Fatal("the SYN-ACK was lost")
	}
	if p.synAck() == nil {
		t.Fatalf("nor is it repeated: %v", p.o.Reason)
	}
}

// Nor does such an RST say what the kernel has sent: an acknowledgment that is released later must
// stand where the client takes it.
func TestResetOfAStrayIsNotTheKernelsPlace(t *testing.T) {
	p, b := pair(t)
	b.in(client(clientISN, 0, SYN, 0, ""))
	p.in(b.o.Clone)
	p.synAck()
	p.out(Header{Seq: p.iss.Add(1_000_000), Flags: RST, WScale: -1}, "")
	b.synAck()
	synAck := b.confirmTo(p)[0]
	iss := synAck.Seq()
	stamp, _, _ := synAck.Timestamps()
	b.in(client(clientISN+1, iss+1, ACK, stamp, "0123456789"))
	p.in(b.o.Clone)
	p.kernel(0, clientISN+11, "")
	b.kernel(0, clientISN+11, "")
	if sent := b.confirmTo(p); len(sent) != 1 || sent[0].Seq() != iss+1 {
		t.Fatalf("released %d acknowledgments, the first %d too far", len(sent), sent[0].Seq()-iss-1)
	}
	if n := p.table.Count(advertised); n.Duplex != 1 {
		t.Fatalf("counted as %+v", n)
	}
}

// A reply that acknowledges less than the kernel said owes the client the rest.
func TestReplyThatAcknowledgesLessOwesTheRest(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	b.in(client(clientISN+1, iss+1, ACK, stamp, "0123456789"))
	p.in(b.o.Clone)
	if s := p.kernel(0, clientISN+11, "reply"); s == nil || s.Ack() != clientISN+1 {
		t.Fatalf("reply: %v", p.o.Reason)
	}
	b.kernel(0, clientISN+11, "")
	if sent := b.confirmTo(p); len(sent) != 1 || sent[0].Ack() != clientISN+11 {
		t.Fatalf("the confirmation released %v", sent)
	}
}

// sacked is a duplicate ACK of the host's kernel with SACK blocks.
func sacked(h *side, ack Seq, blocks ...[2]Seq) *Segment {
	return h.out(Header{Seq: h.iss + 1, Ack: ack, Flags: ACK, Window: 128, WScale: -1, HasTS: true,
		TSVal: h.stamp + 1, TSEcr: 51, SACK: blocks}, "")
}

// What only the primary's kernel has is not acknowledged selectively either (I2): the client
// would not send it again, and after a takeover nobody has it.
func TestNothingIsSackedBeforeThePeerHasIt(t *testing.T) {
	p, b := pair(t)
	connect(t, p, b)
	at := func(n Size) Seq { return clientISN.Add(1 + n) }
	if s := sacked(p, at(0), [2]Seq{at(10), at(30)}); s != nil {
		t.Fatalf("SACK of what the backup does not have: %v", s)
	}
	// The backup has a part of it.
	sacked(b, at(0), [2]Seq{at(10), at(20)})
	sent := b.confirmTo(p)
	if len(sent) != 1 || sent[0].SACKCount() != 1 {
		t.Fatalf("released %v", sent)
	}
	if from, to := sent[0].SACK(0); from != at(10) || to != at(20) {
		t.Fatalf("SACK %d to %d", from-at(0), to-at(0))
	}
	// From now on the kernel's own duplicates carry that much.
	s := sacked(p, at(0), [2]Seq{at(40), at(50)}, [2]Seq{at(10), at(30)})
	if s == nil || s.SACKCount() != 1 || !s.VerifyChecksum() {
		t.Fatalf("own duplicate: %v %v", s, p.o.Reason)
	}
	if from, to := s.SACK(0); from != at(10) || to != at(20) {
		t.Fatalf("own SACK %d to %d", from-at(0), to-at(0))
	}
}

// A hole of the backup is told, but not that it has bytes which the primary lacks.
func TestHoleOfTheBackupIsCutToWhatThePrimaryHas(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	at := func(n Size) Seq { return clientISN.Add(1 + n) }
	b.in(client(at(0), iss+1, ACK, stamp, "0123456789"))
	p.in(b.o.Clone)
	p.kernel(0, at(20), "")
	sacked(b, at(0), [2]Seq{at(10), at(30)})
	sent := b.confirmTo(p)
	if len(sent) != 1 || sent[0].SACKCount() != 1 {
		t.Fatalf("released %v", sent)
	}
	if _, to := sent[0].SACK(0); to != at(20) {
		t.Fatalf("SACK to %d", to-at(0))
	}
}

// A released acknowledgment may overtake data that still waits in the queue; its stamp must
// not be newer than theirs, or the client takes them for old ones (PAWS).
func TestReleasedAckIsNotNewerThanQueuedData(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	b.in(client(clientISN+1, iss+1, ACK, stamp, "0123456789"))
	p.in(b.o.Clone)
	p.kernel(0, clientISN+11, "")
	b.kernel(0, clientISN+11, "")
	*p.now += 20 * time.Millisecond // the kernel sent data 5 ms ago, which waits in the queue
	sent := b.confirmTo(p)
	fresh, _, _ := sent[0].Timestamps()
	data := p.out(Header{Seq: p.iss + 1, Ack: clientISN + 11, Flags: ACK, Window: 128, WScale: -1,
		HasTS: true, TSVal: p.stamp + 15, TSEcr: 51}, "reply")
	if val, _, _ := data.Timestamps(); int32(val-fresh) < 0 {
		t.Fatalf("data is stamped %d ms before the acknowledgment", fresh-val)
	}
}

// A fake acknowledgment stands at the kernel's RcvNxt, so its stamp becomes TS.Recent. One of
// a segment beyond a hole would make the kernel refuse what fills the hole (RFC 7323 §5.3).
func TestFakeAckIsNotNewerThanWhatFillsTheHole(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	p.kernel(0, clientISN+1, "reply")
	b.in(stamped(t, client(clientISN+11, iss+6, ACK, stamp, "beyond"), 90)) // stamped 90; the one before, at 60, is late
	b.kernel(0, clientISN+1, "reply")
	if len(b.o.ToLocal) != 1 {
		t.Fatalf("%d fake acknowledgments", len(b.o.ToLocal))
	}
	fake := parse(t, b.o.ToLocal[0])
	if val, _, _ := fake.Timestamps(); val > 60 {
		t.Fatalf("fake acknowledgment stamped %d", val)
	}
}

// simplex makes the primary go on alone and tells the backup.
func simplex(t *testing.T, p, b *side) FlowID {
	t.Helper()
	id := FlowID{Key: Key{Client: clientEnd, Advertised: advertised}, ISN: clientISN}
	if !p.table.Simplify(id, *p.now, &p.o) {
		t.Fatal("no duplex flow")
	}
	b.table.Noted(p.o.Notes[0], *b.now, &b.o)
	return id
}

// The copy of a connection that a host no longer holds is ended at once: nobody else would.
func TestLocalCopyOfARelayedFlowIsEnded(t *testing.T) {
	p, b := pair(t)
	connect(t, p, b)
	simplex(t, p, b)
	if len(b.o.ToLocal) != 1 {
		t.Fatal("the local socket lives on")
	}
	s := parse(t, b.o.ToLocal[0])
	if !s.Flags().Has(RST) || s.Seq() != clientISN+1 || s.Src() != clientEnd || s.Dst() != advertised {
		t.Fatalf("%v at %d", s.Flags(), s.Seq())
	}
	// Had the kernel more than was known, it answers, and is told again.
	if b.kernel(0, clientISN+11, "") != nil || len(b.o.ToLocal) != 1 {
		t.Fatalf("challenge: %v", b.o.Reason)
	}
	if s := parse(t, b.o.ToLocal[0]); s.Seq() != clientISN+11 {
		t.Fatalf("RST at %d", s.Seq())
	}
	if b.out(Header{Seq: 1, Ack: 1, Flags: RST | ACK, WScale: -1}, "") != nil || len(b.o.ToLocal) != 0 {
		t.Fatal("an RST is answered")
	}
}

// The RST for a lost flow stands at the client's last ACK, also where that came while the
// flow was only relayed: any other the client ignores.
func TestLostFlowIsResetAtTheLastAck(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	b.table.Accepted(simplex(t, p, b).Key)
	b.in(client(clientISN+1, iss+1001, ACK, stamp, ""))
	var sent [][]byte
	b.table.Survive(advertised, *b.now, func(o *Outcome) {
		for _, x := range o.ToClient {
			sent = append(sent, append([]byte(nil), x...))
		}
	})
	if len(sent) != 2 {
		t.Fatalf("%d packets", len(sent))
	}
	if s := parse(t, sent[1]); s.Seq() != iss+1000 || s.Len() != 0 {
		t.Fatalf("probe at %d", s.Seq())
	}
	if s := parse(t, sent[0]); !s.Flags().Has(RST) || s.Seq() != iss+1001 {
		t.Fatalf("%v at %d, want %d", s.Flags(), s.Seq(), iss+1001)
	}
}

// A survivor whose kernel is behind the client ends the connection where the client is, and only it does.
func TestResetWhereTheClientIs(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	id := FlowID{Key: Key{Client: clientEnd, Advertised: advertised}, ISN: clientISN}
	p.kernel(0, clientISN+1, "0123456789")
	b.in(client(clientISN+1, iss+11, ACK, stamp, "")) // ahead of the backup's kernel
	if p.table.Speaks(id) == b.table.Speaks(id) {
		t.Error("not one of them speaks")
	}
	if b.table.Reset(id, *b.now, &b.o); len(b.o.ToClient) != 0 || len(b.table.flows) != 1 {
		t.Fatal("who does not speak resets the client")
	}
	b.table.Survive(advertised, *b.now, func(*Outcome) {})
	if b.table.Reset(id, *b.now, &b.o); len(b.o.ToClient) != 2 || len(b.table.flows) != 0 || b.table.Speaks(id) {
		t.Fatalf("%d packets, %d flows", len(b.o.ToClient), len(b.table.flows))
	}
	if s := parse(t, b.o.ToClient[0]); !s.Flags().Has(RST) || s.Seq() != iss+11 {
		t.Errorf("%v at %d, want %d", s.Flags(), s.Seq(), iss+11)
	}
	if b.table.Reset(id, *b.now, &b.o); len(b.o.ToClient) != 0 {
		t.Error("an unknown flow is reset")
	}
}

// Relayed flows have no socket here to tell when they end.
func TestRelayedFlowsAreForgotten(t *testing.T) {
	for name, c := range map[string]struct {
		last Flags
		wait time.Duration
	}{"closed": {FIN | ACK, closedLife}, "silent": {ACK, relayLife}} {
		t.Run(name, func(t *testing.T) {
			p, b := pair(t)
			iss, stamp := connect(t, p, b)
			simplex(t, p, b)
			b.in(client(clientISN+1, iss+1, c.last, stamp, ""))
			dead := func() int {
				b.table.Sweep(advertised, func(netip.AddrPort) bool { return false }, *b.now)
				return len(b.table.flows)
			}
			*b.now += c.wait - time.Second
			if dead() != 1 {
				t.Fatal("forgotten too early")
			}
			*b.now += 2 * time.Second
			if dead() != 0 {
				t.Fatal("kept for ever")
			}
			// Should it live after all, its segments still reach the peer.
			if b.in(client(clientISN+1, iss+1, ACK, stamp, "x")) != nil || b.o.Clone == nil {
				t.Fatalf("not relayed: %v", b.o.Reason)
			}
		})
	}
}

// An acknowledgment that the kernel will not look at, since its segment is outside of the
// window, must not make this host acknowledge the reply in the client's name.
func TestBlindAcknowledgmentIsNotBelieved(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	p.kernel(0, clientISN+1, "0123456789")
	b.in(client(clientISN.Add(10_000_000), iss+11, ACK, stamp, ""))
	b.kernel(0, clientISN+1, "0123456789")
	if len(b.o.ToLocal) != 0 {
		t.Fatal("the reply was given up by a stranger's word")
	}
}

// A confirmation counts also where it comes before this host knows that it is to speak: it is
// not said again.
func TestConfirmationBeforeTheVoice(t *testing.T) {
	p, b := pair(t)
	connect(t, p, b)
	id := FlowID{Key: Key{Client: clientEnd, Advertised: advertised}, ISN: clientISN}
	b.table.Confirmed(Confirmation{Flow: id, RcvNxt: clientISN + 11, Edge: clientISN.Add(5000)}, *b.now, &b.o)
	if f := b.table.find(id); f.confAck != clientISN+11 || f.confEdge != clientISN.Add(5000) {
		t.Fatalf("forgotten: %d", f.confAck-clientISN)
	}
	if len(b.o.ToClient) != 0 {
		t.Fatal("the backup spoke")
	}
}

// A SYN that only the peer's kernel believed ends the old connection here as well: else this
// host would speak for it once the peer has died, to a client that knows nothing of it.
func TestConnectionThatThePeerGaveUpIsOver(t *testing.T) {
	p, b := pair(t)
	connect(t, p, b)
	b.in(client(clientISN+5000, 0, SYN, 0, ""))
	id := FlowID{Key: Key{Client: clientEnd, Advertised: advertised}, ISN: clientISN + 5000}
	b.table.Noted(Note{Flow: id, Kind: NoteSimplex}, *b.now, &b.o)
	if len(b.o.ToLocal) != 1 {
		t.Fatal("the old socket lives on")
	}
	if s := parse(t, b.o.ToLocal[0]); !s.Flags().Has(RST) || s.Seq() != clientISN+1 {
		t.Fatalf("%v at %d", s.Flags(), s.Seq())
	}
	b.table.Survive(advertised, *b.now, func(o *Outcome) {
		for _, x := range o.ToClient {
			if s := parse(t, x); !s.Flags().Has(RST) {
				t.Fatalf("spoke for the old connection: %v", s.Flags())
			}
		}
	})
	if len(b.table.flows) != 0 || b.table.halfOpen != 0 {
		t.Fatalf("%d flows, %d half-open left", len(b.table.flows), b.table.halfOpen)
	}
}
