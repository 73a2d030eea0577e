package config

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write the expected errors anew")

const good = `
secret_file = "/etc/ftgw/secret"
name = "web-a"
[[node]]
name = "web-a"
address = "192.0.2.11"
[[node]]
name = "web-b"
address = "192.0.2.12"
[[service]]
name = "shop"
advertised = "192.0.2.100:80"
nodes = ["web-a", "web-b"]
upstream = "127.0.0.1:8080"
`

// TestBadFiles holds each file of testdata/bad to the list of mistakes beside it.
func TestBadFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.toml")
	if len(files) == 0 {
		t.Fatal("testdata/bad is empty")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(data, "")
			if err == nil {
				t.Fatal("no mistake was found")
			}
			got := err.Error() + "\n"
			golden := strings.TrimSuffix(file, ".toml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("mistakes (-want +got, -update writes them anew):\n%s", diff)
			}
		})
	}
}

// TestExampleHoldsTheDefaults reads the reference file, which names every key there is.
func TestExampleHoldsTheDefaults(t *testing.T) {
	data, err := os.ReadFile("ftgw.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(data, "web-a")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Name = "web-a"
	opts := []cmp.Option{cmpopts.IgnoreFields(Config{}, "Nodes", "Services"), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})}
	if diff := cmp.Diff(want, *c, opts...); diff != "" {
		t.Errorf("example and defaults differ (-default +example):\n%s", diff)
	}
	bare, err := Parse([]byte("\ufeff"+good), "") // with a mark that some editors put there
	if err != nil {
		t.Fatal(err)
	}
	opts = []cmp.Option{cmpopts.IgnoreFields(Service{}, "Routes"), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})}
	if diff := cmp.Diff(bare.Services, c.Services, opts...); diff != "" {
		t.Errorf("example and defaults of a service differ (-default +example):\n%s", diff)
	}
	for _, key := range keysBelow(reflect.TypeFor[Config]()) {
		if !strings.Contains(string(data), "\n"+key+" ") && !strings.Contains(string(data), "\n# "+key+" ") {
			t.Errorf("the example does not name %s", key)
		}
	}
}

// keysBelow returns the keys of a table and of those in it, without the tables themselves.
func keysBelow(t reflect.Type) (keys []string) {
	for i := range t.NumField() {
		inner := t.Field(i).Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner.PkgPath() == t.PkgPath() {
			keys = append(keys, keysBelow(inner)...)
		} else {
			keys = append(keys, t.Field(i).Tag.Get("toml"))
		}
	}
	return keys
}

func TestAccessors(t *testing.T) {
	c, err := Parse([]byte(good), "web-b")
	if err != nil {
		t.Fatal(err)
	}
	s := c.Services[0]
	if c.Self().Name != "web-b" || c.Index(c.Name) != 1 {
		t.Errorf("self = %v, index %d; --name must override the file", c.Self(), c.Index(c.Name))
	}
	if p := c.Peers(s); len(p) != 1 || p[0].Name != "web-a" {
		t.Errorf("peers = %v", p)
	}
	if s.Forward != 20080 || s.IdleTimeout != 75*time.Second || s.Mode("GET", "/x") != Logged {
		t.Errorf("service defaults: %+v", s)
	}
	if n := c.Limits.WorkerCount(); n < 1 || n > 2 {
		t.Errorf("workers = %d", n)
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.toml")
	if _, err := Load(path, ""); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "--config") {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("nme = 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	var all Errors
	if _, err := Load(path, ""); !errors.As(err, &all) || !strings.Contains(err.Error(), path) {
		t.Errorf("bad file: %v", err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("#\n"), maxFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, ""); errors.As(err, &all) || err == nil || !strings.Contains(err.Error(), "longer than 1MiB (name the file") {
		t.Errorf("long file: %v", err)
	}
	if remedy := readRemedy(&fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}); !strings.Contains(remedy, "group") {
		t.Errorf("a file of somebody else's: %s", remedy)
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "512": 512, "64KiB": 65536, "1 MiB": 1 << 20, "2GiB": 2 << 30} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%q = %d, %v", text, b, err)
		}
		var again Bytes
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%q there and back: %d, %v", b, again, err)
		}
	}
	for _, text := range []string{"", "-1", "1MB", "MiB", "99999999999GiB", "1.5MiB"} {
		if err := new(Bytes).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

// FuzzParse: a text is either a whole configuration or a list of mistakes, never a panic.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("[[node]]\nname = {a=1, b=[1,2]}\n[[service.route]]\n[service]\n"))
	f.Add([]byte("node = 3\nservice = [[1], {}, 'x']\n\"\\u0041\".b = 1979-05-27\n"))
	files, _ := filepath.Glob("testdata/bad/*.toml")
	for _, file := range append(files, "ftgw.example.toml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data, "web-a")
		if err != nil {
			var all Errors
			if !errors.As(err, &all) || len(all) == 0 {
				t.Fatalf("not a list of mistakes: %v", err)
			}
			for _, e := range all {
				if e.Problem == "" || e.Line < 0 || e.Line > 1+strings.Count(string(data), "\n") {
					t.Fatalf("bad mistake %#v", e)
				}
			}
			return
		}
		for _, s := range c.Services {
			if peers := c.Peers(s); s.Has(c.Name) && len(peers) != len(s.Nodes)-1 || !s.Has(c.Name) && len(peers) > 0 {
				t.Fatalf("peers of %s in %v: %v", c.Name, s.Nodes, peers)
			}
		}
		if c.Self() == (Node{}) {
			t.Fatal("a valid file without this node")
		}
		c.Digest()
		if changes := Changes(c, c); c.Settings() == 0 || len(changes) > 0 {
			t.Fatalf("settings %d, changes %v", c.Settings(), changes)
		}
	})
}
