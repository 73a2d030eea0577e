package takeover

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// bench drives one Witness by hand. Its disk is at once unless slow.
type bench struct {
	t    *testing.T
	w    *Witness
	now  time.Duration
	disk Grant
	slow bool
	said []string
}

var witnessTimes = WitnessConfig{SuspectAfter: 50 * time.Millisecond, HangTimeout: time.Second}

// newBench returns a witness that has listened for long to the nodes a and b, in duplex.
func newBench(t *testing.T, g Grant) *bench {
	b := &bench{t: t, w: NewWitness(witnessTimes, g), disk: g}
	b.up("a")
	b.up("b")
	b.listen(3*time.Second, "a", View{Epoch: g.Epoch, Role: Primary, Paired: true}, "b", View{Epoch: g.Epoch, Role: Backup, Paired: true})
	return b
}

func (b *bench) do(ev WitnessEvent) {
	b.t.Helper()
	ev.Now = b.now
	if ev.Node != "" && ev.Boot == (Boot{}) {
		ev.Boot = Boot{ev.Node[0]}
	}
	for _, a := range b.w.Step(ev) {
		switch a.Do {
		case WriteGrant:
			if b.slow {
				b.said = append(b.said, "write")
				continue
			}
			b.disk = a.Grant
			b.do(WitnessEvent{Kind: GrantWritten, Epoch: a.Grant.Epoch})
		case Answer:
			word := "granted"
			if !a.Granted {
				word = "denied"
			}
			if a.Against {
				word = "against"
			}
			b.said = append(b.said, fmt.Sprintf("%s %s %d", word, a.Node, a.Epoch))
		case Notify:
			b.said = append(b.said, fmt.Sprintf("tell %s %d", a.Node, a.Epoch))
		}
	}
}

func (b *bench) up(node string) { b.do(WitnessEvent{Kind: NodeUp, Node: node}) }

// listen lets time pass, with beats of the nodes named.
func (b *bench) listen(d time.Duration, beats ...any) {
	b.t.Helper()
	for end := b.now + d; b.now < end; {
		b.now += 10 * time.Millisecond
		for i := 0; i < len(beats); i += 2 {
			b.do(WitnessEvent{Kind: NodeBeat, Node: beats[i].(string), View: beats[i+1].(View)})
		}
		b.do(WitnessEvent{Kind: WitnessTick})
	}
}

func (b *bench) ask(node string, epoch, base Epoch, empty bool) {
	b.t.Helper()
	b.do(WitnessEvent{Kind: GrantAsked, Node: node, Epoch: epoch, Base: base, Empty: empty})
}

// says fails the test unless the witness has said just that since the last call.
func (b *bench) says(want ...string) {
	b.t.Helper()
	if got := strings.Join(b.said, "; "); got != strings.Join(want, "; ") {
		b.t.Errorf("%v: the witness said %q, want %q", b.now, got, strings.Join(want, "; "))
	}
	b.said = nil
}

var (
	primaryAt = func(e Epoch) View { return View{Epoch: e, Role: Primary, Paired: true} }
	backupAt  = func(e Epoch) View { return View{Epoch: e, Role: Backup, Paired: true} }
	soleAt    = func(e Epoch) View { return View{Epoch: e, Role: Sole} }
	joiningAt = func(e Epoch) View { return View{Epoch: e} }
)

// Of two that claim from one pair one is granted the claim, whatever their numbers, even if
// the other one could not be told.
func TestWitnessGrantsOnce(t *testing.T) {
	b := newBench(t, Grant{})
	b.listen(100*time.Millisecond, "b", backupAt(0)) // a is silent
	b.do(WitnessEvent{Kind: NodeDown, Node: "a"})
	b.ask("b", 1, 0, false)
	b.says("granted b 1")
	b.up("a")
	b.ask("a", 2, 0, false)
	b.says("against a 2")
	b.ask("b", 3, 0, false) // it gave the first attempt up
	b.says("tell a 3")      // a is connected, and may be speaking
	b.do(WitnessEvent{Kind: NodeSilent, Node: "a", Epoch: 3})
	b.says("granted b 3")
}

// The speaker is told and heard to be silent before the other one is answered; one that is
// silent for the witness too is not waited for, nor one that does not speak.
func TestWitnessWaitsForSilence(t *testing.T) {
	b := newBench(t, Grant{})
	b.ask("b", 1, 0, false)
	b.says("tell a 1")
	b.listen(30*time.Millisecond, "a", primaryAt(0))
	b.do(WitnessEvent{Kind: NodeSilent, Node: "a", Epoch: 1})
	b.says("granted b 1")

	b = newBench(t, Grant{})
	b.ask("a", 2, 0, false)
	b.says("tell b 2", "granted a 2")

	b = newBench(t, Grant{})
	b.ask("b", 1, 0, false)
	b.listen(40*time.Millisecond, "b", backupAt(0))
	b.says("tell a 1")
	b.listen(20*time.Millisecond, "b", backupAt(0))
	b.says("granted b 1")

	// It goes on speaking: its lease has lapsed after hang_timeout, whatever it says.
	b = newBench(t, Grant{})
	b.ask("b", 1, 0, false)
	b.listen(990*time.Millisecond, "a", primaryAt(0))
	if got := strings.Join(b.said, "; "); strings.Contains(got, "granted") {
		t.Errorf("too early: %s", got)
	}
	b.listen(20*time.Millisecond, "a", primaryAt(0))
	if got := b.said[len(b.said)-1]; got != "granted b 1" {
		t.Errorf("at the end: %s", got)
	}
}

