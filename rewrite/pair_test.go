package rewrite

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var (
	pairSeeds = flag.Int("pair.seeds", 100, "how many random lives of a pair TestPair plays")
	pairSeed  = flag.Uint64("pair.seed", 0, "play this one only, with a log")
)

// world is a client, a pair of hosts with toy kernels, and bad wires between them.
type world struct {
	t      *testing.T
	rnd    *rand.Rand
	now    time.Duration
	events events
	count  int
	log    bool

	client            *toy
	hosts             [2]*host // primary, backup
	owner             int
	executor, speaker int
	clean             bool // the wires are good

	clientLoss, cloneLoss, kernelLoss float64

	requests, replies []Size
	sent              int // requests that the client has written
	runs              byte
	simplex           bool // a host fell to simplex
	orphan            bool // the dead host held the flow alone, and the other knew
	torn              bool // or did not know yet
	moving            bool // a switchover is under way
	faults            []string
}

// host is one of the pair: a table, a toy kernel and an application.
type host struct {
	w     *world
	n     int
	alive bool
	table *Table
	k     *toy
	o     Outcome

	outFree time.Duration // when the output queue is empty
	ctlFree time.Duration // when what was said on control has arrived

	stored  [][]byte // replies, in order; nil closes the connection
	written int
	asked   int // exchanges begun as executor
	read    int
	eof     bool
	sole    bool
	deaf    bool // its kernel gets nothing any more
	isn     Seq  // of the connection that the application serves
}

type event struct {
	at time.Duration
	n  int
	f  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any     { x := (*e)[len(*e)-1]; *e = (*e)[:len(*e)-1]; return x }

func (w *world) after(d time.Duration, f func()) {
	w.count++
	heap.Push(&w.events, event{w.now + d, w.count, f})
}

func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.rnd.Int64N(int64(b-a)+1))
}

func (w *world) lost(p float64) bool { return !w.clean && w.rnd.Float64() < p }

func (w *world) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf("%v: ", w.now)+fmt.Sprintf(format, args...))
}

func (w *world) say(format string, args ...any) {
	if w.log {
		w.t.Logf("%9v "+format, append([]any{w.now}, args...)...)
	}
}

func (w *world) id() FlowID {
	return FlowID{Key: Key{Client: w.client.self, Advertised: advertised}, ISN: w.client.iss}
}

func newToy(rnd *rand.Rand, self, peer netip.AddrPort, room Size) *toy {
	return &toy{rnd: rnd, self: self, peer: peer, clock: rnd.Uint32(), rto: 300 * time.Millisecond, room: room,
		sacked: map[Size]bool{}, ooo: map[Size]byte{}, scale: uint8(rnd.IntN(9))}
}

func newWorld(t *testing.T, seed uint64) *world {
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := &world{t: t, rnd: rnd, now: time.Second, owner: 1}
	w.clientLoss, w.cloneLoss, w.kernelLoss = rnd.Float64()*0.1, rnd.Float64()*0.03, rnd.Float64()*0.05
	scale := uint8(rnd.IntN(9))
	for i := range w.hosts {
		own, peer := forwardA, forwardB
		if i == 1 {
			own, peer = forwardB, forwardA
		}
		h := &host{w: w, n: i, alive: true, table: NewTable([]byte("key"), DefaultLimits)}
		h.k = newToy(rnd, advertised, clientEnd, 3000)
		h.k.scale = scale
		h.k.send = h.output
		h.table.AddService(Service{Advertised: advertised, Forward: own, Peer: peer, MSS: 1460, Scale: 7})
		h.table.SetStance(advertised, Stance{Serve: true, Duplex: true, Speak: i == 0})
		w.hosts[i] = h
	}
	w.client = newToy(rnd, clientEnd, advertised, 2000+Size(rnd.IntN(3000)))
	w.client.send = func(b []byte) { w.fromClient(b) }
	for range 1 + rnd.IntN(6) {
		w.requests = append(w.requests, 1+Size(rnd.IntN(3000)))
		w.replies = append(w.replies, 2+Size(rnd.IntN(5000)))
	}
	return w
}

