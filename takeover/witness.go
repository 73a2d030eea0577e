package takeover

import (
	"maps"
	"slices"
	"time"
)

// Grant is what a witness remembers of one group, on disk.
type Grant struct {
	Epoch Epoch  // the highest number ever granted
	Node  string // to whom
	Boot  Boot   // of that process
	// Floor is the epoch that a claim must be based on: the node must know of the latest claim
	// of the others. It is Epoch, until two nodes are seen in duplex below that, which shows
	// that the grant was never used.
	Floor Epoch
}

// WitnessConfig is what a Witness is told once. All durations are positive.
type WitnessConfig struct {
	SuspectAfter time.Duration // silence of a node after which its consent is not waited for
	HangTimeout  time.Duration // as Config's: by then a speaker that is not heard has lost its voice
}

// settle is how long a witness listens before it judges who is silent.
func (c WitnessConfig) settle() time.Duration { return c.HangTimeout / 2 }

// absent is the silence after which a node that served serves no more: a survivor whose link is
// dead has noticed it by then.
func (c WitnessConfig) absent() time.Duration { return 2 * c.HangTimeout }

// WitnessKind says what happened at a witness.
type WitnessKind uint8

// The kinds of WitnessEvent, with the fields used besides Now.
const (
	WitnessTick      WitnessKind = iota
	NodeUp                       // a node's connection was authenticated: Node, Boot
	NodeDown                     // and was lost: Node, Boot
	NodeBeat                     // a node says what it is: Node, Boot, View
	NodeSilent                   // it serves nothing below Epoch: Node, Boot, Epoch
	GrantAsked                   // Node, Boot, Epoch, Base, Empty as in AskGrant
	GrantWritten                 // Epoch is on disk
	GrantWriteFailed             // or is not
)

// WitnessEvent is one thing that happened. Now is monotonic time since the start.
type WitnessEvent struct {
	Now         time.Duration
	Kind        WitnessKind
	Node        string
	Boot        Boot
	View        View
	Epoch, Base Epoch
	Empty       bool
}

// WitnessDo says what a witness is to do.
type WitnessDo uint8

// What a Witness asks for, with the fields of WitnessAction that are set.
const (
	WriteGrant WitnessDo = iota // put Grant on disk: GrantWritten or GrantWriteFailed follows
	Answer                      // tell Node, process Boot, what became of Epoch: Granted or Held, Against, Why
	Notify                      // tell Node that Epoch was granted to another one
)

// WitnessAction is one thing to do.
type WitnessAction struct {
	Do      WitnessDo
	Grant   Grant
	Node    string
	Boot    Boot
	Epoch   Epoch
	Granted bool
	Held    Epoch
	Against bool
	Why     string
}

// Witness decides who of one group may claim. It grants a number once, to one node, and only to
// a node whose flows are those of the latest claim; so of two hosts that lose each other one
// claims, and the others learn that they are out. Before the answer goes out, they are
// told, and while it speaks and is heard its consent is waited for: no two speak at a time.
//
// It is not safe for concurrent use. The same events always give the same actions.
type Witness struct {
	cfg   WitnessConfig
	now   time.Duration
	since time.Duration // it has been listening without a gap
	run   bool

	last  Grant // on disk
	at    time.Duration
	used  bool // the grantee was seen at last.Epoch
	next  *Grant
	asked []WitnessEvent // while next is being written
	retry time.Duration  // a write has failed: nothing that can wait is written before
	wait  *waiting
	nodes map[string]*watched
	acts  []WitnessAction
}

// watched is one node as the witness sees it.
type watched struct {
	boot    Boot
	up      bool
	heard   time.Duration
	view    View
	beaten  bool          // view is of this process
	yielded Epoch         // it serves nothing below
	told    time.Duration // it was last told that it is out; 0: never
}

// waiting is a grant on disk whose answer waits for the other node's consent.
type waiting struct {
	ev    WitnessEvent
	until time.Duration
}

