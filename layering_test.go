// Package ftgw_test holds the whole tree to its rules: which package may use which, how long
// a file may be, and that the README's commands exist.
package ftgw_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ftgw/ftgw/"

// pkg is what `go list -json` says of one package.
type pkg struct {
	ImportPath, Name, Dir string
	Standard              bool
	GoFiles, CgoFiles     []string
	Imports               []string
}

// core names the pure packages, with what each may import of net and the like beyond the
// standard library's free part, and whether it carries records by io.
var core = map[string][]string{
	"rewrite":     {"net/netip"},
	"takeover":    {"net/netip"},
	"replication": {"net", "net/netip", "crypto/tls", "io"},
	"accesslog":   {"net/netip"},
	"inspect":     {"net/netip"},
	"state":       {},
}

// adapters may import the core and config, and none of each other. Packages below an adapter
// belong to it.
var adapters = []string{"proxy", "nfq", "rules", "membership", "takeover/address", "replication/link", "sockdiag", "witness", "upstream", "inspect/host", "web", "metrics", "hook"}

// impure are the parts of the standard library that touch the world. Time is not among them:
// durations are pure, and clocks are found in the code itself.
var impure = []string{"net", "net/netip", "net/http", "os", "os/exec", "os/signal", "syscall", "io/fs", "crypto/tls", "testing", "unsafe", "log"}

// list runs go list once for the whole module.
func list(t *testing.T) map[string]pkg {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Name,Dir,Standard,GoFiles,CgoFiles,Imports", "./...")
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("go list: %v\n%s", err, &errOut)
	}
	all := make(map[string]pkg)
	for d := json.NewDecoder(&out); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// TestLayering holds the arrows of the design: cmd/ftgw, then adapters, then the pure core.
func TestLayering(t *testing.T) {
	all := list(t)
	for path, p := range all {
		room, ours := strings.CutPrefix(path, module)
		if !ours {
			continue
		}
		if slices.Contains([]string{"util", "utils", "common", "types", "http", "helpers", "misc"}, p.Name) {
			t.Errorf("%s: %q says nothing of what it holds", room, p.Name)
		}
		for _, imported := range p.Imports {
			if reason := forbidden(room, imported, all[imported].Standard); reason != "" {
				t.Errorf("%s imports %s: %s", room, imported, reason)
			}
		}
		if _, pure := core[room]; pure {
			checkPure(t, p)
		}
	}
	for room := range core {
		if _, there := all[module+room]; !there {
			t.Errorf("the pure package %s is not there", room)
		}
	}
}

// forbidden returns why a package of ours may not import another, or nothing.
func forbidden(room, imported string, standard bool) string {
	target, ours := strings.CutPrefix(imported, module)
	allowed, pure := core[room]
	_, targetPure := core[target]
	from, to := adapterOf(room), adapterOf(target)
	tooling := strings.HasPrefix(room, "internal/") || room == "e2e"
	switch {
	case pure && standard && slices.Contains(impure, imported) && !slices.Contains(allowed, imported):
		return "the core touches nothing outside itself"
	case pure && !standard && !targetPure:
		return "the core uses the standard library and itself"
	case !ours:
		return ""
	case room == "config":
		return "config knows no other part"
	case (target == "internal/crashpoint" || target == "internal/defect") && !pure:
		return "" // a mark in the code, which joins nothing
	case from != "" && from != to && !targetPure && target != "config":
		return "an adapter uses the core and config, never another adapter"
	case to != "" && from != to && room != "cmd/ftgw" && !tooling:
		return "cmd/ftgw alone joins the parts"
	case strings.HasPrefix(target, "internal/lab") && room != "cmd/ftgw" && !tooling:
		return "the lab is for tests, the demo and the end-to-end runs"
	}
	return ""
}

// adapterOf returns the adapter that a package belongs to, or nothing.
func adapterOf(room string) string {
	for _, a := range adapters {
		if room == a || strings.HasPrefix(room, a+"/") {
			return a
		}
	}
	return ""
}

// checkPure finds goroutines and clocks in a package of the core. The zero time and durations
// are no clock.
func checkPure(t *testing.T, p pkg) {
	clocks := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	for _, name := range p.GoFiles {
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		clock := localName(file, "time")
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: the core starts no goroutine", files.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == clock && slices.Contains(clocks, n.Sel.Name) {
					t.Errorf("%s: the core has no clock, time is handed in", files.Position(n.Pos()))
				}
			}
			return true
		})
	}
}

// localName returns the name by which a file knows an imported package, or nothing.
func localName(file *ast.File, path string) string {
	for _, spec := range file.Imports {
		if unquoted, _ := strconv.Unquote(spec.Path.Value); unquoted == path {
			if spec.Name != nil {
				return spec.Name.Name
			}
			return path
		}
	}
	return ""
}

// TestFilesAreShort keeps every file readable in one sitting.
func TestFilesAreShort(t *testing.T) {
	const limit = 400 // lines
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := bytes.Count(data, []byte("\n")); n > limit {
			t.Errorf("%s has %d lines, at most %d are readable in one sitting", path, n, limit)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestForbidden holds the rules themselves to examples.
func TestForbidden(t *testing.T) {
	for _, tt := range []struct {
		room, imported string
		standard, want bool
	}{
		{"rewrite", "net/netip", true, false},
		{"rewrite", "net", true, true},
		{"rewrite", module + "config", false, true},
		{"rewrite", "golang.org/x/sys/unix", false, true},
		{"takeover", module + "rewrite", false, false},
		{"takeover", "os", true, true},
		{"replication", "crypto/tls", true, false},
		{"replication", "os", true, true},
		{"proxy", module + "replication", false, false},
		{"proxy", module + "config", false, false},
		{"proxy", module + "nfq", false, true},
		{"proxy", module + "accesslog", false, false},
		{"proxy", module + "upstream", false, true},
		{"accesslog", "os", true, true},
		{"state", "net/netip", true, true},
		{"web", module + "state", false, false},
		{"web", module + "metrics", false, true},
		{"upstream", module + "config", false, false},
		{"replication/link", module + "replication", false, false},
		{"proxy", module + "proxy/body", false, false},
		{"proxy/body", module + "nfq", false, true},
		{"takeover/address", module + "membership", false, true},
		{"cmd/ftgw", module + "nfq", false, false},
		{"internal/lab", module + "rules", false, false},
		{"nfq", module + "internal/lab", false, true},
		{"proxy", module + "internal/crashpoint", false, false},
		{"rewrite", module + "internal/crashpoint", false, true},
		{"config", module + "rewrite", false, true},
	} {
		reason := forbidden(tt.room, tt.imported, tt.standard)
		if (reason != "") != tt.want {
			t.Errorf("%s imports %s: forbidden is %q", tt.room, tt.imported, reason)
		}
	}
}
