package proxy

import "github.com/ftgw/ftgw/replication"

// Record describes one stored piece of a flow's output; its bytes travel beside it.
type Record = replication.Record
