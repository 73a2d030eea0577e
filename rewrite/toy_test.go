package rewrite

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// toy is a small TCP endpoint that is as strict as Linux where that matters to a translator:
// PAWS, the stamp of the handshake, acknowledgments of what was not sent, the right edge of
// the window, the place of an RST, and SACK with reneging. One connection, one direction each.
type toy struct {
	rnd        *rand.Rand
	send       func([]byte)
	self, peer netip.AddrPort
	state      toyState
	failed     string // why the connection ended before its time
	clock      uint32 // its stamp at time 0
	now        time.Duration

	iss, una, nxt Seq
	out           []byte // all that the application has written
	fin           bool   // and it has written all
	wnd           Size
	edgeSent      Seq
	sacked        map[Size]bool // by offset in out
	dup           int
	rto           time.Duration
	timer         time.Duration // 0: off

	irs, rcv Seq
	in       []byte
	ooo      map[Size]byte
	finAt    Size // offset of the peer's FIN plus 1, 0: not known
	room     Size // receive buffer
	read     int  // bytes that the application took

	recent        uint32
	ackSent       Seq
	synFirst      uint32
	delayed       time.Duration
	scale, pscale uint8
}

type toyState uint8

const (
	toyListen toyState = iota
	toySynSent
	toySynRcvd
	toyOpen
	toyDead
)

func (k *toy) stamp() uint32 { return k.clock + uint32(k.now/time.Millisecond) }

func (k *toy) sndEnd() Seq { return k.iss.Add(1 + Size(len(k.out))) }

// done reports whether everything was sent and acknowledged, and the peer's stream is complete.
func (k *toy) done() bool {
	return k.state == toyOpen && k.fin && k.una == k.sndEnd()+1 && k.finAt != 0 && Size(len(k.in)) == k.finAt-1
}

func (k *toy) window() Size {
	w := k.room - min(k.room, Size(len(k.in)-k.read))
	if k.edgeSent.After(k.rcv.Add(w)) {
		w = k.edgeSent.Since(k.rcv)
	}
	return w
}

func (k *toy) emit(flags Flags, seq Seq, payload []byte) {
	w := k.window()
	h := Header{Src: k.self, Dst: k.peer, Seq: seq, Flags: flags, HasTS: true, TSVal: k.stamp(), TSEcr: k.recent, WScale: -1}
	if flags.Has(SYN) {
		h.MSS, h.WScale, h.SACKPermitted = 1000, int(k.scale), true
		h.Window = uint16(min(w, 0xffff))
		w = Size(h.Window)
	} else {
		up := w >> k.scale
		if k.edgeSent.After(k.rcv.Add(up << k.scale)) {
			up++
		}
		h.Window = uint16(min(up, 0xffff))
		w = Size(h.Window) << k.scale
	}
	if flags.Has(ACK) {
		h.Ack, h.SACK = k.rcv, k.blocks()
		k.ackSent, k.edgeSent, k.delayed = k.rcv, k.rcv.Add(w), 0
	}
	k.send(AppendSegment(nil, h, payload))
}

func (k *toy) blocks() [][2]Seq {
	var all [][2]Seq
	base := k.irs + 1
	for off := range k.ooo {
		if _, before := k.ooo[off-1]; before {
			continue
		}
		end := off
		for {
			if _, ok := k.ooo[end]; !ok {
				break
			}
			end++
		}
		all = append(all, [2]Seq{base.Add(off), base.Add(end)})
	}
	return all
}

func (k *toy) connect(isn Seq) {
	k.state, k.iss, k.una, k.nxt = toySynSent, isn, isn, isn+1
	k.synFirst = k.stamp()
	k.emit(SYN, isn, nil)
	k.arm()
}

func (k *toy) arm() { k.timer = k.now + k.rto }

func (k *toy) reset(why string) { k.state, k.failed = toyDead, why }

