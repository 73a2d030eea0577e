package proxy

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// held is the part of a client's stream that the standby has read and no record has answered
// yet. Offsets count from the stream's first byte. It is not safe for concurrent use.
//
// Invariant: trimmed bytes never come back; start <= end unless a record ran ahead of what was
// read, then start > end and arriving bytes are discarded up to start.
type held struct {
	depot      *depot
	start, end uint64 // [start, end) is held
	mem        []byte // holds [start, end) while disk is nil
	disk       *os.File
	diskBase   uint64 // offset in the stream of the file's first byte
	lease      lease
}

// Len returns how many bytes are held.
func (h *held) Len() uint64 {
	if h.start >= h.end {
		return 0
	}
	return h.end - h.start
}

// append takes the next bytes of the stream. After an error the suffix has a hole and the flow
// cannot be held any longer.
func (h *held) append(p []byte) error {
	skip := uint64(0)
	if h.start > h.end {
		skip = min(h.start-h.end, uint64(len(p)))
	}
	h.end += skip
	if p = p[skip:]; len(p) == 0 {
		return nil
	}
	if h.disk == nil && int64(len(h.mem)+len(p)) > h.depot.room() {
		f, err := h.depot.file()
		if err != nil {
			return err
		}
		h.disk, h.diskBase = f, h.start
		if _, err := f.WriteAt(h.mem, 0); err != nil {
			return h.depot.fail("write", err)
		}
		h.dropMemory()
	}
	if h.disk == nil {
		if h.mem == nil {
			h.mem = h.depot.pool.getSmall()
		}
		h.mem = append(h.mem, p...)
		h.lease.count(h.depot, h.mem)
	} else if _, err := h.disk.WriteAt(p, int64(h.end-h.diskBase)); err != nil {
		return h.depot.fail("write", err)
	}
	h.end += uint64(len(p))
	return nil
}

// trim forgets everything before offset to, which may lie beyond the end.
func (h *held) trim(to uint64) {
	if to <= h.start {
		return
	}
	gone := min(to-h.start, h.Len())
	h.start = to
	switch {
	case h.Len() == 0:
		h.free()
	case h.disk == nil:
		h.mem = h.mem[:copy(h.mem, h.mem[gone:])]
	default:
		// Only saves space: where the file system cannot, the file keeps its length.
		_ = unix.Fallocate(int(h.disk.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE,
			0, int64(h.start-h.diskBase))
	}
}

// readAt copies held bytes from offset off of the stream; io.EOF where none are held.
func (h *held) readAt(p []byte, off uint64) (int, error) {
	if off < h.start || off >= h.end {
		return 0, io.EOF
	}
	p = p[:min(uint64(len(p)), h.end-off)]
	if h.disk == nil {
		return copy(p, h.mem[off-h.start:]), nil
	}
	n, err := h.disk.ReadAt(p, int64(off-h.diskBase))
	if err != nil {
		err = h.depot.fail("read", err)
	}
	return n, err
}

// free gives back memory and file; the offsets stay.
func (h *held) free() {
	if h.disk != nil {
		h.depot.close(h.disk)
		h.disk = nil
	}
	h.dropMemory()
}

func (h *held) dropMemory() {
	h.depot.pool.put(h.mem)
	h.mem = nil
	h.lease.count(h.depot, nil)
}
