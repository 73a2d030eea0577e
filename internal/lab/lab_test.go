package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// serve accepts on the host's address and answers each connection with its own name.
func serve(t *testing.T, h *lab.Host) {
	t.Helper()
	var l net.Listener
	if err := h.Do(func() (err error) {
		l, err = net.Listen("tcp", h.Addr().String()+":7")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, h.Name)
			c.Close()
		}
	}()
}

// ask connects from one host to another and returns the name that answers.
func ask(from, to *lab.Host) (string, error) {
	var name []byte
	err := from.Do(func() error {
		c, err := net.DialTimeout("tcp", to.Addr().String()+":7", 300*time.Millisecond)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(2 * time.Second))
		name, err = io.ReadAll(c)
		return err
	})
	return string(name), err
}

func reaches(t *testing.T, from, to *lab.Host, want bool) {
	t.Helper()
	var err error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		var name string
		name, err = ask(from, to)
		if (err == nil && name == to.Name) == want {
			return
		}
	}
	t.Fatalf("%s reaches %s: want %v, last error %v", from.Name, to.Name, want, err)
}

func TestCables(t *testing.T) {
	l := labtest.Lab(t, lab.Options{ClientAddresses: 3})
	serve(t, l.A)
	serve(t, l.B)
	for _, row := range []struct {
		name        string
		do          func() error
		client, b   bool // who reaches a afterwards
		bFromClient bool
	}{
		{"whole", func() error { return nil }, true, true, true},
		{"cut", l.A.Cut, false, false, true},
		{"mended", l.A.Mend, true, true, true},
		{"dark", l.A.Dark, false, false, true},
		{"mended again", l.A.Mend, true, true, true},
		{"parted", func() error { return errors.Join(l.A.Part(), l.B.Part()) }, true, false, true},
		{"healed", func() error { return errors.Join(l.A.Mend(), l.B.Mend()) }, true, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := row.do(); err != nil {
				t.Fatal(err)
			}
			reaches(t, l.Client, l.A, row.client)
			reaches(t, l.B, l.A, row.b)
			reaches(t, l.Client, l.B, row.bFromClient)
		})
	}
}

func TestCutLosesCarrierDarkDoesNot(t *testing.T) {
	l := labtest.Lab(t, lab.Options{})
	running := func() bool {
		var up bool
		if err := l.A.Do(func() error {
			i, err := net.InterfaceByName(l.A.Interface())
			up = err == nil && i.Flags&net.FlagRunning != 0
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return up
	}
	waitFor(t, "carrier", running)
	if err := l.A.Dark(); err != nil {
		t.Fatal(err)
	}
	if !running() {
		t.Error("a dark cable lost its carrier")
	}
	if err := l.A.Cut(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "loss of carrier", func() bool { return !running() })
}

func TestCrashAndReboot(t *testing.T) {
	l := labtest.Lab(t, lab.Options{})
	serve(t, l.A)
	reaches(t, l.Client, l.A, true)
	p, err := l.A.Start("sleep", "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.A.Crash(); err != nil {
		t.Fatal(err)
	}
	if !p.Exited() {
		t.Error("a process outlived its host")
	}
	if _, err := l.A.Start("sleep", "sleep", "60"); err == nil {
		t.Error("a crashed host started a process")
	}
	if err := l.A.Reboot(); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(l.Client, l.A); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the listener outlived the reboot: %v", err)
	}
	serve(t, l.A)
	reaches(t, l.Client, l.A, true)
}

func TestProcess(t *testing.T) {
	l := labtest.Lab(t, lab.Options{Env: []string{"WORD=hello"}})
	p, err := l.B.Start("say", "sh", "-c", "echo $WORD; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var exit *exec.ExitError
	if err := p.Wait(ctx); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("Wait: %v, want exit status 3", err)
	}
	if p.Log() != "hello\n" {
		t.Errorf("log is %q", p.Log())
	}
	if err := p.Kill(); err != nil {
		t.Errorf("Kill after the end: %v", err)
	}
	s, err := l.B.Start("sleep", "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Stop(), s.Cont()); err != nil || s.Exited() {
		t.Errorf("stop and go on: %v, exited %v", err, s.Exited())
	}
	if _, err := l.B.Start("none", "/nonexistent/program"); err == nil {
		t.Error("a program that is not there started")
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	labtest.Require(t)
	l, err := lab.New(lab.Options{CongestionControl: "cubic"})
	if err != nil {
		t.Fatal(err)
	}
	if l.CongestionControl() == "" {
		t.Error("congestion control unknown")
	}
	p, err := l.A.Start("sleep", "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(l.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory is left: %v", err)
	}
	if !p.Exited() {
		t.Error("process is left")
	}
}

func TestWriteConfig(t *testing.T) {
	l := labtest.Lab(t, lab.Options{})
	if err := l.WriteConfig(lab.Config{Top: `probe = "192.0.2.1"`, Service: "[[service.route]]\npath = \"/x\"", Witness: true}); err != nil {
		t.Fatal(err)
	}
	a, err := os.ReadFile(l.A.ConfigPath())
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(l.B.ConfigPath())
	if err != nil {
		t.Fatal(err)
	}
	if string(a) == string(b) || strings.ReplaceAll(string(a), l.A.Dir, l.B.Dir) != string(b) {
		t.Errorf("files should differ in local keys only:\n%s\n%s", a, b)
	}
}

func TestThirdHost(t *testing.T) {
	l := labtest.Lab(t, lab.Options{Third: true})
	if h := l.Hosts(); len(h) != 4 || h[2] != l.C || l.C.Name != lab.NameC || l.C.Addr().String() != "192.0.2.14" {
		t.Errorf("hosts %v, the third is %+v", h, l.C)
	}
	macs := map[string]bool{}
	for _, h := range l.Hosts() {
		macs[h.MAC().String()] = true
		serve(t, h)
	}
	if len(macs) != 4 {
		t.Errorf("MACs %v, want four", macs)
	}
	for _, from := range append(l.Hosts(), l.Client) {
		for _, to := range l.Hosts() {
			reaches(t, from, to, true)
		}
	}
	if err := l.C.Cut(); err != nil {
		t.Fatal(err)
	}
	reaches(t, l.A, l.C, false)
	reaches(t, l.A, l.B, true)
	if err := l.C.Reboot(); err != nil {
		t.Fatal(err)
	}
	serve(t, l.C)
	reaches(t, l.A, l.C, true)
}

// The files that the lab writes for three hosts are valid, and mean what was asked for.
func TestWriteConfigOfThree(t *testing.T) {
	l := labtest.Lab(t, lab.Options{Third: true})
	err := l.WriteConfig(lab.Config{List: []string{"b", "c", "a"}, Witness: true, Service: `idle_timeout = "3s"`,
		More: []lab.Service{{Name: "shop", Advertised: "192.0.2.101:80", List: []string{"b", "c"}, Keys: "forward = 20081"}},
		Tail: "[limits]\nledger = 100"})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range l.Hosts() {
		c, err := config.Load(h.ConfigPath(), h.Name)
		if err != nil {
			t.Fatal(err)
		}
		var groups []string
		for _, g := range c.Groups() {
			groups = append(groups, g.Services[0].Name+" "+g.Name)
		}
		if fmt.Sprint(groups) != "[shop b,c web b,c,a]" || len(c.Nodes) != 4 || c.Self().Address != h.Addr() || c.Limits.Ledger != 100 {
			t.Errorf("%s: groups %v, nodes %v, %+v", h.Name, groups, c.Nodes, c.Limits)
		}
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s within 5 s", what)
		}
	}
}
