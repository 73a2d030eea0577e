package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
	"github.com/ftgw/ftgw/internal/lab/machine"
)

// The versions that are built for the test: what is installed first, and what it is upgraded to.
const (
	firstVersion = "1.0.0"
	nextVersion  = "1.0.1"
)

// installed is a pair of Debian machines with the package, as the hosts a and b of a lab.
type installed struct {
	*cluster
	image, dist string
	a, b        *machine.Machine
}

// TestPackage takes two fresh Debian machines with systemd through the life of the package. Its
// stages build on one another.
func TestPackage(t *testing.T) {
	if err := machine.Allowed(); err != nil {
		labtest.Missing(t, err.Error())
	}
	x := &installed{image: filepath.Join(t.TempDir(), "image"), dist: t.TempDir()}
	x.build(t)
	x.cluster = prepare(t, lab.Options{}, lab.Config{})
	x.boot()
	for _, stage := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a stranger follows the README", x.stranger},
		{"a host dies and comes back", x.crash},
		{"the unit", x.unit},
		{"the daemon has no rights to spare", x.rights},
		{"who may ask", x.operators},
		{"a daemon hangs", x.watchdog},
		{"an upgrade under load", x.upgrade},
		{"an upgrade of a node that serves alone", x.upgradeAlone},
		{"purge", x.purge},
	} {
		if !t.Run(stage.name, func(t *testing.T) { x.T = t; stage.run(t) }) {
			t.FailNow()
		}
	}
}

