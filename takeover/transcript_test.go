package takeover

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the transcripts anew from what happens")

// TestTranscripts runs testdata/*.txt: commands, a line of dashes, what followed, an empty line.
//
//	start primary|backup [epoch=N] [witness] [fence] [apart]   a new process, first or second in the list
//	start N/M [...]                  a new process, number N, from 0, of M in the list
//	node N ROLE|down [epoch=N] [chosen]  another node says what it is, in a session
//	pair                             the peer, joining too, becomes the other half
//	set WORLD...                     change the world, see world.set
//	run DURATION                     let time pass, a tick every 5 ms
//	stop DURATION                    let time pass without this process
//	event KIND [epoch=N]             one event
//	status                           the machine's own account
//
// Output lines bear milliseconds since the start. Probes are left out, "suspects" marks them.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			old, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			now := replay(t, string(old))
			if *update {
				if err := os.WriteFile(file, []byte(now), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if now != string(old) {
				t.Errorf("%s: happened:\n%s", file, now)
			}
		})
	}
}

// replay returns the transcript with its outputs replaced by what happens.
func replay(t *testing.T, text string) string {
	var out strings.Builder
	w := &world{t: t}
	skip := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "----":
			out.WriteString("----\n" + w.out.String())
			w.out.Reset()
			skip = true
		case line == "":
			skip = false
			out.WriteString("\n")
		case skip:
		default:
			out.WriteString(line + "\n")
			if !strings.HasPrefix(line, "#") {
				w.command(strings.Fields(line))
			}
		}
	}
	return out.String()
}

// world is what a machine in a transcript finds around it.
type world struct {
	t     *testing.T
	m     *Machine
	now   time.Duration
	out   strings.Builder
	queue []Event // answers on their way

	beat                      bool // the peer's daemon sends heartbeats
	view                      View // what they say
	boot                      Boot
	arp, gateway              bool
	gossip                    bool // apart: the peer is heard on the clients' network
	refuse, advertised, fails bool
	near                      bool          // refuse: on the clients' network alone, even with Config.Apart
	connect                   bool          // the peer's kernel takes one; else there is no answer
	slow                      time.Duration // of the disk
	witness                   bool          // it grants what it is asked for
	off                       time.Duration // of the fence command; 0: it fails
	says                      map[int]Event // what the nodes go on saying, by "node"

	voice, answers, suspects bool
}

const beatEvery = 10 * time.Millisecond

func (w *world) command(words []string) {
	switch words[0] {
	case "start":
		c := Defaults(0, 2)
		if words[1] == "backup" {
			c = Defaults(1, 2)
		}
		if i, n, ok := strings.Cut(words[1], "/"); ok {
			c = Defaults(int(w.epoch("="+i)), int(w.epoch("="+n)))
		}
		st := State{Boot: Boot{0xa}}
		for _, word := range words[2:] {
			switch word {
			case "witness":
				c.Witness = true
			case "fence":
				c.Fences = slices.Repeat([]bool{true}, c.Nodes)
			case "apart":
				c.Apart = true
			default:
				st.Epoch = w.epoch(word)
			}
		}
		*w = world{t: w.t, m: New(c, st), boot: Boot{0xb}, arp: true, gateway: true, slow: time.Millisecond,
			witness: true, gossip: true, connect: true, says: map[int]Event{}}
	case "pair":
		w.beat, w.view = true, View{Role: Joining}
		w.step(Event{Kind: SessionUp, Boot: w.boot, Apart: w.m.cfg.Apart})
		w.run(20 * time.Millisecond)
		for w.m.unreached() {
			w.run(time.Millisecond)
		}
		w.view = View{Role: Backup, Owner: true, Paired: true, Knew: w.m.gaveUp}
		if w.m.cfg.Index != 0 {
			w.view.Role, w.view.Owner = Primary, false
		}
		w.run(20 * time.Millisecond)
	case "node":
		w.node(words[1:])
	case "set":
		for _, word := range words[1:] {
			w.set(word)
		}
	case "run":
		w.run(w.duration(words[1]))
	case "stop":
		w.now += w.duration(words[1])
		fmt.Fprintf(&w.out, "%6d stood still until here\n", w.now.Milliseconds())
	case "event":
		w.event(words[1:])
	case "status":
		s := w.m.Status()
		fmt.Fprintf(&w.out, "%6d %v epoch=%d owner=%v held=%q why=%q\n",
			w.now.Milliseconds(), s.Role, s.Epoch, s.Owner, s.Held, s.Why)
	default:
		w.t.Fatalf("unknown command %q", words)
	}
}

