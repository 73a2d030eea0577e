package config

import (
	"net"
	"strings"
	"testing"
)

func TestSplitUpstream(t *testing.T) {
	for _, tt := range []struct{ text, network, address, wrong string }{
		{"127.0.0.1:8080", "tcp", "127.0.0.1:8080", ""},
		{"[::1]:8080", "tcp", "[::1]:8080", ""},
		{"[fe80::1%eth0]:80", "tcp", "[fe80::1%eth0]:80", ""},
		{"localhost:1", "tcp", "localhost:1", ""},
		{"app_1.internal.:65535", "tcp", "app_1.internal.:65535", ""},
		{"unix:/run/app.sock", "unix", "/run/app.sock", ""},
		{"/run/app.sock", "unix", "/run/app.sock", ""},
		{"unix:/run/my app", "unix", "/run/my app", ""},
		{"/" + strings.Repeat("a", 106), "unix", "/" + strings.Repeat("a", 106), ""},
		{"/" + strings.Repeat("a", 107), "", "", "108 bytes long"},
		{"unix:run/app.sock", "", "", "not an absolute path"},
		{"unix:", "", "", "not an absolute path"},
		{"unix:@app", "", "", "not an absolute path"},
		{"unix:unix:/run/app", "", "", "not an absolute path"},
		{"unix:/", "", "", "is a directory"},
		{"/run/", "", "", "is a directory"},
		{"/run/..", "", "", "is a directory"},
		{"/run/a\x00b", "", "", "control character"},
		{"", "", "", "not a host and a port"},
		{"nowhere", "", "", "not a host and a port"},
		{"::1:80", "", "", "not a host and a port"},
		{"localhost:0", "", "", "not a host and a port"},
		{"localhost:+80", "", "", "not a host and a port"},
		{"localhost:http", "", "", "not a host and a port"},
		{"localhost:65536", "", "", "not a host and a port"},
		{":80", "", "", "names no host"},
		{"a b:80", "", "", "names no host"},
		{"a\r\nb:80", "", "", "names no host"},
		{"[::g]:80", "", "", "names no host"},
		{"http://127.0.0.1:80", "", "", "not a host and a port"},
	} {
		network, address, err := SplitUpstream(tt.text)
		if network != tt.network || address != tt.address || (err == nil) != (tt.wrong == "") ||
			err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%q: %q %q %v", tt.text, network, address, err)
		}
	}
}

// FuzzSplitUpstream: what is accepted can be dialled as it is, and fits into a socket address.
func FuzzSplitUpstream(f *testing.F) {
	for _, seed := range []string{"127.0.0.1:8080", "[::1]:1", "unix:/run/app.sock", "/a", "unix:@a", "a:00080", ":", "/a/./..//", "[fe80::1%1]:2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		network, address, err := SplitUpstream(text)
		switch {
		case err != nil && network+address != "":
			t.Fatalf("%q and %q beside %v", network, address, err)
		case err != nil:
		case network == "unix" && (address[0] != '/' || len(address) > maxSocketPath || strings.ContainsRune(address, 0)):
			t.Fatalf("no path: %q", address)
		case network == "tcp":
			if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" || strings.ContainsAny(host, " \r\n\x00/") && !strings.Contains(host, "%") {
				t.Fatalf("no address: %q", address)
			}
		}
	})
}
