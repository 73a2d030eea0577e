package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// SplitUpstream reads the way to a web server as the key upstream has it: "host:port" with a
// port in figures, "unix:/path" or only "/path". It returns what package net calls network
// (tcp or unix) and address. A host name is not looked up here. The error does not name text.
func SplitUpstream(text string) (network, address string, err error) {
	if name, unix := strings.CutPrefix(text, "unix:"); unix || strings.HasPrefix(text, "/") {
		if err := checkSocketPath(name); err != nil {
			return "", "", err
		}
		return "unix", name, nil
	}
	host, p, err := net.SplitHostPort(text)
	n, bad := strconv.ParseUint(p, 10, 16)
	if err != nil || bad != nil || n == 0 || strings.HasPrefix(p, "+") {
		return "", "", errors.New("is not a host and a port")
	}
	if _, err := netip.ParseAddr(host); err != nil && !isHostName(host) {
		return "", "", errors.New("names no host")
	}
	return "tcp", text, nil
}

func checkSocketPath(name string) error {
	switch {
	case !strings.HasPrefix(name, "/"):
		return errors.New("is not an absolute path")
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("has a control character")
	case slices.Contains([]string{"", ".", ".."}, name[strings.LastIndexByte(name, '/')+1:]):
		return errors.New("is a directory")
	case len(name) > maxSocketPath:
		return fmt.Errorf("is %d bytes long, a socket's path may have %d", len(name), maxSocketPath)
	}
	return nil
}

// isHostName accepts what a resolver can be asked for, underscores too (RFC 1123 §2.1, RFC 2181 §11).
func isHostName(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r))
	})
}

// checkUpstream refuses what cannot be dialled.
func checkUpstream(f *findings, at string, s Service) {
	const remedy = `write it as in "127.0.0.1:8080" or "unix:/run/app.sock"`
	if f.has(at) {
		return
	}
	if s.Upstream == "" {
		f.add(at, remedy, "the web server's address is missing")
		return
	}
	_, address, err := SplitUpstream(s.Upstream)
	switch {
	case err != nil:
		f.add(at, remedy, "%q %s", s.Upstream, err)
	case address == s.Advertised.String():
		f.add(at, "name the local web server instead", "%s is the advertised address itself", s.Upstream)
	}
}
