package membership

import (
	"errors"
	"fmt"

	"github.com/hashicorp/memberlist"
)

// metaVersion is the first byte of a marshalled Meta. A later version may append fields;
// what it changes must not be read by this one.
const metaVersion = 2

const metaFixed = 1 + 16 // version, boot ID

// MaxExtra bounds Meta.Extra, in bytes: what memberlist allows for a node's metadata, so that it
// is gossiped in one datagram.
const MaxExtra = memberlist.MetaMaxSize - metaFixed

// BootID tells one run of a daemon from the next; random, made at each start.
type BootID [16]byte

// Meta is what a node says about itself to all others, all the time. The zero value is
// what a node says that has not started yet.
type Meta struct {
	Boot  BootID // of the daemon
	Extra []byte // for the caller, at most MaxExtra bytes; never changed once handed over
}

var errMetaShort = errors.New("node metadata is cut short")

// Marshal returns the bytes that are gossiped, or an error if Extra is too long.
func (m Meta) Marshal() ([]byte, error) {
	if len(m.Extra) > MaxExtra {
		return nil, fmt.Errorf("node metadata: extra part has %d bytes, at most %d fit", len(m.Extra), MaxExtra)
	}
	b := make([]byte, 0, metaFixed+len(m.Extra))
	b = append(b, metaVersion)
	b = append(b, m.Boot[:]...)
	return append(b, m.Extra...), nil
}

// ParseMeta reads what Marshal wrote. The result shares no memory with b.
func ParseMeta(b []byte) (Meta, error) {
	if len(b) == 0 {
		return Meta{}, errMetaShort
	}
	if b[0] != metaVersion {
		return Meta{}, fmt.Errorf("node metadata has version %d, this program reads %d: run the same version on every node", b[0], metaVersion)
	}
	if len(b) < metaFixed {
		return Meta{}, errMetaShort
	}
	if n := len(b) - metaFixed; n > MaxExtra {
		return Meta{}, fmt.Errorf("node metadata: extra part has %d bytes, at most %d are allowed", n, MaxExtra)
	}
	m := Meta{Boot: BootID(b[1:metaFixed])}
	if len(b) > metaFixed {
		m.Extra = append([]byte(nil), b[metaFixed:]...)
	}
	return m, nil
}

// leaving is the message that a node sends before it goes. It names the run that goes, so
// that one which arrives late cannot hit the next run.
type leaving struct {
	name string
	boot BootID
}

const leavingVersion = 1

func (l leaving) marshal() []byte {
	b := append([]byte{leavingVersion}, l.boot[:]...)
	return append(b, l.name...)
}

func parseLeaving(b []byte) (leaving, error) {
	if len(b) < 17 || b[0] != leavingVersion {
		return leaving{}, errors.New("message is no leave of a version this program reads")
	}
	return leaving{boot: BootID(b[1:17]), name: string(b[17:])}, nil
}