// build makes the image and the packages at the same time.
func (x *installed) build(t *testing.T) {
	var all sync.WaitGroup
	defer func() {
		all.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}()
	all.Go(func() {
		if err := machine.BuildImage(x.image, "192.0.2.11 web-a\n192.0.2.12 web-b\n", "openssh-server"); err != nil {
			t.Error(err)
		}
	})
	for _, p := range []struct{ dir, version string }{{"", firstVersion}, {"again", firstVersion}, {"", nextVersion}} {
		cmd := exec.CommandContext(t.Context(), "../scripts/package", p.version)
		cmd.Env = append(os.Environ(), "DIST="+filepath.Join(x.dist, p.dir))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("scripts/package: %v\n%s", err, out)
			return
		}
	}
	first, err := filepath.Glob(filepath.Join(x.dist, "again", "*"))
	if err != nil || len(first) != 2 {
		t.Errorf("packages: %v, %v", first, err)
	}
	for _, path := range first {
		again, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		if once, err := os.ReadFile(filepath.Join(x.dist, filepath.Base(path))); err != nil || !bytes.Equal(once, again) {
			t.Errorf("%s: the same commit gives other bytes (%v)", filepath.Base(path), err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "rpm", "-qp", "--list", "--scripts", filepath.Join(x.dist, "ftgw-"+firstVersion+"-1.x86_64.rpm")).CombinedOutput()
	for _, s := range []string{"/usr/bin/ftgw\n", "/usr/lib/systemd/system/ftgw.service\n", "/usr/share/zsh/site-functions/_ftgw\n", "systemd-sysusers"} {
		if err != nil || !strings.Contains(string(out), s) {
			t.Errorf("the rpm has no %q: %v\n%s", s, err, out)
		}
	}
}

func (x *installed) boot() {
	x.Helper()
	var err error
	x.a, err = machine.New(x.A, x.image, "web-a")
	x.must(err)
	x.b, err = machine.New(x.B, x.image, "web-b")
	x.must(err)
	whole := x.T           // outlives the stages
	whole.Cleanup(func() { // before the lab is closed
		for host, m := range map[*lab.Host]*machine.Machine{x.A: x.a, x.B: x.b} {
			if whole.Failed() {
				out, _ := x.try(m, "systemctl status ftgw --no-pager; journalctl -u ftgw --no-pager | tail -n 60")
				whole.Logf("%s:\n%s", host.Name, out)
			}
			if err := host.Crash(); err != nil {
				whole.Error(err)
			}
			if err := m.Forget(); err != nil {
				whole.Error(err)
			}
		}
	})
}

// try runs a command on a machine.
func (x *installed) try(m *machine.Machine, line string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return m.Run(ctx, line)
}

// run runs a command that must succeed.
func (x *installed) run(m *machine.Machine, line string) string {
	x.Helper()
	out, err := x.try(m, line)
	if err != nil {
		x.Fatalf("%v:\n%s", err, out)
	}
	return out
}

// deb puts a package into a machine's /root.
func (x *installed) deb(m *machine.Machine, version string) (name string) {
	x.Helper()
	found, err := filepath.Glob(filepath.Join(x.dist, "ftgw_"+version+"_*.deb"))
	if err != nil || len(found) != 1 {
		x.Fatalf("package of %s: %v, %v", version, found, err)
	}
	text, err := os.ReadFile(found[0])
	x.must(err)
	name = filepath.Base(found[0])
	x.must(os.WriteFile(m.Path("root/"+name), text, 0o644))
	return name
}

// service asks the node on a machine; zero while it does not answer.
func (x *installed) service(m *machine.Machine) (st lab.ServiceStatus, version string) {
	out, err := x.try(m, "ftgw status --json")
	var s lab.Status
	if err != nil || json.Unmarshal([]byte(out), &s) != nil || len(s.Services) == 0 {
		return st, ""
	}
	return s.Services[0], s.Version
}

// duplex waits until both nodes say so, of that version.
func (x *installed) duplex(version string) {
	x.Helper()
	x.until("both nodes in duplex, version "+version, 30*time.Second, func() bool {
		a, va := x.service(x.a)
		b, vb := x.service(x.b)
		return a.InSync && b.InSync && a.Mode == "duplex" && b.Mode == "duplex" && a.Owner == b.Owner &&
			strings.HasPrefix(va, version+" ") && strings.HasPrefix(vb, version+" ")
	})
}

// stranger does what the README's section Install says, and nothing else.
func (x *installed) stranger(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	x.must(err)
	block := func(language string) string {
		m := regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllSubmatch(readme, -1)
		if len(m) != 1 {
			t.Fatalf("the README has %d blocks of %s", len(m), language)
		}
		return string(m[0][1])
	}
	// The stranger's editor types the sample.
	editor := "#!/bin/sh\ncat >\"$1\" <<'END'\n" + block("toml") + "END\n"
	for _, m := range []*machine.Machine{x.a, x.b} {
		x.deb(m, firstVersion)
	}
	x.must(os.WriteFile(x.a.Path("usr/local/bin/editor"), []byte(editor), 0o755))
	commands := strings.Split(strings.TrimSpace(block("console")), "\n")
	if len(commands) >= 10 {
		t.Errorf("%d commands, fewer than ten are promised", len(commands))
	}
	for _, command := range commands {
		at, line, found := strings.Cut(command, "# ")
		m := map[string]*machine.Machine{"web-a": x.a, "web-b": x.b}[at]
		if !found || m == nil {
			t.Fatalf("%q is on neither host", command)
		}
		t.Logf("%s\n%s", command, x.run(m, line))
	}
	x.duplex(firstVersion)
}

// crash kills the primary in the middle of everything, then lets it boot: what is enabled starts by
// itself.
func (x *installed) crash(t *testing.T) {
	wait := x.busy()
	time.Sleep(500 * time.Millisecond) // replies of all sizes are on their way
	x.must(x.A.Crash())
	x.until("web-b serves alone", 10*time.Second, func() bool { st, _ := x.service(x.b); return st.Role == "sole" })
	wait()
	x.whole()
	x.executions()
	x.must(x.a.Forget())
	x.must(x.A.Reboot())
	x.app(x.A)
	x.must(x.a.Boot(x.image))
	x.duplex(firstVersion)
}

func (x *installed) unit(t *testing.T) {
	if out, err := x.try(x.a, "systemd-analyze verify --man=no ftgw.service"); err != nil || out != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := x.try(x.a, "systemd-analyze security --no-pager --offline=true --threshold=20 ftgw.service")
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	t.Log(regexp.MustCompile(`(?m)^.*Overall exposure.*$`).FindString(out))
	x.run(x.a, "systemctl reload ftgw")
	x.until("systemd knows what the node is", 10*time.Second, func() bool {
		return strings.Contains(x.run(x.a, "systemctl show --property=StatusText ftgw"), "=shop: backup, with web-b")
	})
}

// rights looks at the running daemon from inside of its machine.
func (x *installed) rights(t *testing.T) {
	out := x.run(x.a, `pid=$(systemctl show --property=MainPID --value ftgw) && stat -c %U:%G /proc/$pid && cat /proc/$pid/status`)
	for _, want := range []string{"ftgw:ftgw", "CapEff:\t0000000000003400", "CapBnd:\t0000000000003400", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("the daemon's status lacks %q:\n%s", want, out)
		}
	}
	if log := x.run(x.a, "journalctl -u ftgw --no-pager"); strings.Contains(log, "denied") || strings.Contains(log, "not permitted") {
		t.Errorf("something is not allowed:\n%s", log)
	}
	out = x.run(x.a, "stat -c '%a %U:%G %n' /etc/ftgw /etc/ftgw/secret /var/lib/ftgw /run/ftgw /run/ftgw/ftgw.sock; ls -A /var/lib/ftgw; cat /proc/sys/net/ipv4/conf/eth0/arp_ignore")
	if want := "750 root:ftgw /etc/ftgw\n600 root:root /etc/ftgw/secret\n750 ftgw:ftgw /var/lib/ftgw\n750 ftgw:ftgw /run/ftgw\n660 ftgw:ftgw /run/ftgw/ftgw.sock\ncrash\nepochs\nepochs.spare\n1\n"; out != want {
		t.Errorf("files:\n%s", out)
	}
}

