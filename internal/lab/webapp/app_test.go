package webapp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab/webapp"
)

func TestBadRequests(t *testing.T) {
	j, err := webapp.OpenJournal("")
	if err != nil {
		t.Fatal(err)
	}
	h := webapp.Handler("a", j)
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
