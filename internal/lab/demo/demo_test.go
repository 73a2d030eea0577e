package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

// TestMain plays ftgw where the demo starts this binary as such: a stand-in that keeps the
// promise when a dies and breaks it when b dies, because b alone relays all connections.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "run" || os.Args[1] == "lab-app") {
		if err := standIn(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	labtest.Main(m)
}

func standIn(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	value := map[string]string{}
	for i := 1; i+1 < len(args); i += 2 {
		value[args[i]] = args[i+1]
	}
	if args[0] == "lab-app" {
		return webapp.Run(ctx, webapp.Options{Listen: value["--listen"], Host: value["--host"], Journal: value["--journal"]})
	}
	if value["--name"] == lab.NameB {
		if err := relay(); err != nil {
			return err
		}
	}
	l, err := net.Listen("unix", filepath.Join(filepath.Dir(value["--config"]), "ftgw.sock"))
	if err != nil {
		return err
	}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"services":[{"mode":"duplex","in_sync":true,"last_takeover":{"epoch":3,"reason":"stand-in",
			"at":%q,"steps":[{"name":"announced","at_ms":0.5}]}}]}`, time.Now().Format(time.RFC3339Nano))
	}))
}

func relay() error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(lab.AdvertisedIP + "/24")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return err
	}
	l, err := net.Listen("tcp", lab.Advertised)
	if err != nil {
		return err
	}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", lab.Upstream)
			if err != nil {
				in.Close()
				continue
			}
			go func() { io.Copy(out, in); out.Close() }()
			go func() { io.Copy(in, out); in.Close() }()
		}
	}()
	return nil
}

func options(t *testing.T, out io.Writer) Options {
	t.Helper()
	labtest.Require(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Options{Out: out, FtgwPath: self}
}

func TestActKeptAndBroken(t *testing.T) {
	for _, row := range []struct {
		act  act
		kept bool
	}{
		{act{1, lab.NameA, lab.NameB, "primary", patience}, true},
		{act{2, lab.NameB, lab.NameA, "backup", 2 * time.Second}, false},
	} {
		var out bytes.Buffer
		o := options(t, &out)
		outcome, err := row.act.play(t.Context(), o, newTeller(o))
		t.Logf("%s\n%v", out.String(), err)
		if (err == nil) != row.kept {
			t.Errorf("act %d: %v", row.act.number, err)
		}
		if row.kept && (outcome.Takeover == nil || outcome.ClaimMS <= 0 || outcome.AfterCrash == 0 || !strings.Contains(out.String(), "announced")) {
			t.Errorf("act %d: %+v", row.act.number, outcome)
		}
		if !row.kept && (outcome.Client.Hangs == 0 || !strings.Contains(err.Error(), "broken")) {
			t.Errorf("act %d: %+v", row.act.number, outcome)
		}
	}
}

func TestInterruptedDemoEndsAtOnceAndLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := Run(ctx, options(t, io.Discard)); err == nil {
		t.Error("an interrupted demo says that all is well")
	}
	if took := time.Since(begin); took > 6*time.Second {
		t.Errorf("took %v to end", took)
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

func TestNoProgram(t *testing.T) {
	o := options(t, io.Discard)
	o.FtgwPath = "/nonexistent/ftgw"
	o.JSON = true
	var out bytes.Buffer
	o.Out = &out
	if err := Run(t.Context(), o); err == nil || !strings.Contains(out.String(), `"promise_kept": false`) {
		t.Errorf("%v\n%s", err, out.String())
	}
}