// operators: root and the group get answers, nobody else.
func (x *installed) operators(t *testing.T) {
	x.run(x.a, "useradd alice && useradd --groups ftgw olga")
	for _, tt := range []struct{ command, want string }{
		{"runuser -u olga -- ftgw status", "exit 0"},
		{"runuser -u olga -- cat /etc/ftgw/secret", "exit 1"},
		{"runuser -u alice -- ftgw status --socket /run/ftgw/ftgw.sock", "exit 77"},
		{"runuser -u alice -- ftgw drain --socket /run/ftgw/ftgw.sock", "exit 77"},
		{"runuser -u alice -- ftgw status", "exit 78"},
	} {
		if out := x.run(x.a, tt.command+"; echo exit $?"); !strings.HasSuffix(out, tt.want+"\n") || strings.Contains(out, "goroutine") {
			t.Errorf("%s: want %s:\n%s", tt.command, tt.want, out)
		}
	}
}

// watchdog stops the daemon of one host: the peer runs the fence command, with the daemon's rights,
// and takes over; systemd replaces the daemon.
func (x *installed) watchdog(t *testing.T) {
	const fence = `fence = 'echo "$FTGW_NODE by $(id -un)" >/var/lib/ftgw/fenced'`
	for _, m := range []*machine.Machine{x.b, x.a} {
		x.run(m, `sed -i '/^name = "web-.*"$/r /dev/stdin' /etc/ftgw/ftgw.toml <<'END'`+"\n"+fence+"\nEND\nsystemctl restart ftgw")
	}
	x.duplex(firstVersion)
	x.run(x.a, "systemctl kill --signal=STOP ftgw")
	x.until("the watchdog has the daemon replaced", 30*time.Second, func() bool {
		out, _ := x.try(x.a, "systemctl show --property=NRestarts --value ftgw")
		return strings.TrimSpace(out) == "1"
	})
	x.duplex(firstVersion)
	if out := x.run(x.b, "cat /var/lib/ftgw/fenced"); out != "web-a by ftgw\n" {
		t.Errorf("the fence command says %q", out)
	}
	out := x.run(x.a, "journalctl -u ftgw --no-pager; journalctl -u ftgw -b --no-pager | grep -c 'goroutine [0-9]' || :; ls /var/lib/ftgw")
	if strings.Contains(out, "goroutine ") || !strings.Contains(out, "crash.old") {
		t.Errorf("stacks are in the log, or not in a file:\n%s", out)
	}
}

