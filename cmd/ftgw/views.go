// What a node says of its groups in gossip, so that one that is cut off from a session still
// learns who serves (DESIGN §5, evidence S).
package main

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ftgw/ftgw/membership"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/takeover"
)

// view is that a node serves in one group.
type view struct {
	ordinal uint64 // of the group, among config.Groups; equal on all nodes, whose digests are
	role    replication.Role
	epoch   takeover.Epoch
}

// viewsVersion is the first byte of marshalled views.
const viewsVersion = 1

// appendViews appends the version, then for each view the ordinal (uvarint), the role (a byte)
// and the epoch (uvarint). Views beyond membership.MaxExtra bytes are left out, for they are only
// one sign among others.
func appendViews(dst []byte, views []view) []byte {
	dst = append(dst, viewsVersion)
	for _, v := range views {
		with := binary.AppendUvarint(dst, v.ordinal)
		with = append(with, byte(v.role))
		with = binary.AppendUvarint(with, uint64(v.epoch))
		if len(with) > membership.MaxExtra {
			break
		}
		dst = with
	}
	return dst
}

var errViews = errors.New("views of a node: cut short")

// parseViews is the reverse. No bytes are no views: a witness has none.
func parseViews(b []byte) ([]view, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if b[0] != viewsVersion {
		return nil, fmt.Errorf("views of a node: version %d, this program knows %d (run the same one on all nodes)", b[0], viewsVersion)
	}
	var all []view
	for b = b[1:]; len(b) > 0; {
		ordinal, n := binary.Uvarint(b)
		if n <= 0 || len(b) == n {
			return nil, errViews
		}
		v := view{ordinal: ordinal, role: replication.Role(b[n])}
		b = b[n+1:]
		epoch, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errViews
		}
		v.epoch = takeover.Epoch(epoch)
		if v.epoch > maxEpoch {
			return nil, fmt.Errorf("views of a node: epoch %d is beyond all claims", epoch)
		}
		b = b[n:]
		all = append(all, v)
	}
	return all, nil
}

// views are those of this node.
func (n *node) views() []view {
	var all []view
	for _, g := range n.groups {
		st := g.dir.status.Load()
		switch st.Role {
		case takeover.Primary, takeover.Backup, takeover.Sole:
			all = append(all, view{uint64(g.ordinal), wireRole(st.Role), st.Epoch})
		}
	}
	return all
}

// epochIn returns the epoch at which a node serves in a group, 0 if it does not.
func epochIn(views []view, g *group) takeover.Epoch {
	for _, v := range views {
		if v.ordinal == uint64(g.ordinal) {
			return v.epoch
		}
	}
	return 0
}
