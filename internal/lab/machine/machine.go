// Package machine makes a whole Debian machine of a lab's host: with a root file system of its own and
// systemd as its first process, in the host's network namespace. It needs root outside of any user
// namespace, since packages bring files and users of their own.
package machine

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

// bootWait bounds how long a machine takes to start its services.
const bootWait = time.Minute

var (
	//go:embed enter.sh
	enterScript string
	//go:embed boot.sh
	bootScript string
)

// forgetScript removes the control group $0 and those in it.
const forgetScript = `set -e
mount --make-rprivate /
mount -t cgroup2 cgroup2 /mnt
while grep -q "populated 1" "/mnt/$0/cgroup.events"; do sleep 0.02; done
find "/mnt/$0" -depth -type d -exec rmdir {} +`

// Machine is one machine. Its disk is a directory of the host, so that what it wrote outlives a crash.
type Machine struct {
	host  *lab.Host
	group string // its control group
	disk  string
	pid   int // of its first process, seen from outside
}

// Allowed reports why this process cannot run machines, with the remedy, or nil.
func Allowed() error {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return err
	}
	if f := strings.Fields(string(text)); os.Geteuid() != 0 || len(f) != 3 || f[2] != "4294967295" {
		return errors.New("run as root: a machine's files belong to many users")
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return fmt.Errorf("%w (as root: apt-get install mmdebstrap)", err)
	}
	return nil
}

// New gives a host a machine that is off: its disk is the image, a directory that several machines
// may have and that nothing changes, with the host name added.
func New(h *lab.Host, image, name string) (*Machine, error) {
	m := &Machine{host: h, disk: filepath.Join(h.Dir, "disk"), group: filepath.Base(filepath.Dir(h.Dir)) + "-" + h.Name}
	for _, dir := range []string{"root", "work", "changes/etc"} {
		if err := os.MkdirAll(filepath.Join(m.disk, dir), 0o755); err != nil {
			return nil, fmt.Errorf("make machine %s: %w", name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(m.disk, "changes/etc/hostname"), []byte(name+"\n"), 0o644); err != nil {
		return nil, fmt.Errorf("make machine %s: %w", name, err)
	}
	for script, text := range map[string]string{"enter.sh": enterScript, "boot.sh": bootScript} {
		if err := os.WriteFile(filepath.Join(m.disk, script), []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("make machine %s: %w", name, err)
		}
	}
	return m, m.boot(image)
}

// Boot switches the machine on again, after a crash and reboot of its host.
func (m *Machine) Boot(image string) error { return m.boot(image) }

// boot starts the machine and waits until all its services have.
func (m *Machine) boot(image string) error {
	p, err := m.host.Start("machine", "unshare", "--mount", "/bin/sh", filepath.Join(m.disk, "enter.sh"), m.group,
		filepath.Join(m.disk, "boot.sh"), image, m.disk)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), bootWait)
	defer cancel()
	for {
		if m.pid, err = firstChild(p.PID()); err == nil {
			var state string
			if state, err = m.Run(ctx, "systemctl is-system-running --wait"); strings.TrimSpace(state) == "running" {
				return nil
			}
			if strings.TrimSpace(state) == "degraded" {
				failed, _ := m.Run(ctx, "systemctl --failed --no-legend --plain; journalctl -b -p warning --no-pager | tail -n 30")
				return fmt.Errorf("boot machine: services failed:\n%s", failed)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("boot machine: %w: %v\n%s", ctx.Err(), err, p.Log())
		case <-p.Done():
			return fmt.Errorf("boot machine: it ended\n%s", p.Log())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// firstChild returns the only child of a process.
func firstChild(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// Run runs a line of shell on the machine, as its root, and returns all that it printed.
func (m *Machine) Run(ctx context.Context, line string) (string, error) {
	cmd := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(m.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"--root", "--wdns=/root", "/bin/bash", "-c", line)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w", line, err)
	}
	return out.String(), nil
}

// Path names a file of the running machine from outside.
func (m *Machine) Path(name string) string { return fmt.Sprintf("/proc/%d/root/%s", m.pid, name) }

// Forget removes the machine's control groups once its last processes are gone, after a crash.
func (m *Machine) Forget() error {
	ctx, cancel := context.WithTimeout(context.Background(), bootWait)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "unshare", "--mount", "/bin/sh", "-c", forgetScript, m.group).CombinedOutput(); err != nil {
		return fmt.Errorf("remove control group %s: %w: %s", m.group, err, out)
	}
	return nil
}