// upgrade replaces the package on one machine after the other, with clients in all phases.
func (x *installed) upgrade(t *testing.T) {
	const mine = "# mine"
	x.run(x.b, fmt.Sprintf("echo %q >>/etc/default/ftgw", mine))
	wait := x.busy()
	for _, m := range []*machine.Machine{x.b, x.a} {
		out := x.run(m, "dpkg -i "+x.deb(m, nextVersion))
		x.until("the new version is in duplex", 30*time.Second, func() bool {
			st, version := x.service(m)
			return st.InSync && strings.HasPrefix(version, nextVersion+" ")
		})
		if strings.Contains(out, "stays as it is") {
			t.Errorf("not restarted:\n%s", out)
		}
	}
	wait()
	x.whole()
	x.onceEach()
	x.duplex(nextVersion)
	if out := x.run(x.b, "cat /etc/default/ftgw"); !strings.Contains(out, mine) {
		t.Error("the upgrade overwrote a changed config file")
	}
}

// upgradeAlone: whose peer is away is not restarted, and its clients see nothing.
func (x *installed) upgradeAlone(t *testing.T) {
	x.run(x.a, "systemctl stop ftgw")
	x.until("web-b serves alone", 10*time.Second, func() bool { st, _ := x.service(x.b); return st.Role == "sole" })
	wait := x.busy()
	out := x.run(x.b, "dpkg -i "+x.deb(x.b, firstVersion)+" && ftgw version")
	if !strings.Contains(out, "stays as it is") || !strings.Contains(out, "ftgw "+firstVersion) {
		t.Errorf("no word about it:\n%s", out)
	}
	if st, version := x.service(x.b); st.Role != "sole" || !strings.HasPrefix(version, nextVersion) {
		t.Errorf("web-b is %s of version %s", st.Role, version)
	}
	wait()
	x.whole()
	x.onceEach()
	x.run(x.a, "systemctl start ftgw")
	x.run(x.b, "dpkg -i ftgw_"+nextVersion+"_*.deb")
	x.duplex(nextVersion)
}

// onceEach fails the test if a request of the latest load was executed more than once.
func (x *installed) onceEach() {
	x.Helper()
	runs := map[string]int{}
	for _, h := range x.serving() {
		for _, e := range x.journal(h) {
			if runs[e.ID]++; runs[e.ID] == 2 && strings.HasPrefix(e.ID, fmt.Sprint(x.loads, "-")) {
				x.Errorf("%s was executed twice", e.ID)
			}
		}
	}
}

// purge: the peer goes on, and nothing is left but what the package says.
func (x *installed) purge(t *testing.T) {
	wait := x.busy()
	out := x.run(x.a, "apt-get purge -y ftgw")
	if !strings.Contains(out, "removed /etc/ftgw") || !strings.Contains(out, "user ftgw stays") {
		t.Errorf("it does not say what is gone and what stays:\n%s", out)
	}
	wait()
	x.whole()
	if st, _ := x.service(x.b); st.Role != "sole" {
		t.Errorf("web-b is %s", st.Role)
	}
	out = x.run(x.a, "rm ftgw_*.deb; find / -xdev -name '*ftgw*' -print; ls -d /run/ftgw /etc/ftgw /var/lib/ftgw 2>/dev/null; systemctl list-unit-files 'ftgw*' --no-legend; grep -c ^ftgw: /etc/passwd")
	if out != "1\n" {
		t.Errorf("left behind:\n%s", out)
	}
	if left := traces(x.cluster); strings.Contains(left, lab.AdvertisedIP) || strings.Contains(left, "ftgw") || !strings.HasSuffix(left, " 3 routing rules") {
		t.Errorf("left in the kernel:\n%s", left)
	}
}
