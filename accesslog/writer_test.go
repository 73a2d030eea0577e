package accesslog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// disk is a file that can be slow, full or away.
type disk struct {
	mu     sync.Mutex
	files  []*bytes.Buffer
	absent bool
	room   int           // bytes until it is full; < 0: never
	gate   chan struct{} // a write takes one from it if it is there
	closed int
}

func (d *disk) open() (io.WriteCloser, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.absent {
		return nil, os.ErrNotExist
	}
	d.files = append(d.files, new(bytes.Buffer))
	return &handle{d, d.files[len(d.files)-1]}, nil
}

type handle struct {
	*disk
	to *bytes.Buffer
}

func (h *handle) Write(p []byte) (int, error) {
	if h.gate != nil {
		<-h.gate
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.room >= 0 && len(p) > h.room {
		n, _ := h.to.Write(p[:h.room])
		h.room = 0
		return n, errors.New("no space left on device")
	}
	if h.room >= 0 {
		h.room -= len(p)
	}
	return h.to.Write(p)
}

func (h *handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed++
	return nil
}

// run starts a Writer in a bubble; stop waits for its end.
func run(t *testing.T, d *disk, cfg Config) (w *Writer, log *bytes.Buffer, stop func()) {
	log = new(bytes.Buffer)
	cfg.Open, cfg.Log = d.open, slog.New(slog.NewTextHandler(log, nil))
	w = NewWriter(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- w.Run(ctx) }()
	return w, log, func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}
}

func write(w *Writer, targets ...string) {
	for _, target := range targets {
		w.Write(&Entry{Method: "GET", Target: target})
	}
}

// targets returns what was asked for, by the lines of a file.
func targets(b *bytes.Buffer) string {
	var all []string
	for line := range strings.Lines(b.String()) {
		f := strings.Fields(line)
		if len(f) != 9 || !strings.HasSuffix(line, "\n") {
			all = append(all, "torn")
			continue
		}
		all = append(all, strings.Trim(f[6], `"`))
	}
	return strings.Join(all, " ")
}

func TestWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{room: -1}
		w, log, stop := run(t, d, Config{})
		synctest.Wait()
		if len(d.files) != 0 {
			t.Error("opened without a line")
		}
		write(w, "/a", "/b")
		synctest.Wait()
		if got := targets(d.files[0]); got != "/a /b" {
			t.Errorf("%q", got)
		}
		write(w, "/c")
		w.Reopen() // what waits at that moment may go to either; to the new one here
		synctest.Wait()
		write(w, "/d")
		stop()
		write(w, "/e") // too late
		if got := targets(d.files[0]) + " | " + targets(d.files[1]); got != "/a /b | /c /d" {
			t.Errorf("%q", got)
		}
		if s := w.Stats(); s != (Stats{Written: 4, Dropped: 1}) || d.closed != 2 || log.Len() > 0 {
			t.Errorf("%+v, %d closed, %s", s, d.closed, log)
		}
	})
}

// TestSlowDisk: lines beyond the memory are dropped and counted, and nobody waits.
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{room: -1, gate: make(chan struct{}, 10)}
		line := len(Common.Append(nil, &Entry{Method: "GET", Target: "/0"}))
		w, _, stop := run(t, d, Config{Memory: 3*line + 1})
		write(w, "/0")
		synctest.Wait() // the disk has it and hangs
		write(w, "/1", "/2", "/3", "/4", "/5")
		if s := w.Stats(); s.Dropped != 2 || s.Written != 0 {
			t.Errorf("%+v", s)
		}
		d.gate <- struct{}{}
		synctest.Wait()
		write(w, "/6")
		close(d.gate)
		stop()
		if got := targets(d.files[0]); got != "/0 /1 /2 /3 /6" {
			t.Errorf("%q", got)
		}
		if s := w.Stats(); s != (Stats{Written: 5, Dropped: 2}) {
			t.Errorf("%+v", s)
		}
	})
}

// TestFullDisk: lost lines are counted, a torn one is ended before the next.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{room: len(Common.Append(nil, &Entry{Method: "GET", Target: "/a"})) + 9}
		w, log, stop := run(t, d, Config{})
		write(w, "/a", "/b")
		synctest.Wait()
		write(w, "/c")
		synctest.Wait()
		d.mu.Lock()
		d.room = -1
		d.mu.Unlock()
		write(w, "/d")
		stop()
		if got := targets(d.files[0]); got != "/a torn /d" {
			t.Errorf("%q of %s", got, d.files[0])
		}
		if s := w.Stats(); s != (Stats{Written: 2, Lost: 2}) {
			t.Errorf("%+v", s)
		}
		if got := log.String(); strings.Count(got, "WARN") != 1 || strings.Count(got, "written again") != 1 {
			t.Error(got)
		}
	})
}

func TestAbsentFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{room: -1, absent: true}
		w, log, stop := run(t, d, Config{})
		for range 3 {
			write(w, "/a")
			synctest.Wait()
		}
		d.mu.Lock()
		d.absent = false
		d.mu.Unlock()
		write(w, "/b")
		synctest.Wait()
		d.mu.Lock()
		d.absent = true
		d.mu.Unlock()
		w.Reopen() // fails: the old one stays
		synctest.Wait()
		write(w, "/c")
		stop()
		if got := targets(d.files[0]); got != "/b /c" {
			t.Errorf("%q", got)
		}
		if s := w.Stats(); s != (Stats{Written: 2, Lost: 3}) || strings.Count(log.String(), "WARN") != 2 {
			t.Errorf("%+v\n%s", s, log)
		}
	})
}

// TestRotation moves a real file away under many writers. Each line is in one of the two files.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w := NewWriter(Config{Format: JSON, Memory: 1 << 26, Open: func() (io.WriteCloser, error) {
		return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	var run, users sync.WaitGroup
	run.Go(func() { w.Run(ctx) })
	const each = 500
	for range 8 {
		users.Go(func() {
			for range each {
				write(w, "/")
			}
		})
	}
	for range 20 {
		if err := os.Rename(path, path+".1"); err == nil {
			w.Reopen()
			break
		}
		write(w, "/")
	}
	users.Wait()
	cancel()
	run.Wait()
	lines := 0
	for _, p := range []string{path, path + ".1"} {
		data, err := os.ReadFile(p)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			lines++
			if !bytes.HasPrefix(line, []byte(`{"time"`)) || !bytes.HasSuffix(line, []byte("}\n")) {
				t.Fatalf("%q", line)
			}
		}
	}
	if s := w.Stats(); uint64(lines) != s.Written || s.Written < 8*each || s.Dropped+s.Lost > 0 {
		t.Errorf("%d lines, %+v", lines, s)
	}
}

// BenchmarkWrite is what a reply pays for its line.
func BenchmarkWrite(b *testing.B) {
	w := NewWriter(Config{Format: JSON, Open: func() (io.WriteCloser, error) { return os.OpenFile(os.DevNull, os.O_WRONLY, 0) }})
	ctx, cancel := context.WithCancel(b.Context())
	var run sync.WaitGroup
	run.Go(func() { w.Run(ctx) })
	e := entry()
	b.ReportAllocs()
	for b.Loop() {
		w.Write(&e)
	}
	cancel()
	run.Wait()
	b.ReportMetric(float64(w.Stats().Dropped)/float64(b.N), "dropped/op")
}
