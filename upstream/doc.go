// Package upstream is the way to one local web server: its Address, a Pool of keep-alive
// connections to it, and a Health that asks it now and then whether it is well. It knows
// connections and no HTTP beyond the health check's own request.
//
// # Connections
//
//	        Get                    Put
//	idle ─────────► lent to one ─────────► idle, for IdleTime at most
//	                exchange at a time
//	                    │ Discard, or Put of one that cannot be used again
//	                    ▼
//	                  closed
//
// An idle connection is looked at once more before it is lent, without blocking and without
// reading: one on which the server has sent its FIN, or bytes that nobody asked for, is closed
// instead. What remains is the race of RFC 9112 §9.3.1: the server closes the connection while
// the request is on its way. Conn.MayRetry says when the request may be sent again.
package upstream
