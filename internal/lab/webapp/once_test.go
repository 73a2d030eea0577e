package webapp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ftgw/ftgw/internal/lab/webapp"
)

func ask(ctx context.Context, h http.Handler, key string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, "POST", "/order?id=x", http.NoBody)
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestOnce: two applications with one store execute each transaction once, however often and at
// whatever time they are asked.
func TestOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	var executed atomic.Int64
	var hosts []http.Handler
	for _, name := range []string{"a", "b"} {
		s, err := webapp.OpenStore(path)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, webapp.Once(s, name, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-By", name)
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, "order %d", executed.Add(1))
		})))
	}
	var wg sync.WaitGroup
	replies := make([]string, 40)
	for i := range replies {
		wg.Go(func() {
			w := ask(t.Context(), hosts[i%2], fmt.Sprint("key", i/4)) // each key twice on each host
			replies[i] = fmt.Sprint(w.Code, w.Header().Get("X-By"), w.Body)
		})
	}
	wg.Wait()
	for i, reply := range replies {
		if reply != replies[i/4*4] || reply[:3] != "201" {
			t.Errorf("request %d: %q, but %q", i, reply, replies[i/4*4])
		}
	}
	if n := executed.Load(); n != 10 {
		t.Errorf("%d executions of 10 transactions", n)
	}
	all, err := webapp.ReadStore(path)
	if err != nil || len(all) != 10 || all[0].ID != "x" {
		t.Errorf("%d in the store, %v", len(all), err)
	}
	ask(t.Context(), hosts[0], "")
	ask(t.Context(), hosts[0], "")
	if n := executed.Load(); n != 12 {
		t.Errorf("%d executions after two requests without a key", n)
	}
}

// TestOnceWithoutItsClient: what was cut off is not executed, and can be executed later.
func TestOnceWithoutItsClient(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := webapp.OpenStore(path)
	if err != nil {
		t.Fatal(err)
	}
	h := webapp.Once(s, "a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("done")) }))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	ask(gone, h, "key")
	if all, err := webapp.ReadStore(path); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if w := ask(t.Context(), h, "key"); w.Code != 200 || w.Body.String() != "done" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestStoreElsewhere(t *testing.T) {
	if _, err := webapp.OpenStore(filepath.Join(t.TempDir(), "no", "store")); err == nil {
		t.Error("a store without a directory")
	}
	if _, err := webapp.ReadStore(filepath.Join(t.TempDir(), "store")); err == nil {
		t.Error("no store was read")
	}
}