// fromClient carries a packet to the owner, badly.
func (w *world) fromClient(b []byte) {
	for copies := 1; copies > 0; copies-- {
		if !w.clean && w.rnd.IntN(50) == 0 {
			copies++
		}
		if w.lost(w.clientLoss) {
			continue
		}
		w.after(w.between(time.Millisecond, 6*time.Millisecond), func() { w.hosts[w.owner].input(b) })
	}
}

// toClient carries what a host says, and judges it.
func (w *world) toClient(h *host, b []byte) {
	s := parse(w.t, b)
	w.say("host %d says %v seq %d ack %d len %d", h.n, s.Flags(), s.Seq()-h.iss()-1, s.Ack()-w.client.iss-1, s.PayloadLen())
	w.judge(h, &s)
	if !s.Flags().Has(RST) && w.lost(w.clientLoss) { // nobody repeats an RST
		return
	}
	w.after(w.between(time.Millisecond, 6*time.Millisecond), func() {
		w.client.now = w.now
		w.client.recv(b)
		w.verify()
	})
}

func (h *host) iss() Seq {
	if f := h.table.find(h.w.id()); f != nil {
		return f.iss
	}
	return 0
}

// judge checks I2 and I3 of one segment that leaves.
func (w *world) judge(h *host, s *Segment) {
	f := h.table.flows[w.id().Key]
	if s.Flags().Has(RST) || f == nil || f.id != w.id() {
		return // of no flow, or of the one before
	}
	if !f.speaker {
		w.fault("host %d speaks and is no speaker", h.n)
	}
	for _, x := range w.hosts {
		if x != h && (f.mode != Duplex || !x.alive) {
			continue
		}
		if x.k.irs != w.client.iss || s.Ack().After(x.k.rcv) {
			w.fault("host %d acknowledges %d, the kernel of %d has %d", h.n, s.Ack()-w.client.iss, x.n, x.k.rcv-w.client.iss)
		}
		for i := range s.SACKCount() {
			from, to := s.SACK(i)
			for q := from; q.Before(to); q++ {
				if _, ok := x.k.ooo[q.Since(w.client.iss+1)]; !ok && !q.Before(x.k.rcv) {
					w.fault("host %d tells SACK %d-%d, the kernel of %d lacks %d", h.n, from-w.client.iss, to-w.client.iss, x.n, q-w.client.iss)
					break
				}
			}
		}
	}
}

func (h *host) input(b []byte) {
	if !h.alive {
		return
	}
	b = append([]byte(nil), b...)
	s := parse(h.w.t, b)
	h.table.Inbound(&s, true, h.w.now, &h.o)
	h.w.say("host %d gets %v seq %d ack %d len %d: %v", h.n, s.Flags(), s.Seq()-h.w.client.iss-1, s.Ack()-h.k.iss-1, s.PayloadLen(), h.o.Reason)
	accepted := h.o.Accept
	h.carry(&h.o)
	if accepted && !h.deaf && !h.w.lost(h.w.kernelLoss) {
		h.kernel(s.Bytes())
	}
}

func (h *host) kernel(b []byte) {
	if h.alive {
		h.k.now = h.w.now
		h.k.recv(b)
	}
}

// output queues what the kernel sends, in order.
func (h *host) output(b []byte) {
	h.outFree = max(h.outFree, h.w.now+h.w.between(0, 4*time.Millisecond))
	h.w.after(h.outFree-h.w.now, func() {
		if !h.alive {
			return
		}
		s, why := ParseSegment(b)
		if why != OK {
			h.w.t.Fatalf("kernel's packet: %v", why)
		}
		h.table.Outbound(&s, false, h.w.now, &h.o)
		accepted := h.o.Accept
		h.carry(&h.o)
		if accepted {
			h.w.toClient(h, s.Bytes())
		}
	})
}

