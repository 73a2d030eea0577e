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

// The first byte of a message.
const (
	leavingVersion = 1
	newsVersion    = 2
)

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

// news is a node's metadata in a message of its own. Whoever has kept one may send it again.
type news struct {
	name string // at most 255 bytes
	meta Meta
}

func (n news) marshal() ([]byte, error) {
	meta, err := n.meta.Marshal()
	if err == nil && len(n.name) > 255 {
		err = errors.New("the node's name is longer than 255 bytes")
	}
	if err != nil {
		return nil, err
	}
	b := append([]byte{newsVersion, byte(len(n.name))}, n.name...)
	return append(b, meta...), nil
}

func parseNews(b []byte) (news, error) {
	if len(b) < 2 || b[0] != newsVersion || len(b) < 2+int(b[1]) {
		return news{}, errors.New("message is no news of a version this program reads")
	}
	at := 2 + int(b[1])
	meta, err := ParseMeta(b[at:])
	return news{string(b[2:at]), meta}, err
}