// node lets a node say what it is, from now on.
func (w *world) node(words []string) {
	ev := Event{Kind: PeerState, From: int(w.epoch("=" + words[0]))}
	ev.Boot = Boot{byte(0xb0 + ev.From)}
	if words[1] == "down" {
		delete(w.says, ev.From)
		w.step(Event{Kind: SessionDown, From: ev.From})
		return
	}
	for r := Joining; r <= Fenced; r++ {
		if r.String() == words[1] {
			ev.Peer.Role = r
		}
	}
	for _, word := range words[2:] {
		switch word {
		case "chosen":
			ev.Peer.Chosen = true
		case "paired":
			ev.Peer.Chosen, ev.Peer.Paired, ev.Peer.Knew = true, true, w.m.gaveUp
		default:
			ev.Peer.Epoch = w.epoch(word)
		}
	}
	if n := w.m.nodes[ev.From]; !n.up {
		w.step(Event{Kind: SessionUp, From: ev.From, Boot: ev.Boot, Epoch: ev.Peer.Epoch})
	}
	w.says[ev.From] = ev
	w.step(ev)
}

// set takes one word: beat=on|off, gossip= (apart: by the clients' network), peer=ROLE, owner, paired, linkdead, epoch=N (what the peer says),
// boot=N, arp=, gateway=, advertised=, refuse=on|near|off, connect=, disk=, witness=on|off, slow=DURATION,
// off=fails|DURATION.
func (w *world) set(word string) {
	key, value, _ := strings.Cut(word, "=")
	on := value == "on"
	switch key {
	case "beat":
		w.beat = on
	case "peer":
		for r := Joining; r <= Fenced; r++ {
			if r.String() == value {
				w.view.Role = r
			}
		}
	case "owner":
		w.view.Owner = on
	case "linkdead":
		w.view.LinkDead = on
	case "gossip":
		w.gossip = on
	case "paired":
		w.view.Paired, w.view.Knew = on, w.m.gaveUp
	case "epoch":
		w.view.Epoch = w.epoch(word)
	case "boot":
		n, _ := strconv.ParseUint(value, 16, 8)
		w.boot = Boot{byte(n)}
	case "arp":
		w.arp = on
	case "gateway":
		w.gateway = on
	case "advertised":
		w.advertised = on
	case "refuse":
		w.refuse, w.near = on || value == "near", value == "near"
	case "connect":
		w.connect = on
	case "witness":
		w.witness = on
	case "off":
		if w.off = 0; value != "fails" {
			w.off = w.duration(value)
		}
	case "disk":
		w.fails = !on
	case "slow":
		w.slow = w.duration(value)
	default:
		w.t.Fatalf("unknown setting %q", word)
	}
}

func (w *world) event(words []string) {
	ev := Event{From: w.m.cfg.Index, Boot: w.boot, Peer: w.view, Apart: w.m.cfg.Apart}
	for k := Tick; k < Kind(kinds); k++ {
		if k.String() == words[0] {
			ev.Kind = k
		}
	}
	for _, word := range words[1:] {
		switch {
		case word == "unequal":
			ev.Unequal = true
		case word == "near":
			ev.Apart = false
		case word == "voice":
			ev.Voice, ev.Turn = true, 1
		case word == "address":
			ev.Address, ev.Turn = true, 1
		case word == "against":
			ev.Against, ev.Why = true, "the witness granted the claim to the peer"
		case strings.HasPrefix(word, "held="):
			ev.Held, ev.Why = w.epoch(word), "the witness hears the peer"
		default:
			ev.Epoch = w.epoch(word)
		}
	}
	w.step(ev)
}

