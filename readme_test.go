package ftgw_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ftgw/ftgw/config"
)

// blocks returns the contents of a document's code blocks of one language.
func blocks(t *testing.T, file, language string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllSubmatch(text, -1) {
		found = append(found, string(m[1]))
	}
	return found
}

// TestReadmeCommands: the two commands for a fresh machine are there and can be run, and the
// second is what CI runs.
func TestReadmeCommands(t *testing.T) {
	commands := blocks(t, "README.md", "sh")
	if len(commands) != 2 {
		t.Fatalf("the README has %d commands, exactly two are promised: %q", len(commands), commands)
	}
	for _, command := range commands {
		words := strings.Fields(command)
		if len(words) != 1 {
			t.Fatalf("not one command: %q", command)
		}
		if info, err := os.Stat(words[0]); err != nil || info.Mode().Perm()&0o111 != 0o111 {
			t.Errorf("%s cannot be run: %v", words[0], err)
		}
	}
	ci, err := os.ReadFile(".ci/run")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(ci), "CI=true exec "+strings.TrimSpace(commands[1])) {
		t.Errorf(".ci/run does not run %q with CI=true", commands[1])
	}
}

// TestReadmeConfig: the sample is a file that ftgw accepts, on either node.
func TestReadmeConfig(t *testing.T) {
	samples := blocks(t, "README.md", "toml")
	if len(samples) != 1 {
		t.Fatalf("the README has %d config samples", len(samples))
	}
	for _, node := range []string{"web-a", "web-b"} {
		if _, err := config.Parse([]byte(samples[0]), node); err != nil {
			t.Errorf("on %s: %v", node, err)
		}
	}
}

// TestReadmeLinks: the files that the README points to are there.
func TestReadmeLinks(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\]\(([^):]+)\)`).FindAllSubmatch(text, -1) {
		if _, err := os.Stat(string(m[1])); err != nil {
			t.Error(err)
		}
	}
}
