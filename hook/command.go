package hook

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	maxOutput = 500         // bytes of what a command printed that its error has
	waitDelay = time.Second // for what a command has left behind and still holds its output
)

// Command is a shell command.
type Command struct {
	Name  string        // for errors, such as "fence command of web-b"
	Text  string        // given to /bin/sh
	Env   []string      // "KEY=value", besides this process's own
	Limit time.Duration // then it is killed with all that it has started
	Key   string        // the key of the config that sets Limit, for errors
	// Remedy follows what an error says anyway: to try the command by hand.
	Remedy string
}

// Run runs the command and waits for its end. What it still has running then is no longer waited for
// after a second, and is an error if it holds the output. The end of ctx kills it like Limit. The error has the
// beginning of what the command printed.
func (c Command) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", c.Text)
	cmd.Env = append(cmd.Environ(), c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = waitDelay
	var out head
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("did not end within %s, %v", c.Key, c.Limit)
	}
	return fmt.Errorf("%s: %w: %q (try it by hand: %s%s)", c.Name, err, strings.TrimSpace(string(out)), c.Text, c.Remedy)
}

// head keeps the beginning of what is written.
type head []byte

func (h *head) Write(p []byte) (int, error) {
	*h = append(*h, p[:min(len(p), maxOutput-len(*h))]...)
	return len(p), nil
}