func (w *world) run(d time.Duration) {
	for end := w.now + d; w.now < end; {
		w.now += time.Millisecond
		for i := 0; i < len(w.queue); i++ {
			if ev := w.queue[i]; ev.Now <= w.now {
				w.queue = append(w.queue[:i], w.queue[i+1:]...)
				i--
				w.step(ev)
			}
		}
		if w.beat && w.now%beatEvery == 0 {
			w.step(Event{Kind: PeerState, Boot: w.boot, Peer: w.view, Echo: w.now - 2*time.Millisecond, Apart: w.m.cfg.Apart})
		}
		if w.m.cfg.Apart && w.gossip && w.now%(25*time.Millisecond) == 0 {
			w.step(Event{Kind: Sign, From: w.m.cfg.Index})
		}
		if w.now%beatEvery == 0 {
			for _, i := range slices.Sorted(maps.Keys(w.says)) {
				ev := w.says[i]
				ev.Echo = w.now - 2*time.Millisecond
				w.step(ev)
			}
		}
		if w.now%(5*time.Millisecond) == 0 {
			w.step(Event{Kind: Tick})
		}
	}
}

// step feeds one event and prints what follows.
func (w *world) step(ev Event) {
	ev.Now = w.now
	for _, a := range w.m.Step(ev) {
		switch a.Do {
		case ProbeConnect:
			w.answer(w.refuse, Refused)
			w.answer(w.m.cfg.Apart && !w.refuse && w.connect, Connected)
			continue
		case ProbePeer:
			w.answer(w.arp, AnswerPeer)
			continue
		case ProbeGateway:
			w.answer(w.gateway, AnswerGateway)
			continue
		case ProbeAdvertised:
			w.answer(w.advertised, AnswerAdvertised)
			continue
		case WriteEpoch:
			kind := EpochWritten
			if w.fails {
				kind = EpochWriteFailed
			}
			w.queue = append(w.queue, Event{Now: w.now + w.slow, Kind: kind, Epoch: a.Epoch})
		case AskGrant:
			if w.witness {
				w.queue = append(w.queue, Event{Now: w.now + time.Millisecond, Kind: Granted, Epoch: a.Epoch})
			}
		case FencePeer:
			kind := PeerFenced
			if w.off == 0 {
				kind = FenceFailed
			}
			w.queue = append(w.queue, Event{Now: w.now + max(w.off, 10*time.Millisecond), Kind: kind, From: a.Node, Epoch: a.Epoch})
		case Publish:
			continue
		}
		w.print("%v", a)
	}
	w.watch(&w.voice, w.m.MayRenew(w.now), "voice")
	w.watch(&w.answers, w.m.MayAnswer(w.now), "answers")
	if w.advertised {
		return // an answer every round: the suspicion comes and goes
	}
	w.watch(&w.suspects, w.m.suspect(), "suspects")
}

func (w *world) answer(yes bool, kind Kind) {
	if yes {
		w.queue = append(w.queue, Event{Now: w.now + time.Millisecond, Kind: kind, From: w.m.cfg.Index, Apart: w.m.cfg.Apart && !w.near})
	}
}

func (w *world) watch(was *bool, is bool, what string) {
	if *was != is {
		*was = is
		w.print("(%s: %v)", what, is)
	}
}

func (w *world) print(format string, args ...any) {
	fmt.Fprintf(&w.out, "%6d "+format+"\n", append([]any{w.now.Milliseconds()}, args...)...)
}

func (w *world) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) epoch(word string) Epoch {
	_, number, _ := strings.Cut(word, "=")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		w.t.Fatalf("%q: want epoch=N", word)
	}
	return Epoch(n)
}
