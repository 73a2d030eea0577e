package proxy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// errSpill marks a body that could not be kept; the cause (most often a full disk) is wrapped
// beside it.
var errSpill = errors.New("spill")

// depot makes spills and counts those that failed.
type depot struct {
	dir    string
	memory atomic.Int64 // bytes that one body keeps in memory
	budget int64        // bytes of all together, beyond which each keeps smallBuffer
	pool   pool
	used   atomic.Int64 // bytes of buffers lent to bodies
	failed atomic.Uint64
	files  atomic.Int64  // open now
	filed  atomic.Uint64 // bodies that were moved to a file
}

// room is how much of a body may be in memory now.
func (d *depot) room() int64 {
	if d.used.Load() > d.budget {
		return min(d.memory.Load(), smallBuffer)
	}
	return d.memory.Load()
}

// lease is a buffer that is part of the depot's budget.
type lease struct{ counted int }

// count is called whenever the buffer has become another, nil at the end.
func (l *lease) count(d *depot, b []byte) {
	if n := cap(b); n != l.counted {
		d.used.Add(int64(n - l.counted))
		l.counted = n
	}
}

func (d *depot) fail(op string, err error) error {
	d.failed.Add(1)
	return fmt.Errorf("%w: %s in %s (is the disk full?): %w", errSpill, op, d.dir, err)
}

// file returns an open file without a name in dir, which close closes.
func (d *depot) file() (*os.File, error) {
	f, err := d.open()
	if err == nil {
		d.files.Add(1)
		d.filed.Add(1)
	}
	return f, err
}

func (d *depot) close(f *os.File) {
	f.Close() // what is in it is not wanted any more
	d.files.Add(-1)
}

func (d *depot) open() (*os.File, error) {
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
// written, for many.
type spill struct {
	depot *depot
	mem   []byte
	disk  *os.File // when not nil it holds everything and mem is nil
	size  int64
	row   uint64 // of a stored reply: its ticket in the ledger
	lease lease
	freed atomic.Bool
}

func (d *depot) newSpill() *spill { return &spill{depot: d} }

// newPiece returns a spill for a piece of a long reply, if size bytes are about one: its buffer is
// as large from the start, and lent again afterwards.
func (d *depot) newPiece(size int64) *spill {
	s := d.newSpill()
	if size > largeBuffer && size <= pieceBuffer && size <= d.room() {
		s.mem = d.pool.getPiece()
		s.lease.count(d, s.mem)
	}
	return s
}

// Len returns how many bytes were written.
func (s *spill) Len() int64 { return s.size }

// release frees the body; nil has none, and a second call does nothing.
func (s *spill) release() {
	if s == nil || s.freed.Swap(true) {
		return
	}
	if s.disk != nil {
		s.depot.close(s.disk)
	}
	s.dropMemory()
}

func (s *spill) dropMemory() {
	s.depot.pool.put(s.mem)
	s.mem = nil
	s.lease.count(s.depot, nil)
}

// Write appends p. After an error the spill can only be released.
func (s *spill) Write(p []byte) (int, error) {
	if s.disk == nil && s.size+int64(len(p)) > s.depot.room() {
		if err := s.toDisk(); err != nil {
			return 0, err
		}
	}
	if s.disk == nil {
		if s.mem == nil {
			s.mem = s.depot.pool.getSmall()
		}
		s.mem = append(s.mem, p...)
		s.lease.count(s.depot, s.mem)
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
		s.depot.close(f)
		return s.depot.fail("write", err)
	}
	s.disk = f
	s.dropMemory()
	return nil
}

// ReadFrom appends all of r, straight into the buffer as long as that is in memory. Errors of
// the spill itself are errSpill, all others are r's.
func (s *spill) ReadFrom(r io.Reader) (int64, error) {
	start := s.size
	if s.mem == nil && s.disk == nil {
		s.mem = s.depot.pool.getSmall()
	}
	for s.disk == nil && int64(len(s.mem)) < s.depot.room() {
		if len(s.mem) == cap(s.mem) {
			if cap(s.mem) >= largeBuffer {
				break
			}
			s.mem = append(s.mem, make([]byte, cap(s.mem))...)[:len(s.mem)]
		}
		s.lease.count(s.depot, s.mem)
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
		n, err := 0, error(nil)
		for n < len(buf) && err == nil { // chunks may be of one octet each
			var k int
			k, err = r.Read(buf[n:])
			n += k
		}
		if _, err := s.Write(buf[:n]); err != nil {
			return s.size - start, err
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