// recv takes a packet off the wire.
func (k *toy) recv(b []byte) {
	s, why := ParseSegment(b)
	if why != OK {
		if e, why := ParseICMPError(b); why == OK {
			if e.QuotedSeq() == k.una && k.rto > 200*time.Millisecond {
				k.rto /= 2
				k.timer = min(k.timer, k.now+k.rto)
			}
			return
		}
		panic(fmt.Sprintf("toy: %v", why))
	}
	if !s.VerifyChecksum() {
		panic("toy: checksum")
	}
	val, ecr, _ := s.Timestamps()
	f := s.Flags()
	if f.Has(SYN) && !f.Has(ACK) && (k.state == toyDead || k.done()) {
		fresh := newToy(k.rnd, k.self, k.peer, k.room) // TIME_WAIT takes a new SYN
		fresh.send, fresh.now, fresh.scale = k.send, k.now, k.scale
		*k = *fresh
	}
	switch k.state {
	case toyDead:
		if !f.Has(RST) {
			k.send(AppendSegment(nil, Header{Src: k.self, Dst: k.peer, Seq: s.Ack(), Flags: RST, WScale: -1}, nil))
		}
		return
	case toyListen:
		if f.Has(SYN) && !f.Has(ACK) && !f.Has(RST) {
			ws, _ := s.WindowScale()
			k.state, k.irs, k.rcv, k.pscale, k.recent = toySynRcvd, s.Seq(), s.Seq()+1, ws, val
			k.iss = Seq(k.rnd.Uint32())
			k.una, k.nxt, k.edgeSent = k.iss, k.iss+1, k.rcv
			k.wnd, k.synFirst = Size(s.Window()), k.stamp()
			k.emit(SYN|ACK, k.iss, nil)
			k.arm()
		}
		return
	case toySynSent:
		if f.Has(ACK) && s.Ack() != k.nxt && !f.Has(RST) {
			k.send(AppendSegment(nil, Header{Src: k.self, Dst: k.peer, Seq: s.Ack(), Flags: RST, WScale: -1}, nil))
		}
		if !f.Has(SYN|ACK) || s.Ack() != k.nxt {
			return
		}
		if int32(ecr-k.synFirst) < 0 || int32(k.stamp()-ecr) < 0 {
			k.reset("SYN-ACK echoes another stamp")
			return
		}
		ws, _ := s.WindowScale()
		k.state, k.irs, k.rcv, k.pscale, k.recent = toyOpen, s.Seq(), s.Seq()+1, ws, val
		k.una, k.wnd, k.edgeSent, k.rto = s.Ack(), Size(s.Window()), k.rcv, 200*time.Millisecond
		k.timer = 0
		k.emit(ACK, k.nxt, nil)
		k.push()
		return
	case toySynRcvd:
		if f.Has(SYN) && s.Seq() == k.irs {
			k.emit(SYN|ACK, k.iss, nil)
			return
		}
		if f.Has(RST) {
			if s.Seq() == k.rcv {
				k.reset("RST in SYN-RECEIVED")
			}
			return
		}
		if s.Ack() != k.iss+1 && !(f.Has(ACK) && s.Ack().After(k.iss+1)) {
			return
		}
		if s.Ack() != k.iss+1 { // a listener's answer to a stray
			k.send(AppendSegment(nil, Header{Src: k.self, Dst: k.peer, Seq: s.Ack(), Flags: RST, WScale: -1}, nil))
			return
		}
		if int32(ecr-k.synFirst) < 0 || int32(k.stamp()-ecr) < 0 {
			return
		}
		k.state, k.una, k.timer, k.rto = toyOpen, s.Ack(), 0, 200*time.Millisecond
	}
	k.established(&s, val)
}

func (k *toy) established(s *Segment, val uint32) {
	f := s.Flags()
	if f.Has(RST) {
		if s.Seq() == k.rcv {
			k.reset("RST")
		} else if s.Seq().After(k.rcv) && !s.Seq().After(k.rcv.Add(k.window())) {
			k.emit(ACK, k.nxt, nil)
		}
		return
	}
	if f.Has(SYN) {
		k.emit(ACK, k.nxt, nil)
		return
	}
	if int32(k.recent-val) > 1 { // PAWS
		k.emit(ACK, k.nxt, nil)
		return
	}
	if s.End().Before(k.ackSent) || s.End().After(k.rcv.Add(k.window()).Add(1)) {
		k.emit(ACK, k.nxt, nil)
		return
	}
	if s.Ack().After(k.nxt) {
		k.emit(ACK, k.nxt, nil)
		return
	}
	if !s.Seq().After(k.ackSent) && int32(val-k.recent) > 0 {
		k.recent = val
	}
	k.acked(s)
	k.data(s)
	k.push()
}

