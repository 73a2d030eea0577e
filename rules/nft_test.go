package rules

import (
	"bytes"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// nft runs the command of that name in a namespace and returns what it says; ok: it ended well.
func nft(t *testing.T, ns *lab.NS, stdin string, args ...string) (text string, ok bool) {
	t.Helper()
	program, err := exec.LookPath("nft")
	if err != nil {
		program = "/usr/sbin/nft"
		if _, err := exec.LookPath(program); err != nil {
			labtest.Missing(t, "nft is not installed (apt-get install nftables)")
		}
	}
	var out bytes.Buffer
	in(t, ns, func() error {
		c := exec.Command(program, args...)
		c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &out
		ok = c.Run() == nil
		return nil
	})
	return out.String(), ok
}

// The printed text is what nft loads; on a kernel without the queue expression all but that.
func TestTextLoads(t *testing.T) {
	labtest.Require(t)
	ns := labtest.NS(t, "host")
	k := Kernel{}
	in(t, ns, func() (err error) { k, err = Probe(); return err })
	for name, spec := range map[string]Spec{"one": testSpec(), "families": onInterface(), "three": threeNodes(), "lists": twoLists()} {
		text := Text(spec, Kernel{Queue: true, Egress: k.Egress})
		said, ok := nft(t, ns, text, "-c", "-f", "-")
		if !k.Queue {
			for _, part := range strings.Split(said, "Error: ")[1:] {
				if lines := strings.Split(part, "\n"); len(lines) < 2 || !strings.Contains(lines[1], "queue to") {
					t.Errorf("%s: %s", name, part)
				}
			}
			said, ok = nft(t, ns, strings.ReplaceAll(text, "queue to", "counter meta mark set"), "-c", "-f", "-")
		}
		if !ok {
			t.Errorf("%s: nft does not take it:\n%s", name, said)
		}
	}
}

// What Install puts in force is what the text says: nft lists both alike, apart from labels, the
// names of hashed fields and the targets that stand for queues.
func TestTextIsInForce(t *testing.T) {
	labtest.Require(t)
	installed, loaded := labtest.NS(t, "installed"), labtest.NS(t, "loaded")
	for name, spec := range map[string]Spec{"families": onInterface(), "lists": twoLists(), "three": threeNodes()} {
		b := install(t, installed, spec)
		text := Text(spec, Kernel{Queue: true, Egress: b.kernel.Egress})
		if !b.kernel.Queue { // one verdict for another, so that nft can load it
			text = regexp.MustCompile(`queue to \d+`).ReplaceAllString(text, "continue")
		}
		nft(t, loaded, "", "flush", "ruleset")
		if said, ok := nft(t, loaded, text, "-f", "-"); !ok {
			t.Fatalf("%s: nft does not take it:\n%s", name, said)
		}
		want, _ := nft(t, loaded, "", "-s", "list", "ruleset")
		got, _ := nft(t, installed, "", "-s", "list", "ruleset")
		if diff := cmp.Diff(plainListing(want), plainListing(got)); diff != "" || want == "" {
			t.Errorf("%s: what is installed is not what is printed:\n%s", name, diff)
		}
	}
}

func plainListing(text string) string {
	for _, r := range []struct{ what, by string }{
		{`(?m)^# Warning: .*\n`, ""},
		{`libxtables: .*\n.*not found\s+`, "continue "},
		{` ?comment "#\w+"`, ""},
		{`#\w+"`, `"`},
		{`jhash .* mod`, "jhash mod"},
		{`(?m) +$`, ""},
	} {
		text = regexp.MustCompile(r.what).ReplaceAllString(text, r.by)
	}
	return sortSets(text)
}

// sortSets orders the two sets of a table by their text: the kernel lists them in any order.
func sortSets(text string) string {
	return regexp.MustCompile(`(?s)(\tset \w+ \{.*?\n\t\}\n)\n(\tset \w+ \{.*?\n\t\}\n)`).ReplaceAllStringFunc(text, func(pair string) string {
		sets := strings.SplitAfter(pair, "\t}\n")[:2]
		sets[1] = strings.TrimPrefix(sets[1], "\n")
		slices.Sort(sets)
		return sets[0] + "\n" + sets[1]
	})
}
