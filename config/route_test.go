package config

import (
	"slices"
	"testing"
)

func TestLongestRouteWins(t *testing.T) {
	s := Service{Routes: []Route{
		{Suffix: ".css", Mode: Deferred},
		{Path: "/static/", Mode: Static},
		{Path: "/static/live/", Mode: Unprotected},
		{Suffix: "/live/a", Mode: Deferred},
		{Exact: "/live/a", Mode: Static},
		{Path: "/live/a", Mode: SyncStatic},
		{Path: "/api/", Mode: SyncStatic},
		{Path: "/api/", Methods: []string{"POST", "PUT"}, Mode: Logged},
		{Path: "/api/", Methods: []string{"HEAD"}, Mode: Unprotected},
		{Suffix: ".jpeg.", Methods: []string{"GET"}, Mode: Static},
	}}
	for _, tt := range []struct {
		method, path string
		want         Mode
	}{
		{"GET", "/", Logged},
		{"GET", "*", Logged},
		{"GET", "/static/a", Static},
		{"GET", "/static/live/b", Unprotected},
		{"GET", "/static/a.css", Static}, // the longer text
		{"GET", "/a.css", Deferred},      // a suffix
		{"GET", "/a.css/b", Logged},      // is the end
		{"GET", "/live/a", Static},       // exact first
		{"GET", "/live/ab", SyncStatic},  // then a path's beginning
		{"GET", "/x/live/a", Deferred},   // then its end
		{"GET", "/api/x", SyncStatic},    // of any method
		{"POST", "/api/x", Logged},       // methods first
		{"HEAD", "/api/x", Unprotected},  // each its own
		{"post", "/api/x", SyncStatic},   // RFC 9110 §9.1: the case counts
		{"GET", "/api%2Fx", Logged},      // as written
		{"POST", "/a.jpeg.", Logged},     // not of that method
		{"GET", "/api/a.jpeg.", Static},  // 6 bytes against 5
		{"PUT", "/static/live/.css", Unprotected},

		{"GET", "/static/../a", Logged}, // a web server may take these for others
		{"GET", "/static/%2e%2E/a", Logged},
		{"GET", "/static/..%2fa", Logged},
		{"GET", "/static/..;x=1/a", Logged},
		{"GET", "/static/b/../../a", Logged},
		{"GET", "/static/..", Logged},
		{"GET", "/static/%zz", Logged},
		{"GET", "/static//live/b", Logged},
		{"GET", "/static/%6cive/b", Logged},
		{"GET", "/x/../static/a", Logged},
		{"GET", "/static//a/./b/../c%20d", Static}, // these have the same route either way
		{"GET", "/static/a/..", Static},
		{"GET", "/static/%2e", Static},
		{"GET", "/static/..a/b...", Static},
	} {
		if got := s.Mode(tt.method, tt.path); got != tt.want {
			t.Errorf("%s %s is %s, want %s", tt.method, tt.path, got, tt.want)
		}
		slices.Reverse(s.Routes) // their order in the file says nothing
	}
	if s.HasMode("none") || !s.HasMode("none", Deferred) || (Service{}).HasMode(Logged) {
		t.Error("HasMode")
	}
}
