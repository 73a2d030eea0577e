package e2e

import (
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

// A primary that stands still for less than the hang timeout keeps its role; the client sees a
// pause and nothing else.
func TestPrimaryStopsBriefly(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{})
	w := x.watch()
	wait := x.busy()
	time.Sleep(400 * time.Millisecond)
	x.must(x.nodes[x.A].Stop())
	time.Sleep(300 * time.Millisecond)
	x.must(x.nodes[x.A].Cont())
	time.Sleep(500 * time.Millisecond)
	wait()
	x.whole()
	x.executions()
	w.check(0, time.Time{})
	x.duplex()
	if s := x.service(x.A); s.Role != "primary" {
		t.Errorf("a is %s", s.Role)
	}
}

// One that stands still for longer is replaced, and learns of it when it wakes before it
// utters a byte. It comes back as the backup.
func TestPrimaryStopsForLong(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{})
	w := x.watch()
	wait := x.busy()
	time.Sleep(400 * time.Millisecond)
	x.must(x.nodes[x.A].Stop())
	time.Sleep(3 * time.Second)
	claimed := x.service(x.B).LastTakeover
	if claimed == nil {
		t.Fatal("b did not claim within 3 s")
	}
	x.must(x.nodes[x.A].Cont())
	time.Sleep(500 * time.Millisecond)
	wait()
	x.whole()
	x.executions()
	w.check(1, claimed.At)
	x.duplex()
	t.Logf("a: %+v", x.service(x.A))
	t.Logf("b: %+v", x.service(x.B))
}

// The same for the backup, which owns the address.
func TestBackupStops(t *testing.T) {
	for _, stop := range []time.Duration{300 * time.Millisecond, 3 * time.Second} {
		t.Run(stop.String(), func(t *testing.T) {
			x := start(t, lab.Options{}, lab.Config{})
			w := x.watch()
			wait := x.busy()
			time.Sleep(400 * time.Millisecond)
			x.must(x.nodes[x.B].Stop())
			time.Sleep(stop)
			until := time.Now()
			if c := x.service(x.A).LastTakeover; c != nil {
				until = c.At
			}
			x.must(x.nodes[x.B].Cont())
			time.Sleep(500 * time.Millisecond)
			wait()
			x.whole()
			x.executions()
			w.check(0, until)
			x.duplex()
			t.Logf("a: %+v", x.service(x.A))
		})
	}
}

// A host whose cable is pulled falls silent; put back, it joins again. The client sees one
// voice.
func TestCableIsPulled(t *testing.T) {
	for name, host := range map[string]func(*cluster) (*lab.Host, *lab.Host){
		"primary": func(x *cluster) (*lab.Host, *lab.Host) { return x.A, x.B },
		"backup":  func(x *cluster) (*lab.Host, *lab.Host) { return x.B, x.A },
	} {
		for way, pull := range map[string]func(*lab.Host) error{"cut": (*lab.Host).Cut, "dark": (*lab.Host).Dark} {
			t.Run(name+"/"+way, func(t *testing.T) {
				x := start(t, lab.Options{}, lab.Config{})
				v, survivor := host(x)
				w := x.watch()
				wait := x.busy()
				time.Sleep(400 * time.Millisecond)
				x.must(pull(v))
				x.until("the other serves alone", 3*time.Second, func() bool { return x.service(survivor).Role == "sole" })
				time.Sleep(2 * time.Second)
				x.must(v.Mend())
				x.duplex()
				time.Sleep(300 * time.Millisecond)
				wait()
				x.whole()
				x.executions()
				w.check(1, x.service(survivor).LastTakeover.At)
				t.Logf("victim: %+v", x.service(v))
				t.Logf("survivor: %+v", x.service(survivor))
			})
		}
	}
}
