package e2e

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

// A web server on a unix socket is checked, asked and taken over as one on a port is. Here both
// hosts have the same one, for the lab's hosts share a file system. A limit of the file holds.
func TestUnixSocket(t *testing.T) {
	x := assemble(t, lab.Config{Service: "health_path = \"/health\"", Tail: "[limits]\nrequest_line = \"1KiB\"\n"})
	at := filepath.Join(t.TempDir(), "app.sock")
	l, err := net.Listen("unix", at)
	x.must(err)
	journal, err := webapp.OpenJournal(x.SharedPath("journal"))
	x.must(err)
	defer journal.Close()
	web := &http.Server{Handler: webapp.Handler("both", journal, "")}
	served := make(chan error, 1)
	go func() { served <- web.Serve(l) }()
	defer func() { web.Close(); <-served }()
	for _, h := range []*lab.Host{x.A, x.B} {
		x.rewrite(t, h, replaced(`upstream = "`+lab.Upstream+`"`, `upstream = "unix:`+at+`"`))
		x.node(h)
	}
	x.duplex()
	for _, h := range []*lab.Host{x.A, x.B} {
		x.healthy(h, "healthy")
	}
	wait := x.busy()
	time.Sleep(500 * time.Millisecond) // of load
	x.must(x.A.Crash())
	time.Sleep(500 * time.Millisecond)
	wait()
	x.whole()
	long := client.Bytes(strings.Repeat("x", 1<<10), 10)
	if r := x.client.Once(t.Context(), long); r.Status != http.StatusRequestURITooLong {
		t.Errorf("a long request line: %+v", r)
	}
	web.Close()
	x.healthy(x.B, "unhealthy")
}