// carry does what an outcome asks for.
func (h *host) carry(o *Outcome) {
	w, peer := h.w, h.w.hosts[1-h.n]
	if c := o.Copy(); !o.Empty() {
		for _, b := range c.ToClient {
			w.toClient(h, b)
		}
		for _, b := range c.ToLocal {
			w.after(50*time.Microsecond, func() { h.kernel(b) })
		}
		for _, x := range c.Confirm {
			h.control(func() { peer.table.Confirmed(x, w.now, &peer.o); peer.carry(&peer.o) })
		}
		for _, x := range c.Notes {
			w.say("host %d notes %d", h.n, x.Kind)
			w.simplex = w.simplex || x.Kind == NoteSimplex
			h.control(func() { peer.table.Noted(x, w.now, &peer.o); peer.carry(&peer.o) })
		}
	}
	if o.Clone != nil && !w.lost(w.cloneLoss) {
		b := append([]byte(nil), o.Clone...)
		w.after(w.between(100*time.Microsecond, time.Millisecond), func() { peer.input(b) })
	}
}

// control says something to the peer, reliably and in order, sometimes late.
func (h *host) control(f func()) {
	d := h.w.between(100*time.Microsecond, 2*time.Millisecond)
	if !h.w.clean && h.w.rnd.IntN(100) == 0 {
		d = h.w.between(0, 300*time.Millisecond)
	}
	h.ctlFree = max(h.ctlFree, h.w.now+d)
	peer := h.w.hosts[1-h.n]
	h.w.after(h.ctlFree-h.w.now, func() {
		if peer.alive && !peer.sole {
			f()
		}
	})
}

func (h *host) mode() (Mode, bool, bool) {
	f := h.table.find(h.w.id())
	if f == nil {
		return 0, false, false
	}
	return f.mode, f.speaker, true
}

// app is the proxy: it reads, executes, stores and writes.
func (h *host) app() {
	if !h.alive || h.k.state != toyOpen || h.k.irs != h.w.client.iss {
		return
	}
	if h.isn != h.k.irs {
		h.isn, h.stored, h.written, h.asked, h.read, h.eof = h.k.irs, nil, 0, 0, 0, false
	}
	mode, _, ok := h.mode()
	executes := h.w.hosts[h.w.executor] == h || mode == Simplex
	h.table.Accepted(h.w.id().Key)
	if h.w.rnd.IntN(3) == 0 {
		return
	}
	h.k.read = len(h.k.in)
	eof := h.k.finAt != 0 && Size(h.k.read) == h.k.finAt-1
	if ok && (h.k.read > h.read || eof != h.eof) {
		h.read, h.eof = h.k.read, eof
		h.table.Received(h.w.id(), uint64(h.read), eof, h.w.now, &h.o)
		h.carry(&h.o)
	}
	if ok && executes && h.asked < len(h.stored) {
		h.asked = len(h.stored)
	}
	if ok && executes && h.asked == len(h.stored) && h.due() {
		h.execute(mode)
	}
	for h.written < len(h.stored) {
		r := h.stored[h.written]
		h.written++
		if r == nil {
			h.k.fin = true
		}
		h.k.out = append(h.k.out, r...)
	}
	h.k.now = h.w.now
	h.k.push()
}

// due reports whether the next request is here whole, or the end after the last.
func (h *host) due() bool {
	n := len(h.stored)
	if n > len(h.w.requests) {
		return false
	}
	if n == len(h.w.requests) {
		return true
	}
	end := Size(0)
	for _, r := range h.w.requests[:n+1] {
		end += r
	}
	return Size(h.read) >= end
}

func (h *host) execute(mode Mode) {
	i, isn := len(h.stored), h.isn
	var reply []byte
	if i < len(h.w.requests) {
		h.w.runs++
		reply = make([]byte, h.w.replies[i])
		for j := range reply {
			reply[j] = h.w.runs + byte(j)
		}
	}
	h.asked++
	if mode != Duplex {
		h.stored = append(h.stored, reply)
		return
	}
	peer := h.w.hosts[1-h.n]
	h.w.say("host %d stores %d", h.n, i)
	h.control(func() {
		m, _, ok := peer.mode()
		held := ok && m == Duplex && peer.k.state == toyOpen && peer.isn == isn && peer.k.irs == isn
		if held {
			peer.stored = append(peer.stored, reply)
		}
		peer.control(func() {
			if h.isn != isn {
				return
			}
			if !held && h.table.Simplify(h.w.id(), h.w.now, &h.o) {
				h.carry(&h.o)
			}
			if len(h.stored) == i {
				h.stored = append(h.stored, reply)
			}
		})
	})
}

