package webapp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Store stands for the database of both applications: a file that both reach, to which one line
// is appended for each transaction that was executed. Safe for concurrent use, by several
// processes too.
type Store struct {
	path string

	mu   sync.Mutex
	done map[string]Done
	read int64 // bytes of the file that done has
}

// Done is one executed transaction with its reply. The line that holds it is the commit: without
// it the execution never was.
type Done struct {
	Key    string      `json:"key"`
	Host   string      `json:"host"`
	ID     string      `json:"id"` // of the request
	Tried  string      `json:"attempt,omitempty"`
	Status int         `json:"status"`
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"`
}

// OpenStore returns the store in a file, which is made if it is not there.
func OpenStore(path string) (*Store, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return &Store{path: path, done: make(map[string]Done)}, f.Close()
}

// Once has next execute each transaction once: a request whose Idempotency-Key is in the store
// gets the reply that is there, whichever host executed it. The store is locked for the key
// from the look-up to the commit, so that of two executions at the same time one waits for the
// other; the kernel frees the lock of a process that dies, as a database rolls back. What next
// does but reply must happen in the commit, or not matter when it happens twice.
func Once(s *Store, host string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		if key == "" {
			next.ServeHTTP(w, r)
			return
		}
		f, err := s.lock(key)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer f.Close() // unlocks
		d, found, err := s.find(key)
		if err == nil && !found {
			answer := recorder{header: make(http.Header)}
			next.ServeHTTP(&answer, r)
			if err = r.Context().Err(); err == nil { // else nobody waits: not executed
				d = Done{key, host, r.URL.Query().Get("id"), r.Header.Get("Ftgw-Attempt"), answer.code(), answer.header, answer.body.Bytes()}
				err = commit(f, d)
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		for name, values := range d.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(d.Status)
		w.Write(d.Body) // fails only when the asker has gone
	})
}

// lock opens the file and locks it for one key. Closing it unlocks.
func (s *Store) lock(key string) (*os.File, error) {
	f, err := os.OpenFile(s.path, os.O_APPEND|os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("lock transaction: %w", err)
	}
	sum := fnv.New64a()
	sum.Write([]byte(key)) // cannot fail
	at := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(sum.Sum64() >> 2), Len: 1}
	for {
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLKW, &at) // bytes need not exist to be locked
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock transaction: %w", err)
	}
	return f, nil
}

// find looks a key up, after it has read what was appended since the last time.
func (s *Store) find(key string) (Done, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, n, err := readStore(s.path, s.read)
	if err != nil {
		return Done{}, false, err
	}
	for _, d := range all {
		s.done[d.Key] = d
	}
	s.read += n
	d, ok := s.done[key]
	return d, ok, nil
}

// commit appends by one write, as a Journal does.
func commit(f *os.File, d Done) error {
	line, err := json.Marshal(d)
	if err == nil {
		_, err = f.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("commit transaction: %w", err)
	}
	return nil
}

// ReadStore returns the executed transactions of a store, in the order of their commits.
func ReadStore(path string) ([]Done, error) {
	all, _, err := readStore(path, 0)
	return all, err
}

func readStore(path string, from int64) (all []Done, n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("read store: %w", err)
	}
	defer f.Close()
	i, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("read store: %w", err)
	}
	text := make([]byte, max(0, i.Size()-from))
	if _, err := f.ReadAt(text, from); err != nil {
		return nil, 0, fmt.Errorf("read store: %w", err)
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1] // a line that is being written is no commit yet
	for line := range bytes.Lines(text) {
		var d Done
		if err := json.Unmarshal(line, &d); err != nil {
			return nil, 0, fmt.Errorf("read store %s: %w", path, err)
		}
		all = append(all, d)
	}
	return all, int64(len(text)), nil
}

// recorder keeps a reply instead of sending it. Interim replies are left out.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *recorder) Flush()                      {}

func (r *recorder) WriteHeader(code int) {
	if r.status == 0 && code >= http.StatusOK {
		r.status = code
	}
}

func (r *recorder) code() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}
