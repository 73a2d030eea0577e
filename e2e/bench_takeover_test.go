package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// BenchmarkTakeover measures how a host that dies is replaced, with default settings and a light
// load. One iteration is one death in a pair that has just been formed, in which the backup answers
// for the address. Times are in milliseconds and by one clock, medians of the iterations:
//
//	detected    from the fault until the survivor decided that the peer is dead
//	decided     from then until the claim was on disk and could be carried out
//	claimed     from the same until flows, gate, address and held output were done
//	first-byte  from the fault until a client had the first reply after the decision
//	pause       the longest that any client waited for a byte
//
// For a switchover there is nothing to detect: decided is from the command until the old primary
// has given its part away, claimed from then until the new one has it; and calm is the longest pause
// of what had ended before it, which the load itself costs.
func BenchmarkTakeover(b *testing.B) {
	deaths := []struct {
		name  string
		fault func(h *lab.Host) error
	}{
		{"Crash", (*lab.Host).Crash},
		{"ProcessDeath", func(h *lab.Host) error { return h.Node().Kill() }},
		{"LinkCut", (*lab.Host).Cut},
	}
	x := &deathBench{Lab: labtest.Lab(b, lab.Options{CongestionControl: "cubic"})}
	if err := x.WriteConfig(lab.Config{}); err != nil {
		b.Fatal(err)
	}
	for _, d := range deaths {
		b.Run(d.name, func(b *testing.B) {
			b.Run("Primary", func(b *testing.B) { x.deaths(b, x.A, d.fault) })
			b.Run("Backup", func(b *testing.B) { x.deaths(b, x.B, d.fault) })
		})
	}
	b.Run("Switchover", x.switchovers)
}

// deathBench is a lab whose hosts boot again for each death.
type deathBench struct{ *lab.Lab }

// series are the values of each metric.
type series map[string][]time.Duration

func (s series) add(metric string, d time.Duration) { s[metric] = append(s[metric], d) }

// report gives the medians.
func (s series) report(b *testing.B) {
	for metric, v := range s {
		slices.Sort(v)
		b.ReportMetric(float64(v[len(v)/2])/float64(time.Millisecond), metric+"-ms")
	}
	b.ReportMetric(0, "ns/op")
}

// deaths strikes one host after the other dead.
func (x *deathBench) deaths(b *testing.B, victim *lab.Host, fault func(*lab.Host) error) {
	s := series{}
	survivor := x.A
	if victim == x.A {
		survivor = x.B
	}
	for b.Loop() {
		x.boot(b)
		l := x.load(b)
		at := time.Now()
		if err := fault(victim); err != nil {
			b.Fatal(err)
		}
		t := x.claimed(b, survivor)
		if t.At.Before(at) {
			b.Fatalf("%s claimed %v before the fault: %s", survivor.Name, at.Sub(t.At), t.Reason)
		}
		replies := l.end(b)
		s.add("detected", t.At.Sub(at))
		s.add("decided", step(b, t, "epoch-written"))
		s.add("claimed", step(b, t, "released"))
		first, pause := after(b, replies, t.At)
		s.add("first-byte", first.Sub(at))
		s.add("pause", pause)
	}
	s.report(b)
}

// switchovers has the primary's part go to and fro.
func (x *deathBench) switchovers(b *testing.B) {
	s := series{}
	x.boot(b)
	from, to := x.A, x.B
	for b.Loop() {
		l := x.load(b)
		at := time.Now()
		p, err := from.Start("switchover", program, "switchover", "--socket", from.Socket())
		if err == nil {
			err = p.Wait(b.Context())
		}
		if err != nil {
			b.Fatal(err, p.Log())
		}
		replies := l.end(b)
		gave, took := x.became(b, from, "backup", at), x.became(b, to, "primary", at)
		s.add("decided", gave.Sub(at))
		s.add("claimed", took.Sub(gave))
		first, pause := after(b, replies, took)
		s.add("first-byte", first.Sub(at))
		s.add("pause", pause)
		s.add("calm", calm(replies, at))
		from, to = to, from
	}
	s.report(b)
}

// calm returns the longest pause of the replies that had ended before a moment.
func calm(replies []client.Result, at time.Time) (pause time.Duration) {
	for _, r := range replies {
		if r.End.Before(at) {
			pause = max(pause, r.Pause)
		}
	}
	return pause
}

