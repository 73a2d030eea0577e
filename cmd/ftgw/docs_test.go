package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents are what users read.
func documents(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) < 8 {
		t.Fatalf("documents %v, %v", files, err)
	}
	return append(files, "../../README.md")
}

// commandsIn returns the commands of a text: between backquotes, and in blocks of sh or console.
func commandsIn(text string) (lines []string) {
	for _, m := range regexp.MustCompile("(?s)`(ftgw [^`…]+)`").FindAllStringSubmatch(text, -1) {
		lines = append(lines, m[1])
	}
	for _, block := range regexp.MustCompile("(?ms)^```(?:sh|console)\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		for _, m := range regexp.MustCompile(`(?m)^(?:[\w-]+# )?(ftgw .+)$`).FindAllStringSubmatch(block[1], -1) {
			lines = append(lines, m[1])
		}
	}
	return lines
}

// TestDocumentsNameCommands: every `ftgw …` in the text is a command with flags that exist.
func TestDocumentsNameCommands(t *testing.T) {
	sum := 0
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range commandsIn(string(text)) {
			sum++
			args := strings.Fields(strings.Split(strings.Split(strings.TrimPrefix(line, "ftgw "), " > ")[0], " && ")[0])
			root := rootCommand()
			cmd, rest, err := root.Find(args)
			if err != nil || cmd == root && !strings.HasPrefix(args[0], "--") {
				t.Errorf("%s: %q: there is no such command (%v)", file, line, err)
				continue
			}
			cmd.InitDefaultHelpFlag()
			if err := cmd.ParseFlags(rest); err != nil {
				t.Errorf("%s: %q: %v", file, line, err)
			}
		}
	}
	if sum < 40 {
		t.Errorf("only %d commands were found; has their form changed?", sum)
	}
}
