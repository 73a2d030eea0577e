package config

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Route gives some requests another mode than Logged. It has one of Exact, Path and Suffix, which
// are compared with the request's path as the client wrote it: no escape is decoded, and what
// follows a '?' does not count. A path that a web server may take for another one, which has
// another route or none, has none.
type Route struct {
	Path    string   `toml:"path"`    // the path begins so; begins with '/'
	Exact   string   `toml:"exact"`   // the path is this; begins with '/'
	Suffix  string   `toml:"suffix"`  // the path ends so
	Methods []string `toml:"methods"` // only requests of these; empty: of any. HEAD is one of its own
	Mode    Mode     `toml:"mode"`
}

// Mode is how the replies of a route are protected (DESIGN §4).
type Mode string

// The modes.
const (
	Logged      Mode = "logged"      // no byte of a reply goes out before the peer has it
	Static      Mode = "static"      // as SyncStatic, but a reply goes out at once and is compared afterwards
	SyncStatic  Mode = "sync-static" // each host asks its own upstream; a reply goes out when the peer has the same
	Deferred    Mode = "deferred"    // of a long reply the peer gets digests, and executes the request only if it must go on with it
	Unprotected Mode = "unprotected" // passed through as it comes; the connection ends with its host
)

// Modes are all that there are, in the order in which they are shown. Nobody changes it.
var Modes = []Mode{Logged, SyncStatic, Static, Deferred, Unprotected}

// Route returns the route of a request and whether there is one. The longest text wins; of equal
// length an exact one before a path's beginning before its end, and one with methods before one
// without.
func (s Service) Route(method, path string) (best Route, found bool) {
	if i := s.RouteIndex(method, path); i >= 0 {
		return s.Routes[i], true
	}
	return Route{}, false
}

// RouteIndex returns the place of that route in Routes, -1 if there is none.
func (s Service) RouteIndex(method, path string) int {
	best := s.longest(method, path)
	if plain := resolved(path); best >= 0 && plain != path && s.longest(method, plain) != best {
		return -1
	}
	return best
}

// resolved returns the path as web servers take it that decode escapes and then leave out empty and dot
// segments (RFC 3986 §5.2.4), those with parameters, too. It is empty where the escapes are malformed.
func resolved(path string) string {
	if !strings.Contains(path, "%") && !strings.Contains(path, "/.") && !strings.Contains(path, "//") {
		return path
	}
	plain, err := url.PathUnescape(path)
	if err != nil {
		return ""
	}
	var kept []string
	directory := false // the last one names none of its files
	for s := range strings.SplitSeq(strings.TrimPrefix(plain, "/"), "/") {
		name, _, _ := strings.Cut(s, ";")
		directory = name == "" || name == "." || name == ".."
		switch {
		case !directory:
			kept = append(kept, s)
		case name == "..":
			kept = kept[:max(0, len(kept)-1)]
		}
	}
	if directory {
		kept = append(kept, "")
	}
	return "/" + strings.Join(kept, "/")
}

func (s Service) longest(method, path string) int {
	best := -1
	for i, r := range s.Routes {
		if r.matches(method, path) && (best < 0 || r.beats(s.Routes[best])) {
			best = i
		}
	}
	return best
}

// Mode returns the mode of a request: that of its route, else Logged.
func (s Service) Mode(method, path string) Mode {
	if r, found := s.Route(method, path); found {
		return r.Mode
	}
	return Logged
}

// HasMode reports whether any request of the service can have one of the modes.
func (s Service) HasMode(any ...Mode) bool {
	return slices.ContainsFunc(s.Routes, func(r Route) bool { return slices.Contains(any, r.Mode) })
}

func (r Route) matches(method, path string) bool {
	if len(r.Methods) > 0 && !slices.Contains(r.Methods, method) {
		return false
	}
	switch {
	case r.Exact != "":
		return path == r.Exact
	case r.Path != "":
		return strings.HasPrefix(path, r.Path)
	}
	return r.Suffix != "" && strings.HasSuffix(path, r.Suffix)
}

