package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const lists = `
[[node]]
name = "a"
address = "192.0.2.11"
[[node]]
name = "b"
address = "192.0.2.12"
[[node]]
name = "arbiter"
address = "192.0.2.13"
witness = true
[[node]]
name = "c"
address = "192.0.2.14"
[[service]]
name = "shop"
advertised = "192.0.2.100:80"
nodes = ["b", "a"]
upstream = "127.0.0.1:8080"
[[service]]
name = "blog"
advertised = "192.0.2.101:81"
nodes = ["c", "b", "a"]
upstream = "127.0.0.1:8081"
[[service]]
name = "mail"
advertised = "192.0.2.102:82"
nodes = ["b", "a"]
upstream = "127.0.0.1:8082"
[[service]]
name = "back"
advertised = "192.0.2.103:83"
nodes = ["a", "b"]
upstream = "127.0.0.1:8083"
`

func TestGroups(t *testing.T) {
	c, err := Parse([]byte(lists), "a")
	if err != nil {
		t.Fatal(err)
	}
	text := func(groups []Group) (all []string) {
		for _, g := range groups {
			s := g.Name + ":"
			for i, n := range g.Nodes {
				if g.Index(n.Name) != i {
					t.Errorf("%s: index of %s is %d", g.Name, n.Name, g.Index(n.Name))
				}
				s += " " + n.Address.String()[len("192.0.2."):]
			}
			for _, v := range g.Services {
				if v.Group() != g.Name {
					t.Errorf("group of %s is %s, want %s", v.Name, v.Group(), g.Name)
				}
				s += " " + v.Name
			}
			all = append(all, s)
		}
		return all
	}
	for node, want := range map[string][]string{
		"a":       {"a,b: 11 12 back", "b,a: 12 11 shop mail", "c,b,a: 14 12 11 blog"},
		"c":       {"c,b,a: 14 12 11 blog"},
		"arbiter": nil,
	} {
		if diff := cmp.Diff(want, text(c.GroupsOf(node))); diff != "" {
			t.Errorf("groups of %s (-want +got):\n%s", node, diff)
		}
	}
	if diff := cmp.Diff(text(c.GroupsOf("a")), text(c.Groups())); diff != "" {
		t.Errorf("a is in all groups:\n%s", diff)
	}
	names := func(groups []Group) (all []string) {
		for _, g := range groups {
			all = append(all, g.Name)
		}
		return all
	}
	order := names(c.Groups())
	slices.Reverse(c.Services)
	if diff := cmp.Diff(order, names(c.Groups())); diff != "" {
		t.Errorf("the order of services in the file shows:\n%s", diff)
	}
}

func TestPeers(t *testing.T) {
	for node, want := range map[string]string{"a": "c b", "b": "c a", "c": "b a", "arbiter": ""} {
		c, err := Parse([]byte(lists), node)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range c.Peers(c.Services[1]) {
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("peers of %s: %q, want %q", node, got, want)
		}
	}
	s := Service{Nodes: []string{"c", "b", "a"}}
	if s.Primary() != "c" || s.Backup() != "b" || fmt.Sprint(s.Spares()) != "[a]" {
		t.Errorf("primary %s, backup %s, spares %v", s.Primary(), s.Backup(), s.Spares())
	}
}

// One node, a, is in as many groups as it has partners.
func TestTooManyGroups(t *testing.T) {
	text := func(groups int) []byte {
		var b strings.Builder
		node := func(name string, i int) {
			fmt.Fprintf(&b, "[[node]]\nname = %q\naddress = \"203.0.113.%d\"\n", name, 1+i)
		}
		node("a", groups)
		for i := range groups {
			node(fmt.Sprint("n", i), i)
		}
		for i := range 2 * groups { // two services a group
			fmt.Fprintf(&b, "[[service]]\nname = \"s%d\"\nadvertised = \"192.0.2.%d:%d\"\nnodes = [\"a\", \"n%d\"]\nupstream = \"127.0.0.1:8080\"\n",
				i, 100+i%groups, 1000+i, i%groups)
		}
		return []byte(b.String())
	}
	if _, err := Parse(text(maxGroups), "a"); err != nil {
		t.Errorf("%d groups: %v", maxGroups, err)
	}
	_, err := Parse(text(maxGroups+1), "a")
	if err == nil || !strings.Contains(err.Error(), "service[60].nodes: a is in 60 different lists already") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%d groups: %v", maxGroups+1, err)
	}
}

// The shipped example of two addresses over two hosts is one, and each host is primary of one.
func TestDualRoleExample(t *testing.T) {
	text, err := os.ReadFile("dual-role.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"web-a", "web-b", "arbiter"} {
		c, err := Parse(text, node)
		if err != nil {
			t.Fatal(err)
		}
		var primaries []string
		for _, g := range c.GroupsOf(node) {
			primaries = append(primaries, g.Services[0].Primary())
		}
		if want := map[string]string{"web-a": "[web-a web-b]", "web-b": "[web-a web-b]", "arbiter": "[]"}[node]; fmt.Sprint(primaries) != want {
			t.Errorf("the primaries of %s's groups: %v, want %s", node, primaries, want)
		}
	}
}
