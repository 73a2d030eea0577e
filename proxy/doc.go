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
// Config.Mode has some requests protected otherwise: both hosts make the reply (same.go, behind.go), the
// peer gets its digests alone (deferred.go), or nobody protects it (stream.go). All of them keep both
// kernels at the same place of the stream.
//
// Bodies beyond a memory limit spill to unlinked files. Connections to the upstream are lent by
// Config.Connect, and each exchange that ended here is told to Config.Access.
//
// # Messages
//
// The executor is a gateway by RFC 9110 and RFC 9112. It reads requests by the grammar alone:
// whatever another reader may take otherwise (LF for CRLF, folded fields, two lengths, odd chunks)
// is answered by 400, and the connection ends. Replies of the upstream are read as leniently as
// the RFCs let a gateway, and written anew. A reply that is malformed or cut is a 502.
//
// What the RFCs leave open is decided so:
//
//   - limits: 414, 431, 413; slow heads and bodies: 408; who takes no reply is dropped (Config)
//   - CONNECT is answered by 501, TRACE by 405, OPTIONS with Max-Forwards 0 by 200
//   - an absolute https target is answered by 421, HTTP/1.2 and later by 505
//   - Expect: 100-continue is answered here; every other expectation by 417
//   - interim replies pass, except to HTTP/1.0; an Upgrade does not
//   - bodies are whole, so a length frames them in both directions, or one chunk with trailers;
//     trailers that frame, route or authenticate are dropped
//   - names that differ from one which is set here by an underscore are dropped (CGI)
//   - what the client says of itself in X-Forwarded-* and Forwarded is replaced (Forwarding)
//
// testdata/corpus has an example of each, and says where others decide otherwise.
package proxy
