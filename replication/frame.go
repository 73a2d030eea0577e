package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// Version is the wire version this code speaks, and the only one it accepts.
	Version = 3
	// HeaderSize is the length of a frame's header in bytes.
	HeaderSize = 8
	// MaxFrame is the length of the longest frame in bytes, header included.
	MaxFrame = 64 << 10
	// MaxBody is the length of the longest body in bytes.
	MaxBody = MaxFrame - HeaderSize
)

// Type says what a frame's body holds; doc.go has the table.
type Type uint8

// The frame types.
const (
	TypeHello       Type = 1
	TypeHeartbeat   Type = 2
	TypeConfirm     Type = 3
	TypeStored      Type = 4
	TypeNote        Type = 5
	TypeEpoch       Type = 6
	TypeLeave       Type = 7
	TypeRecordBegin Type = 16
	TypeRecordPart  Type = 17
	TypeRecordEnd   Type = 18
	TypeRecordAbort Type = 19

	TypeGrantRequest Type = 32
	TypeGrantAnswer  Type = 33
	TypeNotice       Type = 34
	TypeSilence      Type = 35
)

var (
	// ErrFrame is a frame that breaks the format: garbage, too long, or out of its place.
	ErrFrame = errors.New("replication: malformed frame")
	// ErrVersion is a frame of another version; errors.As to *VersionError tells which.
	ErrVersion = errors.New("replication: other protocol version")
)

// VersionError is an ErrVersion that says what the peer speaks.
type VersionError struct{ Got uint8 }

// Error names both versions and the remedy.
func (e *VersionError) Error() string {
	return fmt.Sprintf("replication: peer speaks protocol version %d, this host %d: install the same ftgw release on both hosts", e.Got, Version)
}

// Is makes errors.Is(err, ErrVersion) true.
func (e *VersionError) Is(target error) bool { return target == ErrVersion }

// Frame is one frame as read. Body is valid until the Reader's next call.
type Frame struct {
	Type Type
	Body []byte
}

// Reader reads frames. It holds one buffer of at most MaxFrame bytes, whatever the peer
// claims. It is not safe for concurrent use.
type Reader struct {
	r   io.Reader
	hdr [HeaderSize]byte
	buf []byte
}

// NewReader returns a Reader on r. It reads no byte beyond the frames it was asked for.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next frame. It returns io.EOF at a frame boundary, io.ErrUnexpectedEOF
// inside a frame, ErrVersion or ErrFrame for a bad header, else the error of the source.
func (r *Reader) Next() (Frame, error) {
	if _, err := io.ReadFull(r.r, r.hdr[:]); err != nil {
		return Frame{}, err
	}
	if v := r.hdr[0]; v != Version {
		return Frame{}, &VersionError{Got: v}
	}
	if flags := binary.BigEndian.Uint16(r.hdr[2:]); flags != 0 {
		return Frame{}, fmt.Errorf("%w: flags %#04x", ErrFrame, flags)
	}
	n := binary.BigEndian.Uint32(r.hdr[4:])
	if n > MaxBody {
		return Frame{}, fmt.Errorf("%w: body of %d bytes, at most %d allowed", ErrFrame, n, MaxBody)
	}
	if int(n) > cap(r.buf) {
		r.buf = make([]byte, n, min(MaxBody, max(int(n)*2, 4096)))
	}
	body := r.buf[:n]
	if _, err := io.ReadFull(r.r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	return Frame{Type: Type(r.hdr[1]), Body: body}, nil
}

// begin appends a header whose length is still open; end closes it.
func begin(dst []byte, t Type) []byte {
	return append(dst, Version, byte(t), 0, 0, 0, 0, 0, 0)
}

// end writes the length of the frame that starts at dst[start].
func end(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start+4:], uint32(len(dst)-start-HeaderSize))
	return dst
}
