package proxy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// errSpill marks a body that could not be kept; the cause (most often a full disk) is wrapped
// beside it.
var errSpill = errors.New("spill")

// depot makes spills and counts those that failed.
type depot struct {
	dir    string
	memory int64
	pool   pool
	failed atomic.Uint64
}

func (d *depot) fail(op string, err error) error {
	d.failed.Add(1)
	return fmt.Errorf("%w: %s in %s (is the disk full?): %w", errSpill, op, d.dir, err)
}

// file returns an open file without a name in dir.
func (d *depot) file() (*os.File, error) {
	fd, err := unix.Open(d.dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), d.dir+"/(spill)"), nil
	}
	f, err := os.CreateTemp(d.dir, "ftgw-spill-*")
	if err != nil {
		return nil, d.fail("create", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, d.fail("unlink", err)
	}
	return f, nil
}

// spill is a body: written once from front to end, in memory up to the depot's limit and in an
// unlinked file beyond, then read at any offset. Writing is for one goroutine; reading, once
// written, for many. It is counted: the last release frees it.
type spill struct {
	depot *depot
	mem   []byte
	disk  *os.File // when not nil it holds everything and mem is nil
	size  int64
	row   uint64 // of a stored reply: its ticket in the ledger
	refs  atomic.Int32
}

func (d *depot) newSpill() *spill {
	s := &spill{depot: d}
	s.refs.Store(1)
	return s
}

// Len returns how many bytes were written.
func (s *spill) Len() int64 { return s.size }

func (s *spill) retain() { s.refs.Add(1) }

func (s *spill) release() {
	if s == nil || s.refs.Add(-1) != 0 {
		return
	}
	if s.disk != nil {
		s.disk.Close()
	}
	if s.mem != nil {
		s.depot.pool.putSmall(s.mem)
		s.mem = nil
	}
}

// Write appends p. After an error the spill can only be released.
func (s *spill) Write(p []byte) (int, error) {
	if s.disk == nil && s.size+int64(len(p)) > s.depot.memory {
		if err := s.toDisk(); err != nil {
			return 0, err
		}
	}
	if s.disk == nil {
		if s.mem == nil {
			s.mem = s.depot.pool.getSmall()
		}
		s.mem = append(s.mem, p...)
		s.size += int64(len(p))
		return len(p), nil
	}
	n, err := s.disk.WriteAt(p, s.size)
	s.size += int64(n)
	if err != nil {
		return n, s.depot.fail("write", err)
	}
	return n, nil
}

func (s *spill) toDisk() error {
	f, err := s.depot.file()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(s.mem, 0); err != nil {
		f.Close()
		return s.depot.fail("write", err)
	}
	s.disk = f
	if s.mem != nil {
		s.depot.pool.putSmall(s.mem)
		s.mem = nil
	}
	return nil
}

// ReadFrom appends all of r, straight into the buffer as long as that is in memory. Errors of
// the spill itself are errSpill, all others are r's.
func (s *spill) ReadFrom(r io.Reader) (int64, error) {
	start := s.size
	if s.mem == nil && s.disk == nil {
		s.mem = s.depot.pool.getSmall()
	}
	for s.disk == nil && int64(len(s.mem)) < s.depot.memory && cap(s.mem) < largeBuffer {
		if len(s.mem) == cap(s.mem) {
			s.mem = append(s.mem, make([]byte, cap(s.mem))...)[:len(s.mem)]
		}
		n, err := r.Read(s.mem[len(s.mem):cap(s.mem)])
		s.mem = s.mem[:len(s.mem)+n]
		s.size += int64(n)
		if err == io.EOF {
			return s.size - start, nil
		}
		if err != nil {
			return s.size - start, err
		}
	}
	buf := s.depot.pool.getLarge()
	defer s.depot.pool.putLarge(buf)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := s.Write(buf[:n]); err != nil {
				return s.size - start, err
			}
		}
		if err == io.EOF {
			return s.size - start, nil
		}
		if err != nil {
			return s.size - start, err
		}
	}
}

// ReadAt implements io.ReaderAt.
func (s *spill) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.size {
		return 0, io.EOF
	}
	if s.disk != nil {
		return s.disk.ReadAt(p[:min(int64(len(p)), s.size-off)], off)
	}
	n := copy(p, s.mem[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// writeTo writes everything to w, by sendfile where w is a TCP connection and the body on
// disk. One caller at a time: it moves the file's offset.
func (s *spill) writeTo(w io.Writer) error {
	if s.disk == nil {
		_, err := w.Write(s.mem)
		return err
	}
	if _, err := s.disk.Seek(0, io.SeekStart); err != nil {
		return s.depot.fail("seek", err)
	}
	n, err := io.Copy(w, io.LimitReader(s.disk, s.size))
	if err == nil && n != s.size {
		err = s.depot.fail("read", io.ErrUnexpectedEOF)
	}
	return err
}

// reader returns the body from the front as a request body, which holds a reference until it
// is closed.
func (s *spill) reader() io.ReadCloser {
	s.retain()
	return &spillReader{spill: s}
}

// spillReader may be closed while it is read: the transport does so when a round trip is
// cancelled, and the buffer must not be lent again before the read has ended.
type spillReader struct {
	mu     sync.Mutex
	spill  *spill // nil once closed
	offset int64
}

func (r *spillReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.spill == nil {
		return 0, os.ErrClosed
	}
	n, err := r.spill.ReadAt(p, r.offset)
	r.offset += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// Close releases the body. Calling it again does nothing.
func (r *spillReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spill.release()
	r.spill = nil
	return nil
}
