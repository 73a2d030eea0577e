// Package proxy is the HTTP/1.1 layer on the advertised address (DESIGN §4). Both hosts hold a
// kernel socket for the same client connection and run the same code over it:
//
//	             Accepted: Standby                     Accepted: Executor
//	                  │                                        │
//	                  ▼                                        ▼
//	┌──────────────────────────────┐  Promote, all   ┌───────────────────┐
//	│ standby                      │  stored replies │ executor          │
//	│ reader: client → held suffix ├────────────────►│ request, upstream,│
//	│ writer: stored → own socket  │  written        │ Store, write      │
//	└──────────────┬───────────────┘                 └─────────┬─────────┘
//	               │ a record that closes                      │ close record stored
//	               └──────────────► closing ◄──────────────────┘
//	                  shutdown(WR), drain, close
//
// The executor reads a whole request, asks the upstream, makes the whole reply as wire bytes,
// stores it on the backup as one record and only then writes it (invariant I1). The standby
// parses nothing: it keeps the client's bytes that no record has answered yet and writes what
// was stored. After a takeover it finishes the stored replies and goes on as executor over the
// held bytes and then the live socket, so that no request whose reply is stored is executed
// again (I4).
//
// Bodies beyond a memory limit spill to unlinked files.
package proxy