// A lost answer is repeated; the same number in another process is no claim of it.
func TestWitnessRepeatsItself(t *testing.T) {
	b := newBench(t, Grant{})
	b.ask("a", 2, 0, false)
	b.ask("a", 2, 0, false)
	b.says("tell b 2", "granted a 2", "granted a 2")
	b.do(WitnessEvent{Kind: NodeUp, Node: "a", Boot: Boot{9}})
	b.do(WitnessEvent{Kind: GrantAsked, Node: "a", Boot: Boot{9}, Epoch: 2, Base: 2, Empty: true})
	b.says("denied a 2")
	b.do(WitnessEvent{Kind: GrantAsked, Node: "a", Boot: Boot{8}, Epoch: 4, Base: 2})
	b.says() // of a process that is no more
}

// What is granted is on disk before anyone hears of it, and holds after a restart.
func TestWitnessRemembers(t *testing.T) {
	b := newBench(t, Grant{})
	b.slow = true
	b.ask("a", 2, 0, false)
	b.ask("b", 3, 0, false)
	b.says("write")
	b.do(WitnessEvent{Kind: GrantWriteFailed})
	b.says("denied a 2", "write") // the other one's turn
	b.do(WitnessEvent{Kind: GrantWriteFailed})
	b.says("denied b 3")
	b.slow = false
	b.ask("a", 4, 0, false)
	b.says("tell b 4", "granted a 4")

	again := newBench(t, b.disk)
	again.ask("b", 5, 0, false)
	again.says("against b 5")
	again.ask("b", 3, 4, false)
	again.says("denied b 3") // not above all that was granted
	again.ask("b", 5, 4, false)
	again.says("tell a 5")
}

// A node without flows claims only where nobody has served lately, as far as the witness can
// have heard.
func TestWitnessGuardsWhoServes(t *testing.T) {
	b := newBench(t, Grant{Epoch: 2, Floor: 2, Node: "a", Boot: Boot{'a'}})
	b.listen(50*time.Millisecond, "a", soleAt(2), "b", joiningAt(2))
	b.ask("b", 3, 2, true)
	b.says("denied b 3")
	b.do(WitnessEvent{Kind: NodeDown, Node: "a"}) // dead, or cut off: then it may be serving
	b.listen(1900*time.Millisecond, "b", joiningAt(2))
	b.ask("b", 3, 2, true)
	b.says("denied b 3")
	b.listen(200*time.Millisecond, "b", joiningAt(2))
	b.ask("b", 3, 2, true)
	b.says("granted b 3")

	// A witness that has just started knows nothing of who serves.
	b = &bench{t: t, w: NewWitness(witnessTimes, Grant{})}
	b.up("b")
	b.ask("b", 1, 0, false)
	b.says("denied b 1")
	b.listen(time.Second, "b", backupAt(0))
	b.ask("b", 1, 0, true)
	b.says("denied b 1")
	b.ask("b", 1, 0, false)
	b.says("granted b 1")
}

// The witness stood still: the other node's beats wait behind the request, and it is not silent.
func TestWitnessStandsStill(t *testing.T) {
	b := newBench(t, Grant{})
	b.now += 200 * time.Millisecond
	b.ask("b", 1, 0, false)
	b.says("tell a 1")
}

// A grant that was never used does not stand in the way of the pair that both nodes formed
// anew below it.
func TestWitnessForgetsUnusedGrant(t *testing.T) {
	b := newBench(t, Grant{})
	b.ask("b", 1, 0, false)
	b.do(WitnessEvent{Kind: NodeSilent, Node: "a", Epoch: 1})
	b.says("tell a 1", "granted b 1")
	b.do(WitnessEvent{Kind: NodeUp, Node: "b", Boot: Boot{9}}) // crashed before it was on its disk
	for range 10 {
		b.now += 10 * time.Millisecond
		b.do(WitnessEvent{Kind: NodeBeat, Node: "a", View: primaryAt(0)})
		b.do(WitnessEvent{Kind: NodeBeat, Node: "b", Boot: Boot{9}, View: backupAt(0)})
	}
	b.says()
	if b.disk.Floor != 0 || b.disk.Epoch != 1 {
		t.Errorf("on disk: %+v", b.disk)
	}
	b.ask("a", 2, 0, false)
	b.says("tell b 2", "granted a 2")
}

// A disk that fails is not asked to forget an unused grant again and again without a pause.
func TestWitnessSparesTheDisk(t *testing.T) {
	b := newBench(t, Grant{})
	b.ask("b", 1, 0, false)
	b.do(WitnessEvent{Kind: NodeSilent, Node: "a", Epoch: 1})
	b.do(WitnessEvent{Kind: NodeUp, Node: "b", Boot: Boot{9}})
	b.slow, b.said = true, nil
	for range 250 {
		b.now += 10 * time.Millisecond
		b.do(WitnessEvent{Kind: NodeBeat, Node: "a", View: primaryAt(0)})
		b.do(WitnessEvent{Kind: NodeBeat, Node: "b", Boot: Boot{9}, View: backupAt(0)})
		b.do(WitnessEvent{Kind: GrantWriteFailed})
	}
	b.says("write", "write", "write")
	b.slow = false
	b.ask("a", 2, 1, false)
	b.says("tell b 2", "granted a 2")
}

// Who comes back and still serves an older epoch is told.
func TestWitnessTellsWhoReturns(t *testing.T) {
	b := newBench(t, Grant{})
	b.do(WitnessEvent{Kind: NodeDown, Node: "a"})
	b.ask("b", 1, 0, false)
	b.says("granted b 1")
	b.listen(50*time.Millisecond, "b", soleAt(1))
	b.up("a")
	b.listen(10*time.Millisecond, "a", soleAt(0))
	b.says("tell a 1")
	b.listen(30*time.Millisecond, "a", soleAt(0))
	b.says()
}
