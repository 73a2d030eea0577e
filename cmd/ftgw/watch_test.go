package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// printed is what a command has printed so far.
type printed struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// awaitText waits until the text has so many of what is sought.
func awaitText(t *testing.T, text func() string, sought string, n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); strings.Count(text(), sought) < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %d of %q in:\n%s", n, sought, text())
		}
	}
}

// A watch outlasts the node: it waits for one, sees it go and come back, and ends well by Ctrl-C.
func TestWatchOutlastsTheNode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ftgw.sock")
	serve := func() (stop func()) {
		l, err := listenSocket(path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- serveSocket(ctx, l, answers{status: designStatus}) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	for _, tt := range []struct{ flag, shown, absent string }{
		{"--json=false", "node web-a, version 1", "no ftgw answers at " + path},
		{"--json", `{"node":"web-a"`, ""},
	} {
		t.Run(tt.flag, func(t *testing.T) {
			var out, errOut printed
			ctx, cancel := context.WithCancel(t.Context())
			code := make(chan int, 1)
			go func() {
				code <- execute(ctx, []string{"status", "--watch", "--every", "100ms", "--socket", path, tt.flag}, &out, &errOut)
			}()
			for i := range 2 {
				if tt.absent != "" {
					awaitText(t, out.String, tt.absent, i+1)
				}
				before := strings.Count(out.String(), tt.shown)
				stop := serve()
				awaitText(t, out.String, tt.shown, before+2)
				stop()
			}
			cancel()
			if c := <-code; c != 0 || errOut.String() != "" {
				t.Errorf("exit code %d, %s", c, errOut.String())
			}
			if text := out.String(); strings.Contains(text, "\x1b") {
				t.Errorf("sequences of a terminal: %q", text)
			}
		})
	}
}

// In a terminal the watch draws over itself, without clearing the screen in between, on a screen of
// its own that it leaves.
func TestWatchInATerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 12, Col: 60})
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	t.Setenv("TERM", "xterm")
	var seen printed
	go func() { // ends when the terminal is closed
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			if err != nil {
				return
			}
			seen.Write(b[:n])
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() {
		code <- execute(ctx, []string{"status", "--watch", "--every", "100ms", "--socket", serve(t)}, terminal, terminal)
	}()
	awaitText(t, seen.String, "more lines", 3) // 12 rows are too few
	cancel()
	if c := <-code; c != 0 {
		t.Errorf("exit code %d", c)
	}
	awaitText(t, seen.String, leaveScreen, 1)
	text := seen.String()
	if !strings.HasPrefix(text, enterScreen+toTop) || strings.Contains(text, "\x1b[2J") {
		t.Errorf("%q", text[:min(len(text), 200)])
	}
}

func TestFrame(t *testing.T) {
	got := frame("PEER  STATE\nweb-b µµµµµµ\nWARNING: x\nfour\nfive\n", 10, 4)
	want := toTop + bold + "PEER  STA…" + plain + restOfLine + "\r\n" +
		"web-b µµµ…" + restOfLine + "\r\n" +
		warned + "WARNING: x" + plain + restOfLine + "\r\n" +
		"… 2 more …" + restOfLine + restBelow
	if got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
}
