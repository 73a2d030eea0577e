package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/labtest"
	"github.com/ftgw/ftgw/nfq"
	"github.com/vishvananda/netlink"
)

// promptly is how long a run that cannot work may take to say so.
const promptly = 5 * time.Second

// refusal is a run that must end by itself.
type refusal struct {
	name   string
	change func(t *testing.T, x *cluster, text string) string // of host a and its config file; nil: none
	code   int
	says   []string // all in what it prints
	// before says what may have been changed on the host: false, not even a rule.
	rules bool
}

// replaced returns a change of the config file alone.
func replaced(old, new string) func(*testing.T, *cluster, string) string {
	return func(t *testing.T, _ *cluster, text string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("the config file has no %q", old)
		}
		return strings.Replace(text, old, new, 1)
	}
}

// line sets a top-level key.
func line(format string, args ...any) func(*testing.T, *cluster, string) string {
	return func(_ *testing.T, _ *cluster, text string) string {
		added := fmt.Sprintf(format, args...)
		key, _, _ := strings.Cut(added, " ")
		var b strings.Builder
		for l := range strings.Lines(text) {
			if !strings.HasPrefix(l, key+" ") {
				b.WriteString(l)
			}
		}
		return added + "\n" + b.String()
	}
}

// secret gives host a a secret file of its own.
func secret(content string, mode os.FileMode) func(*testing.T, *cluster, string) string {
	return func(t *testing.T, x *cluster, text string) string {
		path := filepath.Join(x.A.Dir, "its-secret")
		os.Remove(path)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
		return line("secret_file = %q", path)(t, x, text)
	}
}

// taken lets another program have a port of host a.
func taken(network, address string) func(*testing.T, *cluster, string) string {
	return func(t *testing.T, x *cluster, text string) string {
		x.must(x.A.Do(func() error {
			lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
				c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1) })
				return err
			}}
			if strings.HasPrefix(network, "udp") {
				p, err := lc.ListenPacket(context.Background(), network, address)
				if err == nil {
					t.Cleanup(func() { p.Close() })
				}
				return err
			}
			l, err := lc.Listen(context.Background(), network, address)
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		}))
		return text
	}
}

func epoch(content string) func(*testing.T, *cluster, string) string {
	return func(t *testing.T, x *cluster, text string) string {
		path := filepath.Join(x.A.StateDir(), "epochs")
		x.must(os.WriteFile(path, []byte(content), 0o600))
		t.Cleanup(func() { os.Remove(path) })
		return text
	}
}