func (k *toy) acked(s *Segment) {
	if s.Ack().Before(k.una) {
		return
	}
	k.wnd = Size(s.Window()) << k.pscale
	base := k.iss + 1
	news := false
	for i := range s.SACKCount() {
		from, to := s.SACK(i)
		if from.After(s.Ack()) && !to.After(k.nxt) {
			for q := from; q.Before(to); q++ {
				if off := q.Since(base); !k.sacked[off] {
					k.sacked[off], news = true, true
				}
			}
		}
	}
	if s.Ack() == k.una {
		if news || s.SACKCount() > 0 {
			if k.dup++; k.dup == 3 && k.nxt.After(k.una) {
				k.retransmit()
			}
		}
		return
	}
	k.una, k.dup, k.rto = s.Ack(), 0, 200*time.Millisecond
	if k.timer = 0; k.nxt.After(k.una) {
		k.arm()
	}
}

func (k *toy) data(s *Segment) {
	base := k.irs + 1
	had := len(k.in)
	for i, c := range s.Payload() {
		q := s.Seq().Add(Size(i))
		if !q.Before(k.rcv) && q.Before(k.rcv.Add(k.window())) {
			k.ooo[q.Since(base)] = c
		}
	}
	for {
		c, ok := k.ooo[Size(len(k.in))]
		if !ok {
			break
		}
		delete(k.ooo, Size(len(k.in)))
		k.in = append(k.in, c)
	}
	if s.Flags().Has(FIN) {
		k.finAt = (s.End() - 1).Since(base) + 1
	}
	k.rcv = base.Add(Size(len(k.in)))
	if k.finAt != 0 && Size(len(k.in)) == k.finAt-1 {
		k.rcv++
	}
	if s.Len() == 0 {
		if s.Seq().Before(k.rcv) { // a probe
			k.emit(ACK, k.nxt, nil)
		}
		return
	}
	if len(k.in) == had || len(k.ooo) > 0 || k.finAt != 0 || k.rnd.IntN(2) == 0 {
		k.emit(ACK, k.nxt, nil)
	} else if k.delayed == 0 {
		k.delayed = k.now + 40*time.Millisecond
	}
}

const toyMSS = 100

// push sends what the window and ten segments allow.
func (k *toy) push() {
	for k.state == toyOpen && k.nxt.Since(k.una) < 10*toyMSS {
		off := k.nxt.Since(k.iss + 1)
		if off > Size(len(k.out)) {
			return
		}
		n := min(toyMSS, Size(len(k.out))-off, k.wnd-min(k.wnd, k.nxt.Since(k.una)))
		last := k.fin && off+n == Size(len(k.out))
		if n == 0 && !last {
			if off < Size(len(k.out)) && k.timer == 0 {
				k.arm() // the persist timer
			}
			return
		}
		seq, flags := k.nxt, ACK
		k.nxt = k.nxt.Add(n)
		if last {
			flags |= FIN
			k.nxt++
		}
		k.emit(flags, seq, k.out[off:off+n])
		if k.timer == 0 {
			k.arm()
		}
	}
}

// retransmit sends the first hole again.
func (k *toy) retransmit() {
	off := k.una.Since(k.iss + 1)
	n := min(toyMSS, Size(len(k.out))-min(Size(len(k.out)), off), k.nxt.Since(k.una))
	flags := ACK
	if k.fin && off+n == Size(len(k.out)) && k.nxt == k.sndEnd()+1 {
		flags |= FIN
	}
	k.emit(flags, k.una, k.out[min(off, Size(len(k.out))):][:n])
}

// tick runs the timers.
func (k *toy) tick() {
	if k.state == toyOpen && k.delayed != 0 && k.now >= k.delayed {
		k.emit(ACK, k.nxt, nil)
	}
	if k.timer == 0 || k.now < k.timer || k.state == toyDead {
		return
	}
	k.rto = min(2*k.rto, 3*time.Second)
	k.arm()
	switch k.state {
	case toySynSent:
		k.emit(SYN, k.iss, nil)
	case toySynRcvd:
		k.emit(SYN|ACK, k.iss, nil)
	case toyOpen:
		if k.nxt == k.una {
			if Size(len(k.out)) > k.nxt.Since(k.iss+1) {
				k.emit(ACK, k.una-1, nil) // window probe
				return
			}
			k.timer = 0
			return
		}
		if k.sacked[k.una.Since(k.iss+1)] { // reneged
			clear(k.sacked)
		}
		k.retransmit()
	}
}
