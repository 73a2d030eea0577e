package ftgw_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ftgw/ftgw/internal/lab/drill"
)

const matrix = "docs/failures.md"

// shown returns the names in the last column of the tables of the matrix.
func shown(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(matrix)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if !strings.HasPrefix(line, "|") || len(cells) < 3 {
			continue
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[len(cells)-1], -1) {
			if regexp.MustCompile(`^[\w/*-]+(\.Test\w+)?$`).MatchString(m[1]) { // a reason is prose
				names = append(names, m[1])
			}
		}
	}
	return names
}

// testsIn returns the tests of one directory, by parsing its files.
func testsIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%v", err) // somebody else's mistake
			continue
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				names = append(names, fn.Name.Name)
			}
		}
	}
	return names
}

// TestFailuresNamesWhatExists: every test and scenario in the matrix is there. A scenario may be
// named by a glob, as for ftgw drill --only.
func TestFailuresNamesWhatExists(t *testing.T) {
	tests := map[string][]string{}
	names := shown(t)
	if len(names) < 60 {
		t.Errorf("the matrix names only %d tests and scenarios; has its form changed?", len(names))
	}
	for _, name := range names {
		if dir, test, ok := strings.Cut(name, "."); ok {
			if tests[dir] == nil {
				tests[dir] = testsIn(t, dir)
			}
			if !slices.Contains(tests[dir], test) {
				t.Errorf("%s names %s, but there is no such test in ./%s", matrix, name, dir)
			}
			continue
		}
		if chosen, err := drill.Choose(drill.All(), []string{name}); err != nil || !slices.ContainsFunc(chosen, func(s drill.Scenario) bool { return covers(name, s) }) {
			t.Errorf("%s names %s, but there is no such scenario (%v)", matrix, name, err)
		}
	}
}

// TestFailuresNamesEveryScenario: what ftgw drill plays is explained.
func TestFailuresNamesEveryScenario(t *testing.T) {
	names := shown(t)
	for _, s := range drill.All() {
		if !slices.ContainsFunc(names, func(name string) bool { return covers(name, s) }) {
			t.Errorf("%s has no row for %s: %s", matrix, s.Name, s.About)
		}
	}
}

// TestFailuresNamesWhatIsNotPlayed: a scenario that does not occur in a mode stands in a row that says
// so of that mode.
func TestFailuresNamesWhatIsNotPlayed(t *testing.T) {
	text, err := os.ReadFile(matrix)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range drill.Modes() {
		for _, s := range drill.All() {
			if (drill.Setting{Mode: mode}).Never(s.Name) == "" {
				continue
			}
			said := regexp.MustCompile("`" + regexp.QuoteMeta(s.Name) + "`: (not|only) in ([a-z, -]*[a-z]) ?\\|").FindSubmatch(text)
			if said == nil || slices.Contains(strings.Split(string(said[2]), ", "), string(mode)) != (string(said[1]) == "not") {
				t.Errorf("%s does not say that %s does not occur in mode %s (%q)", matrix, s.Name, mode, said)
			}
		}
	}
}

func covers(name string, s drill.Scenario) bool {
	ok, _ := path.Match(name, s.Name) // a malformed glob names nothing
	return ok
}