func refusals() []refusal {
	long := strings.Repeat("s", 40)
	return []refusal{
		{name: "taken service port", change: taken("tcp4", "192.0.2.100:80"), code: 1, says: []string{"192.0.2.100:80", "address already in use", "stop the program"}},
		{name: "service port taken on all addresses", change: taken("tcp4", "0.0.0.0:80"), code: 1, says: []string{"192.0.2.100:80", "address already in use", "stop the program"}},
		{name: "service port taken on all addresses of both families", change: taken("tcp", "[::]:80"), code: 1, says: []string{"192.0.2.100:80", "address already in use"}},
		{name: "taken session port", change: taken("tcp4", "0.0.0.0:7950"), code: 1, says: []string{"session port 192.0.2.11:7950", "address already in use", "session_port"}},
		{name: "taken gossip port", change: taken("tcp4", "192.0.2.11:7946"), code: 1, says: []string{"gossip port 192.0.2.11:7946", "gossip_port"}},
		{name: "taken gossip port, UDP", change: taken("udp4", "0.0.0.0:7946"), code: 1, says: []string{"gossip port 192.0.2.11:7946", "gossip_port"}},
		{name: "taken metrics port", change: taken("tcp4", "127.0.0.1:9901"), code: 1, says: []string{"web page and metrics 127.0.0.1:9901", "set metrics"}},
		{name: "taken forwarding port", change: taken("tcp4", "0.0.0.0:20080"), code: 1, says: []string{"forwarding port 192.0.2.11:20080", "set forward"}},
		{name: "taken queue", code: 1, rules: true, says: []string{"queue 26200", "another"},
			change: func(t *testing.T, x *cluster, text string) string {
				x.must(x.A.Do(func() error {
					q, err := nfq.Open(nfq.Config{Number: 26200})
					if err == nil {
						t.Cleanup(func() { q.Close() })
					}
					return err
				}))
				return text
			}},
		{name: "no gateway and no probe", code: 1, says: []string{"no default route through eth0", "probe"},
			change: func(t *testing.T, x *cluster, text string) string {
				x.must(x.A.Do(func() error {
					_, all, _ := net.ParseCIDR("0.0.0.0/0")
					route := &netlink.Route{Dst: all, Gw: net.ParseIP(lab.GatewayIP)}
					t.Cleanup(func() { x.must(x.A.Do(func() error { return netlink.RouteAdd(route) })) })
					return netlink.RouteDel(route)
				}))
				return text
			}},
		{name: "no such interface", change: line("interface = %q", "eth9"), code: 1, says: []string{`interface "eth9"`, "no such", "ip link"}},
		{name: "interface that is no Ethernet", change: line("interface = %q", "lo"), code: 1, says: []string{`interface "lo"`, "no Ethernet"}},
		{name: "address not on this host", change: replaced(`address = "192.0.2.11"`, `address = "192.0.2.77"`), code: 1, says: []string{"192.0.2.77", "no interface of this host"}},
		{name: "advertised address on another interface", code: 1, says: []string{"192.0.2.100", "eth0", "ip addr del"},
			change: func(t *testing.T, x *cluster, text string) string {
				change := func(f func(netlink.Link, *netlink.Addr) error) error {
					return x.A.Do(func() error {
						eth, err := netlink.LinkByName("eth0")
						if err != nil {
							return err
						}
						a, err := netlink.ParseAddr("192.0.2.100/24")
						if err != nil {
							return err
						}
						return f(eth, a)
					})
				}
				x.must(change(netlink.AddrAdd))
				t.Cleanup(func() { x.must(change(netlink.AddrDel)) })
				return text
			}},
		{name: "short secret", change: secret("too short", 0o600), code: 78, says: []string{"its-secret", "9 bytes", "ftgw secret"}},
		{name: "secret for everybody", change: secret(long, 0o644), code: 78, says: []string{"its-secret", "0644", "chmod 600"}},
		{name: "secret with broken digits", change: secret("ftgw-secret-1 xyz\n", 0o600), code: 78, says: []string{"its-secret", "ftgw secret"}},
		{name: "no secret", change: line("secret_file = %q", "/nowhere/secret"), code: 78, says: []string{"/nowhere/secret", "ftgw secret /nowhere/secret"}},
		{name: "state_dir is a file", change: line("state_dir = %q", "/dev/null"), code: 1, says: []string{"state_dir", "/dev/null"}},
		{name: "state_dir that takes no file", change: line("state_dir = %q", "/proc/self"), code: 1, says: []string{"state_dir", "/proc/self"}},
		{name: "socket in no directory", change: line("socket = %q", "/dev/null/ftgw.sock"), code: 1, says: []string{"/dev/null", "set socket"}},
		{name: "epoch file of noise", change: epoch("\x00\x01garbage"), code: 1, says: []string{"state/epochs", "restore the file"}},
		{name: "empty epoch file", change: epoch(""), code: 1, says: []string{"state/epochs", "restore the file"}},
		{name: "epoch file cut short", change: epoch("ftgw-epochs-1\n\"a,b\" 4"), code: 1, says: []string{"state/epochs"}},
		{name: "epoch file with more", change: epoch("ftgw-epochs-1\n\"a,b\" 4\n\"a,b\" 6\n"), code: 1, says: []string{"state/epochs"}},
		{name: "epoch that leaves no next one", change: epoch("ftgw-epochs-1\n\"a,b\" 18446744073709551615\n"), code: 1, says: []string{"state/epochs"}},
		{name: "no config file", code: 78, says: []string{"ftgw.toml", "--config"},
			change: func(_ *testing.T, x *cluster, _ string) string { return "" }},
		{name: "several mistakes", code: 78, says: []string{"advertized", "line 1", "heartbeat", "192.0.2.11x", "upstream", "session_port"},
			change: func(t *testing.T, x *cluster, text string) string {
				text = "advertized = 1\n" + text + "\n[timing]\nheartbeat = \"1 fortnight\"\n"
				text = strings.Replace(text, `"192.0.2.11"`, `"192.0.2.11x"`, 1)
				text = strings.Replace(text, `upstream = "127.0.0.1:8080"`, `upstream = ""`, 1)
				return line("session_port = 70000")(t, x, text)
			}},
		{name: "no TOML", change: func(*testing.T, *cluster, string) string { return "secret_file = [[[\n" }, code: 78, says: []string{"ftgw.toml", "line 1"}},
	}
}

