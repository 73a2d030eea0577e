// Package crashpoint names the places in a node where a drill stops it, so that a host dies in
// exactly the phase that the drill means and not by luck. Only the environment of the process
// arms a point, which neither the config file nor the network can reach; a process without
// it pays one load of a pointer at each point. Instead of being stopped, a process can be made to
// have a defect there.
package crashpoint

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Env is the variable that arms a process. Its value is "NAME" or "NAME:N", the N-th time that
// NAME is passed, or "@FILE": once FILE is there, what it holds, counted from then on. A "!" before
// NAME stands for a panic.
const Env = "FTGW_LAB_CRASH"

// Point is a named place.
type Point string

// The points. A data segment is one that carries bytes of a request or a reply.
const (
	SegmentIn  Point = "segment-in"  // a client's data segment has come and its kernel does not have it yet
	CloneData  Point = "clone-data"  // the local kernel has a data segment, the peer was not sent it yet
	ClonedData Point = "cloned-data" // the peer was sent it
	ConfirmIn  Point = "confirm-in"  // the peer's confirmation of input has come and nothing knows it yet
	DataOut    Point = "data-out"    // a data segment of a reply is about to leave for the client

	ReplyMade    Point = "reply-made"    // the upstream has replied, nothing was sent to the peer
	RecordSent   Point = "record-sent"   // some frames of records, 256 KiB at most, were sent to the peer
	StoredIn     Point = "stored-in"     // the peer has stored a record and said so, nobody knows it yet
	ReplyStored  Point = "reply-stored"  // the executor knows that its reply is stored, nothing was written
	RecordStored Point = "record-stored" // on the backup: a record is stored, the peer was not told

	// The steps of a takeover, each when it is done.
	EpochWritten Point = "epoch-written"
	Promoted     Point = "promoted"
	GateOpen     Point = "gate-open"
	Announced    Point = "announced"
	Released     Point = "released"
)

// Points lists all points.
func Points() []Point {
	return []Point{SegmentIn, CloneData, ClonedData, ConfirmIn, DataOut, ReplyMade, RecordSent,
		StoredIn, ReplyStored, RecordStored, EpochWritten, Promoted, GateOpen, Announced, Released}
}

// armed is what the environment asked for, nil in every process but a lab's.
var armed = fromEnv(os.Getenv(Env))

// Armed reports whether this process may stop at a point, for a caller that has to look
// closer before it knows whether it is at one.
func Armed() bool { return armed != nil }

// Here stops the whole process, as SIGSTOP does, if this is the point and the time that it is
// armed for. It is safe for concurrent use.
func Here(p Point) {
	if armed == nil || !armed.pass(p) {
		return
	}
	if armed.want.Load().panics {
		panic("ordered at " + string(p))
	}
	stop(p)
}

// plan is one armed point.
type plan struct {
	file string // where the rest comes from, if not empty
	want atomic.Pointer[want]
}

type want struct {
	point  Point
	panics bool
	left   atomic.Int64 // passes until it is hit; it is hit once
}

func fromEnv(value string) *plan {
	if value == "" {
		return nil
	}
	if file, ok := strings.CutPrefix(value, "@"); ok {
		return &plan{file: file}
	}
	p := &plan{}
	p.set(value)
	return p
}

// set arms the plan; a value that cannot be read arms nothing and says so.
func (p *plan) set(value string) *want {
	w, err := parse(value)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%v\n", err)
		w = &want{}
	}
	if p.want.CompareAndSwap(nil, w) {
		return w
	}
	return p.want.Load()
}

// pass counts and reports whether this is the one.
func (p *plan) pass(at Point) bool {
	w := p.want.Load()
	if w == nil {
		text, err := os.ReadFile(p.file)
		if err != nil {
			return false // not there yet
		}
		w = p.set(string(bytes.TrimSpace(text)))
	}
	return w.point == at && w.left.Add(-1) == 0
}

func parse(value string) (*want, error) {
	name, times, counted := strings.Cut(value, ":")
	name, panics := strings.CutPrefix(name, "!")
	w := &want{point: Point(name), panics: panics}
	n := uint64(1)
	if counted {
		var err error
		if n, err = strconv.ParseUint(times, 10, 31); err != nil || n == 0 {
			return nil, fmt.Errorf("%s=%q: %q is no count from 1 on", Env, value, times)
		}
	}
	for _, known := range Points() {
		if w.point == known {
			w.left.Store(int64(n))
			return w, nil
		}
	}
	return nil, fmt.Errorf("%s=%q: there is no point %q (choose of %v)", Env, value, name, Points())
}

// stop sends the signal to this very thread, which therefore does not take another step; the
// kernel then stops all others of the process.
func stop(p Point) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fmt.Fprintf(os.Stderr, "time=%s level=INFO msg=\"stopped at a crash point\" point=%s\n",
		time.Now().Format("2006-01-02T15:04:05.000Z07:00"), p)
	if err := unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP); err != nil {
		panic(err) // nothing forbids a process to stop itself
	}
}