// beats reports whether r is the route of a request that o matches, too.
func (r Route) beats(o Route) bool { return r.compare(o) < 0 }

// compare orders routes: those that win come first. Equal ones have the same text.
func (r Route) compare(o Route) int {
	return cmp.Or(cmp.Compare(len(o.Text()), len(r.Text())), cmp.Compare(r.rank(), o.rank()), cmp.Compare(r.open(), o.open()))
}

// Text is what the path is compared with.
func (r Route) Text() string { return cmp.Or(r.Exact, r.Path, r.Suffix) }

func (r Route) rank() int {
	switch {
	case r.Exact != "":
		return 0
	case r.Path != "":
		return 1
	}
	return 2
}

// open is 1 for a route of all methods.
func (r Route) open() int {
	if len(r.Methods) == 0 {
		return 1
	}
	return 0
}

// String returns what the route matches, in the file's words.
func (r Route) String() string {
	text := fmt.Sprintf("%s = %q", r.key(), r.Text())
	if len(r.Methods) > 0 {
		text += fmt.Sprintf(", methods = [\"%s\"]", strings.Join(r.Methods, `", "`))
	}
	return text
}

// key is the key that holds the text.
func (r Route) key() string { return [...]string{"exact", "path", "suffix"}[r.rank()] }

func checkRoutes(f *findings, service string, s Service) {
	for i, r := range s.Routes {
		at := index(service+".route", i)
		checkText(f, at, r)
		checkMethods(f, at+".methods", r.Methods)
		for j, o := range s.Routes[:i] {
			if both, overlap := r.overlaps(o); overlap {
				f.add(at+"."+r.key(), "change one of them, or give them methods that differ",
					"%s%s is also that of %s", r.Text(), both, index(service+".route", j))
			}
		}
		var words []string
		for _, m := range Modes {
			words = append(words, string(m))
		}
		remedy := "write " + strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
		if !f.has(at+".mode") && !slices.Contains(Modes, r.Mode) {
			f.add(at+".mode", remedy, "%q is not a mode", r.Mode)
		}
	}
}

// checkText holds a route to one of its three texts.
func checkText(f *findings, at string, r Route) {
	set := 0
	for _, t := range []struct {
		key, text string
		rooted    bool
	}{{"path", r.Path, true}, {"exact", r.Exact, true}, {"suffix", r.Suffix, false}} {
		key := at + "." + t.key
		if f.has(key) {
			return // what was meant is not known
		}
		if t.text == "" {
			continue
		}
		switch set++; {
		case set > 1:
			f.add(key, "write a route for each", "a route has one of path, exact and suffix")
		case strings.ContainsAny(t.text, "?# "):
			f.add(key, "leave out what follows the path", "%q is more than a path", t.text)
		case t.rooted && t.text[0] != '/':
			f.add(key, `write it as in "/static/"`, "%q does not begin with /", t.text)
		}
	}
	if set == 0 {
		f.add(at+".path", `write path = "/static/", or exact, or suffix = ".css"`, "the route says nothing of the request's path")
	}
}

func checkMethods(f *findings, at string, methods []string) {
	for i, m := range methods {
		if key := index(at, i); !f.has(key) && !f.has(at) && (!isToken(m) || m != strings.ToUpper(m)) {
			f.add(key, `write it as in "GET"`, "%q is not a method", m)
		}
	}
}

// overlaps reports whether neither of two routes beats the other where both match; both says in
// which method.
func (r Route) overlaps(o Route) (both string, overlap bool) {
	if r.Text() == "" || r.rank() != o.rank() || r.Text() != o.Text() || r.open() != o.open() {
		return "", false
	}
	if r.open() == 1 {
		return "", true
	}
	for _, m := range r.Methods {
		if slices.Contains(o.Methods, m) {
			return " with " + m, true
		}
	}
	return "", false
}
