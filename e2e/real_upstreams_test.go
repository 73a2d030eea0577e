package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

// A host dies while a server of Debian's is being asked; curl has every reply whole.
func TestRealUpstreams(t *testing.T) {
	primary := func(x *cluster) *lab.Host { return x.A }
	backup := func(x *cluster) *lab.Host { return x.B }
	for _, tt := range []struct {
		name   string
		use    func(*testing.T, func(*cluster) *lab.Host) *cluster
		victim func(*cluster) *lab.Host
	}{
		{"nginx/primary", useNginx, primary},
		{"nginx/backup", useNginx, backup},
		{"nginx, deferred/primary", useNginxDeferred, primary},
		{"apache/primary", useApache, primary},
		{"apache/backup", useApache, backup},
		{"gunicorn/primary", useGunicorn, primary},
		{"gunicorn/backup", useGunicorn, backup},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.use(t, tt.victim).unbroken() })
	}
}

// useNginx: files of every kind are on their way.
func useNginx(t *testing.T, victim func(*cluster) *lab.Host) *cluster { return nginxFiles(t, victim) }

// useNginxDeferred: the same, where the backup has nothing of the longer ones.
func useNginxDeferred(t *testing.T, victim func(*cluster) *lab.Host) *cluster {
	x := nginxFiles(t, victim, "[[service.route]]\npath = \"/\"\nmode = \"deferred\"\n")
	if out := x.ledger(x.B, "--since-takeover", "--json"); strings.Count(out, `"outcome":"re-executed","mode":"deferred"`) != 3 {
		t.Errorf("not the three longer ones were deferred: %s", out)
	}
	return x
}

func nginxFiles(t *testing.T, victim func(*cluster) *lab.Host, routes ...string) *cluster {
	t.Helper()
	files := site{"big.bin": incompressible("big", 12<<20), "slow/text.txt": prose("text", 300_000), "slow/small.bin": incompressible("small", 150_000)}
	x := startReal(t, nginx(), files, routes...)
	big := files["big.bin"]
	slowly := func(args ...string) *lab.Process { return x.curl(append([]string{"--limit-rate", "4M"}, args...)...) }
	whole := slowly("-o", "whole", url("/big.bin"))
	text := x.curl("--compressed", "-o", "text", url("/slow/text.txt"))
	middle := slowly("-o", "middle", "-r", "1000-11000999", url("/big.bin"))
	end := slowly("-o", "end", "-r", "-11000000", url("/big.bin"))
	slow := x.curl("-o", "slow", url("/slow/small.bin"))
	x.strike(victim(x), x.received(64<<10, "whole", "middle", "end"), whole, text, middle, end, slow)
	x.transfers(whole, 1, "200", 1)
	x.same("whole", big)
	x.transfers(text, 1, "200", 1)
	x.same("text", files["slow/text.txt"])
	x.transfers(middle, 1, "206", 1)
	x.same("middle", big[1000:11_001_000])
	x.transfers(end, 1, "206", 1)
	x.same("end", big[len(big)-11_000_000:])
	x.transfers(slow, 1, "200", 1)
	x.same("slow", files["slow/small.bin"])
	return x
}

// useApache: scripts are in the middle of their replies, bodies are being read.
func useApache(t *testing.T, victim func(*cluster) *lab.Host) *cluster {
	x := startReal(t, apache(), site{"upload": nil})
	body := incompressible("body", 3<<20)
	x.must(os.WriteFile(filepath.Join(x.Client.Dir, "body"), body, 0o600))
	const scripts = 6
	var slow []*lab.Process
	for i := range scripts {
		slow = append(slow, x.curl("-o", fmt.Sprint("slow", i), url(fmt.Sprint("/cgi-bin/slow?s", i))))
	}
	closed := x.curl("-o", "closed", url("/cgi-bin/nph-close?c"))
	post := x.curl("-o", "digest", "--limit-rate", "1M", "--data-binary", "@body", url("/cgi-bin/digest"))
	started := func() bool {
		text, err := os.ReadFile(filepath.Join(x.A.Dir, "started"))
		return err == nil && bytes.Count(text, []byte("\n")) == scripts
	}
	x.strike(victim(x), started, append(slow, closed, post)...)
	for i, p := range slow {
		x.transfers(p, 1, "200", 1)
		name := fmt.Sprint("s", i)
		x.same(fmt.Sprint("slow", i), []byte(lines(name+" one", 1000)+lines(name+" two", 1000)))
	}
	x.transfers(closed, 1, "200", 1)
	x.same("closed", []byte(lines("c", 1000)+"end\n"))
	x.transfers(post, 1, "200", 1)
	x.same("digest", fmt.Appendf(nil, "%x  -\n", sha256.Sum256(body)))
	return x
}

// lines is what a script prints that counts.
func lines(name string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, name, i)
	}
	return b.String()
}

// useGunicorn: an application makes chunks, and takes bodies with and without a known length.
func useGunicorn(t *testing.T, victim func(*cluster) *lab.Host) *cluster {
	x := startReal(t, gunicorn(), site{"unused": nil})
	body := incompressible("body", 3<<20)
	x.must(os.WriteFile(filepath.Join(x.Client.Dir, "body"), body, 0o600))
	var chunks []*lab.Process
	for i := range 4 {
		chunks = append(chunks, x.curl("-o", fmt.Sprint("chunks", i), url(fmt.Sprint("/chunks/", i))))
	}
	known := x.curl("-o", "known", "--limit-rate", "2M", "--data-binary", "@body", url("/digest"))
	unknown := x.curl("-o", "unknown", "--limit-rate", "2M", "-H", "Transfer-Encoding: chunked", "--data-binary", "@body", url("/digest"))
	x.strike(victim(x), passed(600*time.Millisecond), append(chunks, known, unknown)...)
	for i, p := range chunks {
		x.transfers(p, 1, "200", 1)
		var want bytes.Buffer
		for k := range 100 {
			want.WriteString(strings.Repeat(fmt.Sprintf("/chunks/%d %d\n", i, k), 100))
		}
		x.same(fmt.Sprint("chunks", i), want.Bytes())
	}
	digest := fmt.Appendf(nil, "%d %x\n", len(body), sha256.Sum256(body))
	for name, p := range map[string]*lab.Process{"known": known, "unknown": unknown} {
		x.transfers(p, 1, "201", 1)
		x.same(name, digest)
	}
	empty := x.curl(url("/nothing"))
	x.transfers(empty, 1, "204", 1)
	return x
}