// boot makes a pair of two hosts that have just booted: a is primary, b backup and owner.
func (x *deathBench) boot(b *testing.B) {
	b.Helper()
	for _, h := range []*lab.Host{x.A, x.B} {
		err := h.Reboot()
		if err == nil {
			_, err = h.StartApp(program)
		}
		if err == nil {
			_, err = h.StartNode(program)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(b.Context(), 20*time.Second)
	defer cancel()
	if err := x.AwaitDuplex(ctx); err != nil {
		b.Fatal(err)
	}
}

// traffic is four connections with a small request every few milliseconds and a download.
type traffic struct {
	stop   chan struct{}
	wg     sync.WaitGroup
	report client.Report
}

func (x *deathBench) load(b *testing.B) *traffic {
	l := &traffic{stop: make(chan struct{})}
	c := &client.Client{Namespace: x.Client, Target: lab.Advertised, Timeout: 20 * time.Second}
	repeat := func(name string, gap time.Duration, next func(id string) client.Request) {
		l.wg.Go(func() {
			c.Repeat(b.Context(), gap, func(i int) (client.Request, bool) {
				select {
				case <-l.stop:
					return client.Request{}, false
				default:
					return next(fmt.Sprintf("%s-%d", name, i)), true
				}
			}, &l.report)
		})
	}
	for k := range 4 {
		repeat(fmt.Sprintf("small%d", k), 5*time.Millisecond, func(id string) client.Request { return client.Bytes(id, 1<<10) })
	}
	repeat("download", 0, func(id string) client.Request {
		q := client.Bytes(id, 2<<20)
		q.Rate = 4 << 20
		return q
	})
	time.Sleep(300 * time.Millisecond) // in the middle of it all
	return l
}

// end lets the load run on for a moment and returns all replies.
func (l *traffic) end(b *testing.B) []client.Result {
	b.Helper()
	time.Sleep(200 * time.Millisecond)
	close(l.stop)
	l.wg.Wait()
	if err := l.report.Err(); err != nil {
		b.Fatal(err)
	}
	return l.report.Results()
}

// after returns when the first small reply after a moment had come, and the longest pause of all.
func after(b *testing.B, replies []client.Result, at time.Time) (first time.Time, pause time.Duration) {
	b.Helper()
	for _, r := range replies {
		pause = max(pause, r.Pause)
		if r.End.After(at) && strings.HasPrefix(r.ID, "small") && (first.IsZero() || r.End.Before(first)) {
			first = r.End
		}
	}
	if first.IsZero() {
		b.Fatal("no reply came any more")
	}
	return first, pause
}

// claimed waits until the survivor has carried out its claim.
func (x *deathBench) claimed(b *testing.B, survivor *lab.Host) *lab.Takeover {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
	defer cancel()
	s, err := survivor.Await(ctx, "the claim", func(s lab.ServiceStatus) bool {
		t := s.LastTakeover
		return s.Role == "sole" && t != nil && len(t.Steps) > 0 && t.Steps[len(t.Steps)-1].Name == "released"
	})
	if err != nil {
		b.Fatal(err)
	}
	return s.LastTakeover
}

// step returns when a step of the claim was done, since the decision.
func step(b *testing.B, t *lab.Takeover, name string) time.Duration {
	b.Helper()
	for _, s := range t.Steps {
		if s.Name == name {
			return time.Duration(s.AtMS * float64(time.Millisecond))
		}
	}
	b.Fatalf("the claim has no step %s: %+v", name, t)
	return 0
}

// became returns when a node first said, after a moment, that it has a role. Its log is cut off to
// milliseconds.
func (x *deathBench) became(b *testing.B, h *lab.Host, role string, since time.Time) time.Time {
	b.Helper()
	text, err := os.ReadFile(h.Node().LogPath())
	if err != nil {
		b.Fatal(err)
	}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		stamp, say, _ := strings.Cut(strings.TrimPrefix(s.Text(), "time="), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err == nil && !at.Before(since) && strings.Contains(say, " msg=role ") && strings.Contains(say, " role="+role+" ") {
			return at
		}
	}
	b.Fatalf("%s has not become %s:\n%s", h.Name, role, text)
	return time.Time{}
}
