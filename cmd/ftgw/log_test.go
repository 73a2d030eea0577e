package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/config"
)

func TestLogging(t *testing.T) {
	cfg := config.Default()
	l, err := newLogging(&cfg, "", "json")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log := l.logger(&out, false)
	log.Debug("not said")
	log.Info("said", "n", 1)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "said" || line["time"] == nil {
		t.Errorf("%s: %v", out.String(), err)
	}
	cfg.LogLevel = "debug"
	l.follow(&cfg)
	if out.Reset(); !log.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("the level of the file is not followed")
	}
	if l, err = newLogging(&cfg, "warn", ""); err != nil {
		t.Fatal(err)
	}
	if l.follow(&cfg); l.level.Level() != slog.LevelWarn {
		t.Errorf("the file's level goes before the command line's: %v", l.level.Level())
	}
	if _, err := newLogging(&cfg, "loud", ""); err == nil || !strings.Contains(err.Error(), "debug, info, warn or error") {
		t.Error(err)
	}
	if _, err := newLogging(&cfg, "", "xml"); err == nil || !strings.Contains(err.Error(), "text or json") {
		t.Error(err)
	}
}

// TestJournal: each line has its priority and no time, whatever the format, with attributes and
// groups.
func TestJournal(t *testing.T) {
	cfg := config.Default()
	for format, want := range map[string]string{
		"text": "<7>level=DEBUG msg=a x=1 g.y=2\n<6>level=INFO msg=a x=1 g.y=2\n<4>level=WARN msg=a x=1 g.y=2\n<3>level=ERROR msg=a x=1 g.y=2\n",
		"json": `<7>{"level":"DEBUG","msg":"a","x":1,"g":{"y":2}}` + "\n" + `<6>{"level":"INFO","msg":"a","x":1,"g":{"y":2}}` + "\n" +
			`<4>{"level":"WARN","msg":"a","x":1,"g":{"y":2}}` + "\n" + `<3>{"level":"ERROR","msg":"a","x":1,"g":{"y":2}}` + "\n",
	} {
		l, err := newLogging(&cfg, "debug", format)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		log := l.logger(&out, true).With("x", 1).WithGroup("g")
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			log.Log(t.Context(), level, "a", "y", 2)
		}
		if out.String() != want {
			t.Errorf("%s:\n%swant\n%s", format, out.String(), want)
		}
	}
}

func TestIsJournal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]bool{
		fmt.Sprintf("%d:%d", st.Dev, st.Ino): true, fmt.Sprintf("%d:%d", st.Dev, st.Ino+1): false, "": false, "8": false, "a:b": false,
	} {
		if got := isJournal(f, stream); got != want {
			t.Errorf("%q: %t", stream, got)
		}
	}
}

// TestQuiet: of each message a few come through in a time, and what was kept back is told later.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := quietly(slog.New(slog.NewTextHandler(&out, nil)))
		lines := func() []string {
			defer out.Reset()
			return strings.Split(strings.TrimSpace(out.String()), "\n")
		}
		for range 1000 {
			log.With("service", "shop").Warn("the upstream fails")
		}
		log.Warn("something else")
		if all := lines(); len(all) != quietLines+1 || strings.Contains(all[0], "suppressed") {
			t.Errorf("%q", all)
		}
		time.Sleep(quietFor)
		log.WithGroup("g").Warn("the upstream fails")
		if all := lines(); len(all) != 1 || !strings.HasSuffix(all[0], "suppressed=995") {
			t.Errorf("%q", all)
		}
		for i := range 10 * maxKinds {
			log.Warn(fmt.Sprint("of many kinds ", i))
		}
		if all := lines(); len(all) > maxKinds+quietLines {
			t.Errorf("%d lines of strangers' words", len(all))
		}
	})
}
