package drill

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/capture"
)

// reign is a time during which a host thought that it serves alone.
type reign struct {
	host     string
	mac      capture.MAC
	epoch    uint64
	from, to time.Time // to is zero if it has not ended
	fenced   bool      // it ended because another one has a higher epoch
}

// history is what the nodes of a round did about a service's address, as their logs tell.
type history struct {
	turns  []turn
	reigns []reign
	outs   []time.Time // a host gave way, or ftgw on it died
}

// death is that ftgw on a host was killed.
type death struct {
	host string
	at   time.Time
}

// readHistory reads the logs of both hosts since the round began.
func (r *Round) readHistory(of *Service, deaths []death) (h history, err error) {
	for _, host := range []*lab.Host{r.A, r.B} {
		n := chronicle{host: host.Name, mac: capture.MAC(host.MAC())}
		for _, p := range host.Processes() {
			if p.Name != r.nodeName() {
				continue
			}
			lines, err := readLog(p.LogPath(), host.Name)
			if err != nil {
				return h, err
			}
			for _, l := range lines {
				if !l.at.Before(r.begin.Add(-logged)) && field(l.say, "group") == of.group {
					n.read(l)
				}
			}
			n.die(deaths)
		}
		h.turns, h.reigns, h.outs = append(h.turns, n.turns...), append(h.reigns, n.reigns...), append(h.outs, n.outs...)
	}
	for _, d := range deaths {
		h.outs = append(h.outs, d.at)
	}
	slices.SortFunc(h.turns, func(a, b turn) int { return a.from.Compare(b.from) })
	slices.SortFunc(h.reigns, func(a, b reign) int { return a.from.Compare(b.from) })
	return h, nil
}

// nodeName is that of ftgw's processes.
func (r *Round) nodeName() string { return r.A.Node().Name }

// chronicle reads the log of one host's processes, line by line.
type chronicle struct {
	host    string
	mac     capture.MAC
	decided turn // a claim before it is carried out
	promote turn // and before its gate is opened
	open    bool // the latest turn waits for the line that says that it is done
	turns   []turn
	reigns  []reign
	outs    []time.Time
}

func (n *chronicle) read(l line) {
	switch {
	case strings.Contains(l.say, " msg=action "):
		n.action(l.at, field(l.say, "action"))
	case strings.Contains(l.say, " msg=role "):
		n.role(l.at, field(l.say, "role"), number(field(l.say, "epoch")))
	}
}

func (n *chronicle) action(at time.Time, action string) {
	words := strings.Fields(action)
	if len(words) == 0 {
		return
	}
	epoch := number(field(action, "epoch"))
	switch words[0] {
	case "ask-grant", "fence-peer", "write-epoch": // the first of them that there is
		if n.decided.epoch != epoch {
			n.decided = turn{epoch: epoch, decided: at}
		}
	case "promote":
		n.promote = turn{host: n.host, mac: n.mac, epoch: epoch, claimed: true, decided: n.decided.decided}
	case "open-gate":
		if n.promote.claimed {
			n.begin(n.promote, at)
		}
		n.promote = turn{}
	case "duplex":
		// A survivor that becomes the primary of a new pair goes on; that is no turn.
		if slices.Contains(words, "speaker") && !n.reigning() {
			n.begin(turn{host: n.host, mac: n.mac, epoch: epoch}, at)
		}
	}
}

func (n *chronicle) begin(t turn, at time.Time) {
	t.from, n.open = at, true
	n.turns = append(n.turns, t)
}

func (n *chronicle) role(at time.Time, role string, epoch uint64) {
	if n.open {
		n.turns[len(n.turns)-1].full, n.open = at, false
	}
	if role == "fenced" {
		n.outs = append(n.outs, at)
	}
	switch {
	case role == "sole" && !n.reigning():
		n.reigns = append(n.reigns, reign{host: n.host, mac: n.mac, epoch: epoch, from: at})
	case role != "sole" && n.reigning():
		last := &n.reigns[len(n.reigns)-1]
		last.to, last.fenced = at, role == "fenced"
	}
}

func (n *chronicle) reigning() bool {
	return len(n.reigns) > 0 && n.reigns[len(n.reigns)-1].to.IsZero()
}

// die ends what the process whose log ends here was, if it was killed.
func (n *chronicle) die(deaths []death) {
	n.decided, n.promote, n.open = turn{}, turn{}, false
	for _, d := range deaths {
		if d.host == n.host && n.reigning() && d.at.After(n.reigns[len(n.reigns)-1].from) {
			n.reigns[len(n.reigns)-1].to = d.at
		}
	}
}

// evidence is how old what a claim rests on may be: a round of probes on a busy machine.
const evidence = 50 * time.Millisecond

// undecided returns the times in which nobody can tell who should speak: from the first claim
// that was decided when the hosts were apart, or just had been, until one of them is out, by a
// higher epoch or dead. It checks that of two that both think they serve alone the one with the
// lower epoch gives way, whenever they hear of each other. Then it is the other one's turn.
func (h *history) undecided(apart []period) (out []period, err error) {
	for _, t := range h.turns {
		unseen := func(p period) bool { return p.has(t.decided) || p.has(t.decided.Add(-evidence)) }
		if end := h.out(t.from); t.claimed && !end.IsZero() && slices.ContainsFunc(apart, unseen) {
			out = append(out, period{t.from, end.Add(logged)})
		}
	}
	for i, x := range h.reigns {
		for _, y := range h.reigns[i+1:] {
			if x.host == y.host || !x.to.IsZero() && !x.to.After(y.from) {
				continue
			}
			first, other := x, y // who goes first
			if x.to.IsZero() || !y.to.IsZero() && y.to.Before(x.to) {
				first, other = y, x
			}
			switch {
			case first.to.IsZero():
				return nil, fmt.Errorf("at the end both serve alone, by epochs %d and %d", first.epoch, other.epoch)
			case first.fenced && first.epoch > other.epoch:
				return nil, fmt.Errorf("%s gave way to %s though its epoch %d is higher than %d", first.host, other.host, first.epoch, other.epoch)
			}
			h.turns = append(h.turns, turn{host: other.host, mac: other.mac, epoch: other.epoch, from: first.to, full: first.to})
		}
	}
	slices.SortStableFunc(h.turns, func(a, b turn) int { return a.from.Compare(b.from) })
	return out, nil
}

// out returns when a host was first out after a moment, or zero.
func (h *history) out(after time.Time) (first time.Time) {
	for _, at := range h.outs {
		if at.After(after) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// field returns a value of "key=value" in a line of a log, unquoted.
func field(text, key string) string {
	_, rest, found := strings.Cut(" "+text, " "+key+"=")
	if !found {
		return ""
	}
	if quoted, err := strconv.QuotedPrefix(rest); err == nil {
		value, _ := strconv.Unquote(quoted) // QuotedPrefix has checked it
		return value
	}
	value, _, _ := strings.Cut(rest, " ")
	return value
}

func number(text string) uint64 {
	n, _ := strconv.ParseUint(text, 10, 64) // 0 where there is none
	return n
}
