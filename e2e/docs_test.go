package e2e

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

// TestOperationsDocument runs every command of docs/operations.md, in its order, on the host that
// serves, as it stands there; afterwards the pair is whole and no client has noticed.
func TestOperationsDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllSubmatch(text, -1) {
		commands = append(commands, strings.Split(strings.TrimSpace(string(block[1])), "\n")...)
	}
	if len(commands) < 8 {
		t.Fatalf("only the commands %q were found", commands)
	}
	x := start(t, lab.Options{}, lab.Config{})
	wait := x.busy()
	for _, line := range commands {
		x.duplex() // each finds a pair that is whole
		words := strings.Fields(line)
		if words[0] != "ftgw" {
			t.Fatalf("%q is no command of ftgw", line)
		}
		// The host's own file and name stand for those that the package would have put in place.
		words = append(words, "--config", x.A.ConfigPath(), "--name", x.A.Name)
		p, err := x.A.Start("docs", append([]string{program}, words[1:]...)...)
		x.must(err)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		if err := p.Wait(ctx); err != nil {
			t.Errorf("%s: %v\n%s", line, err, p.Log())
		} else if len(p.Log()) == 0 {
			t.Errorf("%s says nothing", line)
		}
		cancel()
	}
	wait()
	x.whole()
	x.duplex()
}
