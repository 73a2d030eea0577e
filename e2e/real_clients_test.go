package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

// A host dies while a client of Debian's asks nginx; the client has everything and complains of
// nothing.
func TestRealClients(t *testing.T) {
	primary := func(x *cluster) *lab.Host { return x.A }
	backup := func(x *cluster) *lab.Host { return x.B }
	for _, tt := range []struct {
		name   string
		files  site
		use    func(*cluster, site, *lab.Host)
		victim func(*cluster) *lab.Host
	}{
		{"curl/primary", site{"big.bin": incompressible("big", 12<<20)}, useCurl, primary},
		{"curl/backup", site{"big.bin": incompressible("big", 12<<20)}, useCurl, backup},
		{"curl/one-connection", items(1000), oneConnection, primary},
		{"wget", tree(), useWget, primary},
		{"ab", site{"page.html": prose("page", 3000)}, useAB, backup},
		{"wrk", site{"page.html": prose("page", 3000)}, useWrk, primary},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := startReal(t, nginx(), tt.files)
			tt.use(x, tt.files, tt.victim(x))
			if tt.name != "wrk" { // which ends in the midst of its requests
				x.unbroken()
			}
		})
	}
}

// useCurl downloads as HTTP/1.1 and HTTP/1.0, and uploads.
func useCurl(x *cluster, files site, victim *lab.Host) {
	body := incompressible("body", 8<<20)
	x.must(os.WriteFile(filepath.Join(x.Client.Dir, "body"), body, 0o600))
	down := x.curl("--limit-rate", "4M", "-o", "down", url("/big.bin"))
	old := x.curl("--http1.0", "--limit-rate", "4M", "-o", "old", url("/big.bin"))
	up := x.curl("--limit-rate", "4M", "-X", "PUT", "--data-binary", "@body", url("/dav/up"))
	x.strike(victim, x.received(1<<20, "old"), down, old, up)
	for name, p := range map[string]*lab.Process{"down": down, "old": old} {
		x.transfers(p, 1, "200", 1)
		x.same(name, files["big.bin"])
	}
	x.transfers(up, 1, "201", 1)
	x.transfers(x.curl("-o", "up", url("/dav/up")), 1, "200", 1)
	x.same("up", body)
}

func items(n int) site {
	s := site{}
	for i := range n {
		name := fmt.Sprint("item/", i+1)
		s[name] = incompressible(name, 200+i*20)
	}
	return s
}

// oneConnection asks for many files one after the other.
func oneConnection(x *cluster, files site, victim *lab.Host) {
	p := x.curl("--create-dirs", "-o", "item/#1", url(fmt.Sprintf("/item/[1-%d]", len(files))))
	x.strike(victim, x.served(x.A, len(files)/4), p)
	x.transfers(p, len(files), "200", 1)
	for name, data := range files {
		x.same(name, data)
	}
}

// tree is a small site of pages that name each other and files.
func tree() site {
	s := site{}
	var index strings.Builder
	for i := range 20 {
		var page strings.Builder
		for k := range 10 {
			name := fmt.Sprintf("file-%d-%d.bin", i, k)
			s["pages/"+name] = incompressible(name, 1000*(1+i*k))
			fmt.Fprintf(&page, "<a href=%q>%s</a>\n", name, name)
		}
		fmt.Fprintf(&page, "<a href=%q>up</a>\n", "/index.html")
		fmt.Fprintf(&index, "<a href=\"pages/%d.html\">page %d</a>\n", i, i)
		s[fmt.Sprintf("pages/%d.html", i)] = []byte(page.String())
	}
	s["index.html"] = []byte(index.String())
	return s
}

// useWget copies the site.
func useWget(x *cluster, files site, victim *lab.Host) {
	p := x.run(tool(x, "wget", "wget"), "--no-config", "--no-proxy", "-nv", "-e", "robots=off", "--tries=1",
		"--timeout=20", "-r", "-l", "5", "-nH", "-P", "mirror", url("/index.html"))
	x.strike(victim, x.served(x.A, len(files)/3), p)
	x.ended(p)
	for name, data := range files {
		x.same(filepath.Join("mirror", name), data)
	}
}

// useAB is HTTP/1.0 with keep-alive.
func useAB(x *cluster, _ site, victim *lab.Host) {
	const requests = "5000"
	p := x.run(tool(x, "ab", "apache2-utils"), "-q", "-k", "-n", requests, "-c", "16", "-s", "20", url("/page.html"))
	x.strike(victim, x.served(x.A, 1000), p)
	log := x.ended(p)
	said := map[string]string{}
	for line := range strings.Lines(log) {
		name, value, _ := strings.Cut(line, ":")
		said[name] = strings.TrimSpace(value)
	}
	if said["Complete requests"] != requests || said["Keep-Alive requests"] != requests || said["Failed requests"] != "0" || strings.Contains(log, "Non-2xx") {
		x.Error(log)
	}
	x.Logf("%s requests/s, longest %s", said["Requests per second"], said["Total"])
}

// useWrk is many requests on connections that stay.
func useWrk(x *cluster, _ site, victim *lab.Host) {
	p := x.run(tool(x, "wrk", "wrk"), "-t", "2", "-c", "32", "-d", "3s", "--timeout", "10s", url("/page.html"))
	x.strike(victim, passed(time.Second), p)
	log := x.ended(p)
	if !strings.Contains(log, "Requests/sec") || strings.Contains(log, "Socket errors") || strings.Contains(log, "Non-2xx") {
		x.Error(log)
	}
	x.Log(log)
}
