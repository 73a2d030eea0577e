package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

const accessLog = "access.log" // in the host's directory, one line a request

// server is a web server of Debian's.
type server struct {
	name string
	find func(testing.TB) string // the program
	argv func(testing.TB, *lab.Host) []string
	conf map[string]string // files in the host's directory; @DIR@ stands for it
}

// start runs the server on lab.Upstream of the host until the lab ends.
func (s server) start(x *cluster, h *lab.Host) *lab.Process {
	x.Helper()
	for _, dir := range []string{"run", "www/dav"} {
		x.must(os.MkdirAll(filepath.Join(h.Dir, dir), 0o700))
	}
	for name, text := range s.conf {
		path := filepath.Join(h.Dir, name)
		x.must(os.MkdirAll(filepath.Dir(path), 0o700))
		text = strings.NewReplacer("@DIR@", h.Dir, "@LISTEN@", lab.Upstream).Replace(text)
		x.must(os.WriteFile(path, []byte(text), 0o700))
	}
	p, err := h.Start(s.name, contained(x, s.argv(x, h)...)...)
	x.must(err)
	return p
}

// site is files by their path.
type site map[string][]byte

// write makes the files, the same on every host: the time is part of what a server replies.
func (s site) write(dir string) error {
	for name, data := range s {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		if err := os.Chtimes(path, at, at); err != nil {
			return err
		}
	}
	return nil
}

// incompressible returns n bytes that differ by name and cannot be compressed.
func incompressible(name string, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(b) // cannot fail
	return b
}

// prose returns n bytes of text, which shrinks by half when compressed.
func prose(name string, n int) []byte {
	return []byte(hex.EncodeToString(incompressible(name, n/2)))
}

func findNginx(t testing.TB) string { return tool(t, "nginx", "nginx") }

// nginx serves files: by sendfile, compressed, in ranges, slowly, and takes them by PUT.
func nginx() server {
	return server{name: "nginx", find: findNginx,
		argv: func(t testing.TB, h *lab.Host) []string {
			return []string{findNginx(t), "-e", "stderr", "-p", h.Dir, "-c", "nginx.conf"}
		},
		conf: map[string]string{"nginx.conf": `
daemon off;
worker_processes 2;
pid run/nginx.pid;
error_log stderr warn;
events { worker_connections 512; }
http {
	types {
		text/html html; text/css css; text/javascript js; image/png png; text/plain txt;
	}
	default_type application/octet-stream;
	access_log access.log;
	client_body_temp_path run/body;
	proxy_temp_path run/proxy;
	fastcgi_temp_path run/fastcgi;
	uwsgi_temp_path run/uwsgi;
	scgi_temp_path run/scgi;
	client_max_body_size 0;
	sendfile on;
	tcp_nopush on;
	gzip on;
	gzip_proxied any;
	gzip_http_version 1.0;
	gzip_types text/plain;
	server {
		listen @LISTEN@;
		root www;
		location /slow/ { limit_rate 100k; }
		location /dav/ { dav_methods PUT; }
	}
}
`}}
}

func findApache(t testing.TB) string { return tool(t, "apache2", "apache2-bin") }

// apache runs CGI scripts, the case of paper 000: one that takes its time in the middle of its
// reply, one that reads a body, and one that speaks HTTP itself and ends its reply by closing.
func apache() server {
	return server{name: "apache2", find: findApache,
		argv: func(t testing.TB, h *lab.Host) []string {
			return []string{findApache(t), "-d", h.Dir, "-f", "apache.conf", "-DFOREGROUND"}
		},
		conf: map[string]string{
			"apache.conf": `
ServerName ` + lab.AdvertisedIP + `
Listen @LISTEN@
DefaultRuntimeDir @DIR@/run
PidFile run/apache.pid
ErrorLog /dev/stderr
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
LoadModule cgid_module /usr/lib/apache2/modules/mod_cgid.so
ScriptSock cgid
LogFormat "%r" line
CustomLog access.log line
DocumentRoot @DIR@/www
ScriptAlias /cgi-bin/ @DIR@/cgi-bin/
`,
			"cgi-bin/slow": `#!/bin/sh
echo started >>@DIR@/started
printf 'Content-Type: text/plain\n\n'
part() { i=0; while [ $i -lt 1000 ]; do echo "$QUERY_STRING $1 $i"; i=$((i + 1)); done; }
part one
sleep 1
part two
`,
			"cgi-bin/digest": `#!/bin/sh
printf 'Content-Type: text/plain\n\n'
sleep 0.5
sha256sum
`,
			"cgi-bin/nph-close": `#!/bin/sh
printf 'HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n'
i=0; while [ $i -lt 1000 ]; do echo "$QUERY_STRING $i"; i=$((i + 1)); done
sleep 1
echo end
`,
		}}
}

func findGunicorn(t testing.TB) string { return tool(t, "gunicorn", "gunicorn") }

// gunicorn runs a small application that takes POSTs and replies in chunks.
func gunicorn() server {
	return server{name: "gunicorn", find: findGunicorn,
		argv: func(t testing.TB, h *lab.Host) []string {
			return []string{findGunicorn(t), "--bind", lab.Upstream, "--workers", "2", "--threads", "8",
				"--worker-tmp-dir", h.Dir, "--access-logfile", accessLog, "app:app"}
		},
		conf: map[string]string{"app.py": `
import hashlib
import time


def pieces(name, n):
    for i in range(n):
        time.sleep(0.01)
        yield (f"{name} {i}\n" * 100).encode()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if environ["REQUEST_METHOD"] == "POST" and path == "/digest":
        h, n = hashlib.sha256(), 0
        while data := environ["wsgi.input"].read(65536):
            h.update(data)
            n += len(data)
        time.sleep(0.5)
        reply = f"{n} {h.hexdigest()}\n".encode()
        start_response("201 Created", [("Content-Length", str(len(reply))), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return [reply]
    if path.startswith("/chunks/"):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return pieces(path, 100)
    start_response("204 No Content", [])
    return []
`}}
}
