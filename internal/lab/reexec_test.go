package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// envRole makes this test binary play the program that Reexec is for.
const envRole = "LAB_TEST_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(envRole)
	if role == "" {
		labtest.Main(m)
	}
	code, done, err := lab.Reexec()
	switch {
	case done:
		os.Exit(code)
	case err == nil:
		err = play(role)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(9)
	}
}

func play(role string) error {
	switch role {
	case "build": // a whole lab, with a process on it
		l, err := lab.New(lab.Options{CongestionControl: "cubic"})
		if err != nil {
			return err
		}
		p, err := l.A.Start("say", "sh", "-c", "exit 0")
		if err == nil {
			err = p.Wait(context.Background())
		}
		fmt.Println("built with", l.CongestionControl())
		return errors.Join(err, l.A.Crash(), l.A.Reboot(), l.Close())
	case "refused": // these limits hold for this user namespace only
		for _, key := range []string{"max_user_namespaces", "max_net_namespaces"} {
			if err := os.WriteFile("/proc/sys/user/"+key, []byte("0"), 0); err != nil {
				return err
			}
		}
		_, _, err := lab.Reexec()
		return err
	case "sleep": // says the number of a process, then waits to be killed
		l, err := lab.New(lab.Options{})
		if err != nil {
			return err
		}
		p, err := l.A.Start("sleep", "sleep", "300")
		if err != nil {
			return err
		}
		fmt.Println(p.PID(), l.Dir())
		select {}
	case "exit":
		os.Exit(7)
	}
	return errors.New("no such role")
}

// nobody returns the command that plays the role as a user without rights.
func nobody(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	cmd := labtest.Nobody(t)
	cmd.Env = append(cmd.Env, envRole+"="+role)
	return cmd
}

func TestReexecBuildsWithoutRoot(t *testing.T) {
	out, err := nobody(t, "build").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "built with") {
		t.Errorf("%v: %s", err, out)
	}
	t.Logf("%s", out)
}

func TestReexecSaysWhatToChange(t *testing.T) {
	out, err := nobody(t, "refused").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "sysctl -w user.max_user_namespaces") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestReexecPassesTheExitCodeOn(t *testing.T) {
	err := nobody(t, "exit").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("%v, want exit status 7", err)
	}
}

func TestKilledLabLeavesNoProcess(t *testing.T) {
	for _, root := range []bool{true, false} {
		t.Run(fmt.Sprintf("root %v", root), func(t *testing.T) {
			cmd := nobody(t, "sleep")
			if root {
				cmd.SysProcAttr = nil
			}
			r, w := io.Pipe()
			cmd.Stdout = w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line := make([]byte, 256)
			n, err := r.Read(line)
			fields := bytes.Fields(line[:n])
			if err != nil || len(fields) != 2 {
				t.Fatalf("%q, %v", line[:n], err)
			}
			pid, err := strconv.Atoi(string(fields[0]))
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			go io.Copy(io.Discard, r)
			waitFor(t, "end of the lab's process", func() bool {
				return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
			})
			cmd.Wait()
		})
	}
}
