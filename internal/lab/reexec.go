package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
)

// envReexec marks the copy that Reexec started.
const envReexec = "FTGW_LAB_REEXEC"

// Reexec makes sure that this program may build labs. Where it may not as it is, it runs a
// copy of the program, with the same arguments and standard files, as root of a new user
// namespace, waits for it, and returns done and the exit code that the caller is to end with.
// Where that is not possible either, the error says what to change. Call it before anything
// else; it needs the program to be as it was started.
func Reexec() (code int, done bool, err error) {
	if os.Getenv(envReexec) != "" {
		if err := os.Unsetenv(envReexec); err != nil {
			return 0, false, err
		}
		return 0, false, Allowed()
	}
	if Allowed() == nil {
		return 0, false, nil
	}
	// The parent-death signal below is that of this thread, which must therefore stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envReexec+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, false, fmt.Errorf("start again in a user namespace: %w (%s)", err, remedy())
	}
	return forward(cmd, signals)
}

// forward hands signals to the copy until it ends.
func forward(cmd *exec.Cmd, signals <-chan os.Signal) (int, bool, error) {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			// An error means that it has ended just now.
			_ = cmd.Process.Signal(s)
		case err := <-ended:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return 0, false, fmt.Errorf("run in a user namespace: %w", err)
			}
			if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
				return 128 + int(status.Signal()), true, nil
			}
			return cmd.ProcessState.ExitCode(), true, nil
		}
	}
}

// Allowed reports why this process cannot make network namespaces, with the remedy, or nil.
func Allowed() error {
	n, err := NewNS("probe")
	if err == nil {
		return n.Close()
	}
	return fmt.Errorf("%w (%s)", err, remedy())
}

// remedy says what keeps this system from making namespaces.
func remedy() string {
	for _, s := range []struct{ key, bad, good string }{
		{"user/max_user_namespaces", "0", "user.max_user_namespaces=10000"},
		{"user/max_net_namespaces", "0", "user.max_net_namespaces=10000"},
		{"kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"},
		{"kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"},
	} {
		if v, err := readSysctl(s.key); err == nil && strings.TrimSpace(v) == s.bad {
			return "run as root, or allow it: sysctl -w " + s.good
		}
	}
	if os.Geteuid() == 0 {
		return "the kernel must have network namespaces (CONFIG_NET_NS) and this process CAP_SYS_ADMIN; in a container, run it privileged"
	}
	return "run as root, or where user namespaces are allowed; a container's seccomp profile may forbid them"
}
