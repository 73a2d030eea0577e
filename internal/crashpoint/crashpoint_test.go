package crashpoint

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain plays a process that passes one point again and again where a test starts it so.
func TestMain(m *testing.M) {
	if os.Getenv(Env) != "" {
		for n := 1; ; n++ {
			os.Stdout.WriteString("x")
			Here(ReplyStored)
			time.Sleep(time.Millisecond)
		}
	}
	os.Exit(m.Run())
}

func TestParse(t *testing.T) {
	for _, row := range []struct {
		value string
		point Point
		n     int64
		bad   bool
	}{
		{"reply-stored", ReplyStored, 1, false},
		{"reply-stored:3", ReplyStored, 3, false},
		{"!reply-stored:3", ReplyStored, 3, false},
		{"!:3", "", 0, true},
		{"reply-stored:0", "", 0, true},
		{"reply-stored:-1", "", 0, true},
		{"reply-stored:many", "", 0, true},
		{"reply", "", 0, true},
		{"", "", 0, true},
	} {
		w, err := parse(row.value)
		if (err != nil) != row.bad {
			t.Errorf("%q: %v", row.value, err)
		}
		if err == nil && w.panics != strings.HasPrefix(row.value, "!") {
			t.Errorf("%q: panics %v", row.value, w.panics)
		}
		if err == nil && (w.point != row.point || w.left.Load() != row.n) {
			t.Errorf("%q: %v, %d", row.value, w.point, w.left.Load())
		}
	}
}

func TestNothingIsArmedWithoutTheVariable(t *testing.T) {
	if Armed() {
		t.Fatal("armed")
	}
	Here(ReplyStored)
}

func TestFileArmsOnceItIsThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "crash")
	p := fromEnv("@" + file)
	for range 5 {
		if p.pass(DataOut) {
			t.Fatal("hit before the file was there")
		}
	}
	if err := os.WriteFile(file, []byte("data-out:2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, false, false} {
		if p.pass(SegmentIn) || p.pass(DataOut) != want {
			t.Errorf("pass %d", i)
		}
	}
}

func TestProcessStopsAtTheThirdPass(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut strings.Builder
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), Env+"=reply-stored:3")
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !Stopped(cmd.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Error("it did not stop")
			break
		}
	}
	cmd.Process.Kill()
	cmd.Wait() // ends by the signal
	if out.String() != "xxx" || !strings.Contains(errOut.String(), "point=reply-stored") {
		t.Errorf("%q, %q", out.String(), errOut.String())
	}
}

func BenchmarkHere(b *testing.B) {
	for b.Loop() {
		Here(ReplyStored)
	}
}
