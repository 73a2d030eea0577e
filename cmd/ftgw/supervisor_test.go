package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestSupervisorIsTold: ready first, then life signs while all goes round, and the status when it
// changes.
func TestSupervisorIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "40000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	next := func() string {
		b := make([]byte, 1000)
		l.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := l.Read(b)
		if err != nil {
			t.Fatalf("nothing is said: %v", err)
		}
		return string(b[:n])
	}

	var says atomic.Value
	says.Store("joining")
	var hangs atomic.Bool
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- toSupervisor(ctx, slog.New(slog.NewTextHandler(io.Discard, nil)), func() string { return says.Load().(string) },
			func(within time.Duration) bool {
				if within != 20*time.Millisecond {
					t.Errorf("alive within %v", within)
				}
				return !hangs.Load()
			})
	}()
	if got := next(); got != "READY=1\nSTATUS=joining" {
		t.Errorf("first %q", got)
	}
	if got := next(); got != "WATCHDOG=1" {
		t.Errorf("then %q", got)
	}
	hangs.Store(true)
	says.Store("backup")
	var all []string
	for !slices.Contains(all, "STATUS=backup") {
		all = append(all, next())
	}
	says.Store("sole") // whatever is said from now on was decided while it hangs
	for got := next(); got != "STATUS=sole"; got = next() {
		t.Errorf("it hangs, and says %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSupervisorWatchdogBad(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "soon")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	err := toSupervisor(t.Context(), slog.New(slog.DiscardHandler), func() string { return "" }, nil)
	if err == nil || !strings.Contains(err.Error(), "WatchdogSec") {
		t.Errorf("error %v", err)
	}
}