// NewWitness returns a witness of one group that remembers g.
func NewWitness(cfg WitnessConfig, g Grant) *Witness {
	return &Witness{cfg: cfg, last: g, nodes: map[string]*watched{}}
}

// Last returns the latest grant that is on disk.
func (w *Witness) Last() Grant { return w.last }

// Step takes one event and returns what is to be done, in order. The slice is the caller's.
func (w *Witness) Step(ev WitnessEvent) []WitnessAction {
	w.acts = nil
	gap := ev.Now - w.now
	w.now = max(w.now, ev.Now)
	if !w.run || gap > w.cfg.settle() {
		w.run, w.since = true, w.now
	}
	if gap > w.cfg.SuspectAfter/2 { // it stood still: who is silent may only not have been heard
		for _, n := range w.nodes {
			n.heard += gap
		}
	}
	w.take(ev)
	w.consent()
	w.agreed()
	return w.acts
}

func (w *Witness) take(ev WitnessEvent) {
	n := w.nodes[ev.Node]
	if n == nil && ev.Node != "" {
		n = &watched{}
		w.nodes[ev.Node] = n
	}
	switch ev.Kind {
	case NodeUp:
		if n.boot != ev.Boot {
			*n = watched{boot: ev.Boot}
		}
		n.up, n.heard = true, w.now
	case NodeDown:
		n.up = n.up && n.boot != ev.Boot
	case NodeBeat:
		w.beat(n, ev)
	case NodeSilent:
		if n.boot == ev.Boot {
			n.heard, n.yielded = w.now, max(n.yielded, ev.Epoch)
		}
	case GrantAsked:
		if n.boot != ev.Boot {
			return
		}
		n.heard = w.now
		w.ask(ev)
	case GrantWritten, GrantWriteFailed:
		w.written(ev.Kind == GrantWritten)
	case WitnessTick:
	}
}

func (w *Witness) beat(n *watched, ev WitnessEvent) {
	if n.boot != ev.Boot || !n.up {
		return
	}
	n.heard, n.view, n.beaten = w.now, ev.View, true
	if ev.Node == w.last.Node {
		w.used = w.used || ev.View.Epoch >= w.last.Epoch
	} else if (w.used || w.wait != nil) && n.serving() && n.view.Epoch < w.last.Floor && w.now-n.told >= w.cfg.SuspectAfter {
		w.notify(ev.Node, n)
	}
}

// ask decides one request; while another's number is being written it waits its turn.
func (w *Witness) ask(ev WitnessEvent) {
	g := w.last
	switch {
	case w.next != nil:
		if len(w.asked) < 2*len(w.nodes) {
			w.asked = append(w.asked, ev)
		}
	case g.Node == ev.Node && g.Boot == ev.Boot && g.Epoch == ev.Epoch: // its answer was lost
		if w.wait == nil || w.wait.ev.Node != ev.Node {
			w.answer(ev)
		}
	case ev.Base < g.Floor && g.Node != ev.Node:
		w.deny(ev, true, "the witness granted the claim to "+g.Node)
	case ev.Epoch <= g.Epoch:
		w.deny(ev, false, "the witness has granted a higher number")
	case w.now-w.since < w.cfg.settle(), ev.Empty && w.now-w.since < w.cfg.absent():
		w.deny(ev, false, "the witness has just started")
	case ev.Empty && w.servedBy(ev.Node) != "":
		w.deny(ev, false, "the witness hears that "+w.servedBy(ev.Node)+" serves")
	default:
		w.next = &Grant{Epoch: ev.Epoch, Node: ev.Node, Boot: ev.Boot, Floor: ev.Epoch}
		w.wait = &waiting{ev: ev}
		w.acts = append(w.acts, WitnessAction{Do: WriteGrant, Grant: *w.next})
	}
}