// die kills a host; the other takes over when it has noticed.
func (w *world) die(n int) {
	v, s := w.hosts[n], w.hosts[1-n]
	v.alive, s.deaf = false, false
	mode, _, ok := s.mode()
	vm, _, vok := v.mode()
	w.say("host %d dies; flow here %v %v there %v %v", n, mode, ok, vm, vok)
	w.orphan = vok && ok && vm == Simplex && mode == Relay
	w.torn = vok && vm == Simplex && !(ok && mode == Relay)
	w.after(w.between(5*time.Millisecond, 300*time.Millisecond), func() {
		s.sole = true
		s.asked = len(s.stored) // what the dead host has not stored is lost with it
		s.table.SetStance(advertised, Stance{Serve: true, Speak: true})
		w.owner, w.executor, w.speaker = s.n, s.n, s.n
		s.table.Survive(advertised, w.now, func(o *Outcome) { s.carry(o) })
	})
}

// verify checks that every reply at the client is of one execution.
func (w *world) verify() {
	at := 0
	for _, n := range w.replies {
		for j := at; j < min(at+int(n), len(w.client.in)); j++ {
			if w.client.in[j] != w.client.in[at]+byte(j-at) {
				w.fault("reply spliced at byte %d", j)
				return
			}
		}
		at += int(n)
	}
	if len(w.client.in) > at {
		w.fault("%d bytes too many", len(w.client.in)-at)
	}
}

// switchover moves the voice between living hosts; the executor stays.
func (w *world) switchover() {
	from, to := w.hosts[w.speaker], w.hosts[1-w.speaker]
	if !from.alive || !to.alive || from.sole || to.sole || w.moving {
		return
	}
	w.moving = true
	w.say("the voice moves to host %d", to.n)
	w.speaker, to.deaf = to.n, false
	from.table.SetStance(advertised, Stance{Serve: true, Duplex: true})
	from.table.Yield(advertised, func(o *Outcome) { from.carry(o) })
	from.control(func() {
		w.moving = false
		to.table.SetStance(advertised, Stance{Serve: true, Duplex: true, Speak: true})
		to.table.Speak(advertised, w.now, func(o *Outcome) { to.carry(o) })
	})
}

// reborn begins another connection from the same port, saying nothing of the old one.
func (w *world) reborn() {
	old := w.client
	w.say("the client begins anew")
	w.client = newToy(w.rnd, old.self, old.peer, old.room)
	w.client.send, w.client.now, w.client.clock = old.send, w.now, old.clock
	w.sent = 0
	w.client.connect(old.nxt.Add(100_000))
}

// user writes requests and reads replies.
func (w *world) user(pipelined bool) {
	c := w.client
	c.read = len(c.in)
	if c.state == toyOpen {
		got := Size(0)
		for _, n := range w.replies[:w.sent] {
			got += n
		}
		if w.sent < len(w.requests) && (pipelined || Size(len(c.in)) >= got) {
			c.out = append(c.out, make([]byte, w.requests[w.sent])...)
			w.sent++
		}
		if w.sent == len(w.requests) && (pipelined || Size(len(c.in)) >= got) {
			c.fin = true
		}
		c.push()
	}
}

func (w *world) over() bool {
	if !w.client.done() {
		return false
	}
	for _, h := range w.hosts {
		if m, _, ok := h.mode(); h.alive && ok && m == Duplex && h.k.state == toyOpen && h.k.irs == w.client.iss && !h.deaf && !h.k.done() && (h.n == w.owner || h.n == w.speaker) {
			return false // of a host that is neither, a lost clone may leave bytes unacknowledged
		}
	}
	return true
}

