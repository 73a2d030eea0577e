package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

// The servers that this project did not write, as Debian packages them.

// tools are the programs that systems and sites need, and their packages.
var tools = map[string]string{"nginx": "nginx", "haproxy": "haproxy", "unshare": "util-linux"}

// find returns the path of a program.
func find(name string) (string, error) {
	for _, at := range []string{name, filepath.Join("/usr/sbin", name)} { // not on everybody's PATH
		if path, err := exec.LookPath(at); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed (on Debian, as root: apt-get install %s)", name, tools[name])
}

// need reports all programs that the cells need and that are not there.
func need(all []Cell) error {
	names := map[string]bool{}
	for _, c := range all {
		if c.Site != Dynamic {
			names["nginx"], names["unshare"] = true, true
		}
		if c.System == HAProxy {
			names["haproxy"] = true
		}
	}
	var errs []error
	for _, name := range []string{"nginx", "unshare", "haproxy"} {
		if names[name] {
			_, err := find(name)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func fileName(kb int) string { return fmt.Sprintf("%dk.bin", kb) }

// nginx serves files of these sizes, which are in memory after their first request. It writes no
// access log, nor does ftgw.
func nginx(h *lab.Host, at string, sizes []int) (*lab.Process, error) {
	program, err := find("nginx")
	if err != nil {
		return nil, err
	}
	unshare, err := find("unshare")
	if err != nil {
		return nil, err
	}
	err = errors.Join(os.MkdirAll(filepath.Join(h.Dir, "www"), 0o700), os.MkdirAll(filepath.Join(h.Dir, "run"), 0o700),
		os.WriteFile(filepath.Join(h.Dir, "nginx.conf"), []byte(strings.ReplaceAll(nginxConf, "@LISTEN@", at)), 0o600))
	for _, kb := range sizes {
		path := filepath.Join(h.Dir, "www", fileName(kb))
		body := make([]byte, kb<<10)
		for i := range body {
			body[i] = byte(i * 7919 >> 3)
		}
		made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) // the same on every host: it is part of the reply
		err = errors.Join(err, os.WriteFile(path, body, 0o600), os.Chtimes(path, made, made))
	}
	if err != nil {
		return nil, err
	}
	// Given root it would want to become another user, who may not exist in a user namespace.
	return h.Start("nginx", unshare, "--user", "--map-user=1000", "--map-group=1000", "--pid", "--kill-child", "--",
		program, "-e", "stderr", "-p", h.Dir, "-c", "nginx.conf")
}

const nginxConf = `
daemon off;
worker_processes 1;
pid run/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	default_type application/octet-stream;
	access_log off;
	client_body_temp_path run/body;
	proxy_temp_path run/proxy;
	fastcgi_temp_path run/fastcgi;
	uwsgi_temp_path run/uwsgi;
	scgi_temp_path run/scgi;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 1000000000;
	open_file_cache max=100;
	server {
		listen @LISTEN@;
		root www;
	}
}
`

// haproxy passes requests on to the host's web server.
func haproxy(h *lab.Host, at string) (*lab.Process, error) {
	program, err := find("haproxy")
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`global
	nbthread 1
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
listen web
	bind %s
	server nginx %s
`, at, lab.Upstream)
	path := filepath.Join(h.Dir, "haproxy.cfg")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return h.Start("haproxy", program, "-db", "-f", path)
}
