package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
)

// logTail is how many bytes of a log Process.Log returns at most.
const logTail = 64 << 10

// Process is one process on a host. Its methods are safe for concurrent use.
type Process struct {
	Name string
	host *Host
	cmd  *exec.Cmd
	path string        // of its log
	done chan struct{} // closed when it has ended; err is set before
	err  error
}

// Start starts argv[0] in the host's namespace, in its own process group and with the host's
// directory as working directory. What it prints goes to a log file of its own. It ends with
// the lab at the latest.
func (h *Host) Start(name string, argv ...string) (*Process, error) {
	return h.StartEnv(name, nil, argv...)
}

// StartEnv is Start with more variables in the environment, as "KEY=value".
func (h *Host) StartEnv(name string, env []string, argv ...string) (*Process, error) {
	p, err := h.start(name, env, argv)
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, h.Name, err)
	}
	return p, nil
}

func (h *Host) start(name string, env, argv []string) (*Process, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.crashed {
		return nil, errors.New("the host has crashed (reboot it first)")
	}
	path := filepath.Join(h.Dir, fmt.Sprintf("%s.%d.log", name, len(h.processes)))
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = h.Dir, log, log
	cmd.Env = slices.Concat(os.Environ(), h.lab.options.Env, env)
	if err := h.lab.spawn.start(h.ns, cmd, h.cpus); err != nil {
		return nil, err
	}
	p := &Process{Name: name, host: h, cmd: cmd, path: path, done: make(chan struct{})}
	h.processes = append(h.processes, p)
	go func() { // ends with the process, which killAll waits for
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID returns the process's number; its process group has the same.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends s. A process that has ended already is no error.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to %s on %s: %w", s, p.Name, p.host.Name, err)
	}
	return nil
}

// Kill, Stop and Cont send SIGKILL, SIGSTOP and SIGCONT.
func (p *Process) Kill() error { return p.Signal(syscall.SIGKILL) }
func (p *Process) Stop() error { return p.Signal(syscall.SIGSTOP) } // see Kill
func (p *Process) Cont() error { return p.Signal(syscall.SIGCONT) } // see Kill

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exited reports whether the process has ended.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Wait waits for the end and returns how the process ended, nil for exit status 0.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("wait for %s on %s: %w", p.Name, p.host.Name, ctx.Err())
	}
}

// LogPath is the file with everything the process printed.
func (p *Process) LogPath() string { return p.path }

// Log returns the end of what the process printed.
func (p *Process) Log() string {
	log, err := os.Open(p.path)
	if err != nil {
		return err.Error()
	}
	defer log.Close()
	size, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err.Error()
	}
	b := make([]byte, min(size, logTail))
	n, err := log.ReadAt(b, size-int64(len(b)))
	if err != nil && !errors.Is(err, io.EOF) {
		return err.Error()
	}
	return string(b[:n])
}

func (p *Process) state() string {
	if !p.Exited() {
		return "running"
	}
	if p.err != nil {
		return p.err.Error()
	}
	return "exit status 0"
}