// play lives one life and returns its faults.
func (w *world) play() []string {
	pipelined := w.rnd.IntN(3) == 0
	w.after(0, func() {
		w.client.now = w.now
		isn := Seq(w.rnd.Uint32())
		if w.rnd.IntN(2) == 0 {
			isn = Seq(-w.rnd.IntN(4000))
		}
		w.client.connect(isn)
	})
	if w.rnd.IntN(5) > 0 {
		when := w.between(0, 600*time.Millisecond)
		if w.rnd.IntN(3) == 0 {
			when = w.between(0, 4*time.Second)
		}
		w.after(when, func() { w.die(w.rnd.IntN(2)) })
	}
	if w.rnd.IntN(6) == 0 { // the client forgets its connection and begins another on the same port
		w.after(w.between(0, 500*time.Millisecond), w.reborn)
	}
	if w.rnd.IntN(6) == 0 { // the backup's kernel cannot hold the flow
		w.after(w.between(0, 300*time.Millisecond), func() { w.hosts[1].deaf = w.hosts[0].alive && w.speaker == 0 })
	}
	for w.rnd.IntN(3) == 0 {
		w.after(w.between(0, 600*time.Millisecond), w.switchover)
	}
	w.after(8*time.Second, func() { w.clean = true })
	var tick func()
	tick = func() {
		for _, k := range []*toy{w.client, w.hosts[0].k, w.hosts[1].k} { // the client may be another by now
			k.now = w.now
			k.tick()
		}
		w.user(pipelined)
		for _, h := range w.hosts {
			h.app()
		}
		w.after(3*time.Millisecond, tick)
	}
	w.after(time.Millisecond, tick)
	var keep func()
	keep = func() {
		for _, h := range w.hosts {
			if h.alive {
				h.table.Expire(w.now, func(o *Outcome) { h.carry(o) })
				h.table.Sweep(advertised, func(netip.AddrPort) bool { return h.k.state != toyListen && h.k.state != toyDead }, w.now)
			}
		}
		w.after(200*time.Millisecond, keep)
	}
	w.after(0, keep)
	for w.now < 90*time.Second && len(w.faults) == 0 && w.client.failed == "" && !w.over() {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.f()
	}
	switch {
	case w.torn && w.simplex: // the note died with its sender: known, see below
		return nil
	case w.orphan && w.client.failed == "RST":
	case w.client.failed != "":
		w.fault("the client's connection ended: %s", w.client.failed)
	case !w.over():
		w.fault("hangs: client %v", w.client.describe())
		for _, h := range w.hosts {
			m, sp, ok := h.mode()
			w.fault("host %d alive %v mode %v speaker %v known %v stored %d of %d, %v", h.n, h.alive, m, sp, ok, len(h.stored), len(w.requests)+1, h.k.describe())
		}
	}
	for _, h := range w.hosts {
		h.table.Expire(w.now+halfOpenLife+time.Second, func(*Outcome) {})
		if h.table.halfOpen != 0 {
			w.fault("host %d still counts %d half-open", h.n, h.table.halfOpen)
		}
	}
	return w.faults
}

func (k *toy) describe() string {
	return fmt.Sprintf("state %d sent %d of %d acknowledged %d window %d rcv %d ooo %d fin %v/%d failed %q", k.state,
		k.nxt-k.iss, len(k.out)+1, k.una-k.iss, k.wnd, k.rcv-k.irs, len(k.ooo), k.fin, k.finAt, k.failed)
}

// A pair with a bad wire between all of its parts serves one connection while either host may
// die at any moment: one stream at the client, nothing acknowledged that not both kernels have,
// no hang.
func TestPair(t *testing.T) {
	if *pairSeed != 0 {
		w := newWorld(t, *pairSeed)
		w.log = true
		for _, f := range w.play() {
			t.Error(f)
		}
		return
	}
	simplex, orphans, torn, bad := 0, 0, 0, 0
	for seed := range uint64(*pairSeeds) {
		w := newWorld(t, seed+1)
		faults := w.play()
		simplex += count(w.simplex)
		orphans += count(w.orphan)
		torn += count(w.torn && w.simplex)
		for _, f := range faults {
			t.Errorf("-pair.seed=%d: %s", seed+1, f)
		}
		if len(faults) > 0 {
			if bad++; bad == 5 {
				t.Fatal("enough")
			}
		}
	}
	t.Logf("%d lives, %d with a flow of one host alone, %d ended by that host's death, %d before it said so", *pairSeeds, simplex, orphans, torn)
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
