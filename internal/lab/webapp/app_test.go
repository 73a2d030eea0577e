package webapp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab/webapp"
)

func TestBadRequests(t *testing.T) {
	j, err := webapp.OpenJournal("")
	if err != nil {
		t.Fatal(err)
	}
	h := webapp.Handler("a", j, "")
	for path, want := range map[string]int{
		"/bytes?size=-4":          400,
		"/bytes?size=x":           400,
		"/bytes?size=99999999999": 400,
		"/bytes?size=1&delay=x":   400,
		"/status/100":             400,
		"/status/none":            400,
		"/nothing":                404,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, http.NoBody))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}

func TestJournalOfAnotherMaking(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	if e, err := webapp.ReadJournal(path); err != nil || e != nil {
		t.Errorf("no file: %v, %v", e, err)
	}
	if err := os.WriteFile(path, []byte("{}\nnot json\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := webapp.ReadJournal(path); err == nil {
		t.Error("garbage was read")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := webapp.Run(ctx, webapp.Options{Listen: "127.0.0.1:0"}); err != nil {
		t.Error(err)
	}
	if err := webapp.Run(t.Context(), webapp.Options{Listen: "nonsense"}); err == nil {
		t.Error("listened on nonsense")
	}
}

// What is said to be alike is, on both hosts and in each execution, and nothing else.
func TestAlike(t *testing.T) {
	j, err := webapp.OpenJournal("")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(host string, alike webapp.Alike, method, path string) (body, head string) {
		w := httptest.NewRecorder()
		webapp.Handler(host, j, alike).ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader("what")))
		if w.Code != 200 {
			t.Errorf("%s %s: %d", method, path, w.Code)
		}
		return w.Body.String(), fmt.Sprint(w.Header())
	}
	for _, row := range []struct {
		alike      webapp.Alike
		path       string
		body, head bool // are the same
	}{
		{"", "GET /bytes?id=x&size=100", false, false},
		{webapp.AlikeBody, "GET /bytes?id=x&size=100", true, false},
		{webapp.AlikeReply, "GET /bytes?id=x&size=100", true, true},
		{webapp.AlikeReply, "GET /bytes?id=x&size=100&unlike=1", false, false},
		{webapp.AlikeBody, "POST /upload?id=x", true, false},
		{webapp.AlikeReply, "POST /upload?id=x", true, true},
	} {
		method, path, _ := strings.Cut(row.path, " ")
		bodyA, headA := ask("a", row.alike, method, path)
		bodyB, headB := ask("b", row.alike, method, path)
		if (bodyA == bodyB) != row.body || (headA == headB) != row.head {
			t.Errorf("%q %s:\n%s\n%s", row.alike, row.path, headA, headB)
		}
	}
	one, _ := ask("a", webapp.AlikeReply, "GET", "/bytes?id=x&size=100")
	if other, _ := ask("a", webapp.AlikeReply, "GET", "/bytes?id=y&size=100"); one == other {
		t.Error("two requests have one reply")
	}
	if err := webapp.Run(t.Context(), webapp.Options{Listen: "127.0.0.1:0", Alike: "twins"}); err == nil {
		t.Error("alike in an unheard way")
	}
}