// A run that cannot work says why and what to do, at once, and leaves the host as it was.
func TestRunRefuses(t *testing.T) {
	labtest.Require(t)
	x := &cluster{T: t, Lab: labtest.Lab(t, lab.Options{})}
	x.must(x.WriteConfig(lab.Config{}))
	text, err := os.ReadFile(x.A.ConfigPath())
	x.must(err)
	for _, r := range refusals() {
		t.Run(r.name, func(t *testing.T) {
			x := &cluster{T: t, Lab: x.Lab}
			changed := string(text)
			if r.change != nil {
				changed = r.change(t, x, changed)
			}
			x.must(os.WriteFile(x.A.ConfigPath(), []byte(changed), 0o600))
			if changed == "" {
				x.must(os.Remove(x.A.ConfigPath()))
			}
			before := traces(x)
			p, err := x.A.StartNode(program)
			x.must(err)
			ended(t, p, r.code, r.says...)
			if after := traces(x); after != before && !r.rules {
				t.Errorf("it left something behind:\nbefore %s\nafter %s", before, after)
			}
		})
	}
}

// ended waits for a process that ends by itself.
func ended(t *testing.T, p *lab.Process, code int, says ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), promptly)
	defer cancel()
	err := p.Wait(ctx)
	if ctx.Err() != nil {
		p.Kill()
		t.Fatalf("still runs after %v:\n%s", promptly, p.Log())
	}
	checkEnd(t, err, code, p.Log(), says...)
}

func checkEnd(t *testing.T, err error, code int, log string, says ...string) {
	t.Helper()
	var exit *exec.ExitError
	if got := 0; errors.As(err, &exit) && exit.ExitCode() != code || err == nil && got != code {
		t.Errorf("ended with %v, want code %d", err, code)
	}
	for _, s := range says {
		if !strings.Contains(log, s) {
			t.Errorf("does not say %q", s)
		}
	}
	if strings.Contains(log, "goroutine ") {
		t.Error("a crash")
	}
	t.Logf("%v:\n%s", err, strings.TrimSpace(log))
}

// traces lists what a run could leave behind on host a.
func traces(x *cluster) string {
	var b strings.Builder
	x.must(x.A.Do(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s %v; ", l.Attrs().Name, addrs)
		}
		rules, err := netlink.RuleList(netlink.FAMILY_V4)
		fmt.Fprintf(&b, "%d routing rules", len(rules))
		return err
	}))
	return b.String()
}

// Without capabilities, as any user is, run says which are missing, and check what it could not
// look at.
func TestWithoutPrivileges(t *testing.T) {
	l := labtest.Lab(t, lab.Options{})
	if err := l.WriteConfig(lab.Config{}); err != nil {
		t.Fatal(err)
	}
	text, err := deprived(t, l.A, "run")
	checkEnd(t, err, 77, text, "NET_ADMIN", "NET_RAW", "run as root")
	text, err = deprived(t, l.A, "check")
	checkEnd(t, err, 0, text, "this process lacks NET_ADMIN, NET_RAW, NET_BIND_SERVICE", "skipped  kernel", "skipped  address", "skipped  port", "skipped  firewall", "sudo ftgw check")
	text, err = deprived(t, l.A, "rules")
	checkEnd(t, err, 0, text, "table inet ftgw")
	text, err = deprived(t, l.A, "rules", "--install")
	checkEnd(t, err, 77, text, "NET_ADMIN")
}