// written ends a write, with an answer or the wait for consent; then the next may ask.
func (w *Witness) written(ok bool) {
	if w.next == nil {
		return
	}
	g := *w.next
	w.next = nil
	if !ok {
		w.retry = w.now + w.cfg.HangTimeout
	}
	switch {
	case !ok && w.wait != nil && w.wait.until == 0:
		w.deny(w.wait.ev, false, "the witness cannot write its state_dir")
		w.wait = nil
	case !ok:
	case g.Epoch == w.last.Epoch:
		w.last = g // a new floor
	default:
		w.last, w.at, w.used = g, w.now, false
		w.wait.until = w.now + w.cfg.HangTimeout
		for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
			if n := w.nodes[name]; name != g.Node && n.up {
				w.notify(name, n)
			}
		}
	}
	asked := w.asked
	w.asked = nil
	for _, ev := range asked {
		w.ask(ev)
	}
}

// consent answers when nobody else speaks any more.
func (w *Witness) consent() {
	if w.wait == nil || w.wait.until == 0 {
		return
	}
	for name, n := range w.nodes {
		if name != w.last.Node && w.speaks(n) && w.now < w.wait.until {
			return
		}
	}
	ev := w.wait.ev
	w.wait = nil
	w.answer(ev)
}

// speaks reports whether a node is heard and may be speaking below the latest grant.
func (w *Witness) speaks(n *watched) bool {
	voice := !n.beaten || n.view.Role == Primary || n.view.Role == Sole
	return n.up && w.now-n.heard < w.cfg.SuspectAfter && voice && n.yielded < w.last.Epoch
}

// servedBy returns a node other than asker that served when it was last heard, not long ago, or
// is about to serve on the latest grant; empty if there is none. A connection that broke is no
// evidence: it breaks with a process, and with a link.
func (w *Witness) servedBy(asker string) string {
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		n := w.nodes[name]
		if name == asker || w.now-n.heard >= w.cfg.absent() {
			continue
		}
		if n.serving() || name == w.last.Node && w.pending() {
			return name
		}
	}
	return ""
}

func (n *watched) serving() bool {
	return n.beaten && (n.view.Role == Primary || n.view.Role == Backup || n.view.Role == Sole)
}

// pending reports whether the latest grant may still be carried out.
func (w *Witness) pending() bool {
	n := w.nodes[w.last.Node]
	return (n == nil || n.boot == w.last.Boot) && w.now-w.at < 2*w.cfg.HangTimeout
}

// agreed lowers the floor where two nodes are in duplex below it and nobody is heard to serve
// above: the grant was not used.
func (w *Witness) agreed() {
	if w.next != nil || w.wait != nil || w.pending() || w.now < w.retry {
		return
	}
	floor, halves := w.last.Floor, 0
	for _, n := range w.nodes {
		switch {
		case !n.up || !n.beaten || w.now-n.heard >= w.cfg.SuspectAfter || !n.serving():
		case !n.view.Paired, n.view.Epoch >= w.last.Floor, halves > 0 && n.view.Epoch != floor:
			return
		default:
			floor = n.view.Epoch
			halves++
		}
	}
	if halves != 2 {
		return
	}
	w.next = &Grant{Epoch: w.last.Epoch, Floor: floor}
	w.acts = append(w.acts, WitnessAction{Do: WriteGrant, Grant: *w.next})
}

func (w *Witness) notify(name string, n *watched) {
	n.told = w.now
	w.acts = append(w.acts, WitnessAction{Do: Notify, Node: name, Boot: n.boot, Epoch: w.last.Epoch})
}

func (w *Witness) answer(ev WitnessEvent) {
	w.acts = append(w.acts, WitnessAction{Do: Answer, Node: ev.Node, Boot: ev.Boot, Epoch: ev.Epoch, Granted: true, Held: w.last.Epoch})
}

func (w *Witness) deny(ev WitnessEvent, against bool, why string) {
	w.acts = append(w.acts, WitnessAction{Do: Answer, Node: ev.Node, Boot: ev.Boot, Epoch: ev.Epoch, Held: w.last.Epoch, Against: against, Why: why})
}
