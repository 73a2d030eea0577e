package defect

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const envPlay = "DEFECT_TEST_PLAY"

// TestMain plays a daemon with a defect where a test starts it so: envPlay is who has it and the
// crash file.
func TestMain(m *testing.M) {
	who, path, play := strings.Cut(os.Getenv(envPlay), " ")
	if !play {
		os.Exit(m.Run())
	}
	err := MoveStderr()
	previous, err2 := RuntimeTo(path)
	if err := errors.Join(err, err2); err != nil {
		os.Stdout.WriteString(err.Error())
		os.Exit(9)
	}
	if previous != "" {
		os.Stderr.WriteString("previous " + previous + "\n")
	}
	switch who {
	case "guarded":
		go func() { defer Guard(); broken(nil) }()
	case "other":
		go broken(nil)
	case "nobody":
		os.Stderr.WriteString("well\n")
		os.Exit(0)
	}
	select {}
}

// broken is the defect.
func broken(list []int) int { return list[5] }

func TestDefects(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crash")
	for _, tt := range []struct {
		who    string
		code   int
		says   []string
		report string // what the crash file holds then
	}{
		{"nobody", 0, []string{"well"}, ""},
		{"guarded", ExitCode, []string{"index out of range [5]", "defect.broken, defect_test.go:"}, "goroutine "},
		{"other", 2, []string{"previous " + path + ".old: panic: runtime error: index out of range"}, "goroutine "},
		{"nobody", 0, []string{"previous", "well"}, ""},
	} {
		var said bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
		cmd.Env = append(os.Environ(), envPlay+"="+tt.who+" "+path)
		cmd.Stdout, cmd.Stderr = &said, &said
		cmd.Run() // its code is looked at
		if code := cmd.ProcessState.ExitCode(); code != tt.code {
			t.Errorf("%s: exit code %d, want %d", tt.who, code, tt.code)
		}
		if strings.Contains(said.String(), "goroutine ") || strings.Count(said.String(), "\n") > 2 {
			t.Errorf("%s: a stack:\n%s", tt.who, &said)
		}
		for _, s := range tt.says {
			if !strings.Contains(said.String(), s) {
				t.Errorf("%s: does not say %q:\n%s", tt.who, s, &said)
			}
		}
		report, err := os.ReadFile(path)
		if err != nil || (tt.report == "") != (len(report) == 0) || !strings.Contains(string(report), tt.report) {
			t.Errorf("%s: report %q, %v", tt.who, report, err)
		}
	}
}

func TestCrashFileThatCannotBe(t *testing.T) {
	if previous, err := RuntimeTo("/nonexistent/crash"); previous != "" || err != nil {
		t.Errorf("standard error was not moved, and yet: %q, %v", previous, err)
	}
	if _, err := setAside(t.TempDir()); err == nil {
		t.Error("a directory was taken for a crash file")
	}
}