// deprived runs a command on a host without any capability.
func deprived(t *testing.T, h *lab.Host, args ...string) (string, error) {
	t.Helper()
	type outcome struct {
		text []byte
		err  error
	}
	done := make(chan outcome)
	go func() { // ends with its thread, which has lost its privileges for good
		runtime.LockOSThread()
		var o outcome
		if o.err = unix.Setns(h.NS().Fd(), unix.CLONE_NEWNET); o.err == nil {
			for c := range uintptr(unix.CAP_LAST_CAP + 1) {
				unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) // an older kernel knows fewer
			}
			o.text, o.err = exec.Command(program, append(args, "--config", h.ConfigPath(), "--name", h.Name)...).CombinedOutput()
		}
		done <- o
	}()
	select {
	case o := <-done:
		return string(o.text), o.err
	case <-time.After(promptly):
		t.Fatalf("no end of %q", args)
		return "", nil
	}
}

// A second ftgw on a host ends at once; the first does not notice.
func TestSecondRun(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{})
	for _, h := range []*lab.Host{x.A, x.B} {
		p, err := h.StartNode(program)
		x.must(err)
		ended(t, p, 1, "already running", "ftgw status")
		x.unharmed(t, "beside a second run on "+h.Name)
	}
	// With a socket of its own it is found out all the same.
	text, err := os.ReadFile(x.A.ConfigPath())
	x.must(err)
	x.must(os.WriteFile(x.A.ConfigPath(), []byte(line("socket = %q", filepath.Join(x.A.Dir, "second.sock"))(t, x, string(text))), 0o600))
	p, err := x.A.StartNode(program)
	x.must(err)
	ended(t, p, 1, "already in use")
	x.unharmed(t, "beside a second run with another socket")
	x.duplex()
}

// SIGTERM ends a node with code 0 within two seconds; its peer claims at once, and a client
// whose replies are under way sees a pause.
func TestTermination(t *testing.T) {
	for _, name := range []string{"primary", "backup"} {
		t.Run(name, func(t *testing.T) {
			x := start(t, lab.Options{}, lab.Config{})
			victim, survivor := x.A, x.B
			if name == "backup" {
				victim, survivor = x.B, x.A
			}
			w := x.watch()
			done := make(chan struct{})
			go func() {
				defer close(done)
				x.client.Series(context.Background(), 150, 5*time.Millisecond, func(i int) client.Request {
					return client.Bytes(fmt.Sprintf("series%d", i), 20_000)
				}, &x.report)
			}()
			slow := make(chan struct{})
			go func() {
				defer close(slow)
				r := client.Bytes("long", 4<<20)
				r.Rate = 4 << 20
				x.report.Add(x.client.Once(context.Background(), r))
			}()
			time.Sleep(300 * time.Millisecond)
			begin := time.Now()
			x.must(x.nodes[victim].Signal(unix.SIGTERM))
			x.until("the peer serves alone", 10*time.Second, func() bool { return x.service(survivor).Role == "sole" })
			t.Logf("claimed after %v", x.service(survivor).LastTakeover.At.Sub(begin))
			ctx, cancel := context.WithTimeout(context.Background(), promptly)
			defer cancel()
			if err := x.nodes[victim].Wait(ctx); err != nil {
				t.Errorf("end after SIGTERM: %v\n%s", err, x.nodes[victim].Log())
			}
			t.Logf("ended after %v", time.Since(begin))
			<-done
			<-slow
			x.whole()
			if p := x.report.Summary().LongestPause; p > 2*time.Second {
				t.Errorf("the client waited %v", p)
			}
			w.check(1, x.service(survivor).LastTakeover.At)
		})
	}
}
