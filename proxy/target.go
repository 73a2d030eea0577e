package proxy

import (
	"net/http"
	"strings"
)

// allowed goes with a 405.
const allowed = "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"

// route settles the request's host and the form of its target that the upstream gets: a path, or
// "*" (RFC 9112 §3.2).
func (r *request) route() error {
	hosts := 0
	for i := range r.header {
		if r.header[i].kind == kindHost {
			r.host = r.header[i].value
			hosts++
		}
	}
	switch {
	case hosts > 1, hosts == 0 && r.minor == 1:
		return bad("%d Host fields", hosts)
	case hosts == 1 && !isHost(r.host):
		return bad("malformed host")
	case r.method == http.MethodConnect:
		return &fault{status: http.StatusNotImplemented, why: "no tunnels here"}
	case r.method == http.MethodTrace:
		// It would show a client what was added for the upstream alone.
		return &fault{status: http.StatusMethodNotAllowed, why: "requests are not traced here", field: allowed}
	case r.target[0] == '/':
		return nil
	case r.target == "*" && r.method == http.MethodOptions:
		return nil
	}
	return r.absolute()
}

// absolute turns the absolute form into origin form. Its authority replaces the Host field,
// RFC 9112 §3.2.2.
func (r *request) absolute() error {
	scheme, rest, ok := strings.Cut(r.target, "://")
	secure := equalFold(scheme, "https")
	if !ok || !secure && !equalFold(scheme, "http") {
		return bad("malformed target")
	}
	if secure { // RFC 9110 §7.4
		return &fault{status: http.StatusMisdirectedRequest, why: "this connection is not secured"}
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	r.host, r.target = rest[:end], rest[end:]
	switch {
	case !isHost(r.host):
		return bad("malformed host")
	case r.target == "" && r.method == http.MethodOptions: // RFC 9112 §3.2.4
		r.target = "*"
	case r.target == "" || r.target[0] == '?':
		r.target = "/" + r.target
	}
	return nil
}
