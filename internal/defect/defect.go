// Package defect ends the process where a goroutine panics: at once, since what it held is held
// for ever and other hosts are waiting to take over, with one line for the operator. The stacks are
// for the authors and go to a file.
package defect

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// ExitCode is that of a process that Guard ended: EX_SOFTWARE of sysexits.h. Where the Go runtime
// itself ends one it is 2.
const ExitCode = 70

// runtimeOutput is the descriptor that the Go runtime prints stacks to.
const runtimeOutput = 2

// Guard is deferred, as it is, by a goroutine that lives in a daemon. After a panic it says one line
// on os.Stderr, writes the stack where the runtime would, and ends the process.
func Guard() {
	v := recover()
	if v == nil {
		return
	}
	stack := debug.Stack()
	fmt.Fprintln(os.Stderr, "ftgw: "+Line(v))
	_, _ = fmt.Fprintf(os.NewFile(runtimeOutput, "crash"), "panic: %v\n\n%s", v, stack) // nobody left to tell
	os.Exit(ExitCode)
}

// Line says in one line what was wrong and where. It is called by the deferred function that
// recovered v.
func Line(v any) string {
	text, _, _ := strings.Cut(fmt.Sprint(v), "\n")
	return fmt.Sprintf("a defect of ftgw: %s%s (please report this line)", text, place())
}

// place names the code that panicked: what follows the runtime's own frames.
func place() string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for panicked := false; ; {
		f, more := frames.Next()
		ofRuntime := strings.HasPrefix(f.Function, "runtime.")
		if panicked && !ofRuntime && f.Function != "" {
			return fmt.Sprintf(" in %s, %s:%d", filepath.Base(f.Function), filepath.Base(f.File), f.Line)
		}
		panicked = panicked || f.Function == "runtime.gopanic"
		if !more {
			return ""
		}
	}
}

// MoveStderr gives os.Stderr a descriptor of its own, so that RuntimeTo can take the runtime's. It is
// called once, before anything else is done with os.Stderr.
func MoveStderr() error {
	fd, err := unix.FcntlInt(os.Stderr.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("duplicate standard error: %w", err)
	}
	os.Stderr = os.NewFile(uintptr(fd), "/dev/stderr")
	return nil
}

// RuntimeTo sends to the file at path what the Go runtime prints, when a goroutine without Guard
// panics or a signal asks for stacks. A report that an earlier process left there moves to
// path.old, which previous names with its first line; empty: there is none. Before MoveStderr
// nothing changes.
func RuntimeTo(path string) (previous string, err error) {
	if os.Stderr.Fd() == runtimeOutput {
		return "", nil
	}
	if previous, err = setAside(path); err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return previous, fmt.Errorf("open crash file: %w", err)
	}
	defer f.Close()
	if err := unix.Dup3(int(f.Fd()), runtimeOutput, 0); err != nil {
		return previous, fmt.Errorf("send stacks to %s: %w", path, err)
	}
	return previous, nil
}

func setAside(path string) (previous string, err error) {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) || err == nil && len(text) == 0 {
		return "", nil
	}
	if err == nil {
		err = os.Rename(path, path+".old")
	}
	if err != nil {
		return "", fmt.Errorf("set the crash file of an earlier run aside: %w", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return fmt.Sprintf("%s.old: %s", path, first), nil
}
