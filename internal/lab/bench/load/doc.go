// Package load is the measuring client of `ftgw bench`: a program of its own in the client's
// namespace, so that what it costs can be told from what the hosts cost. It makes requests for one
// path, checks status and length of each reply, and measures.
//
// In a closed loop each connection has one request under way, as the clients of the papers had. At a
// fixed rate the times of the requests are set beforehand, and a reply's latency counts from the
// time that was set for its request: where the service stands still, the requests that pile up
// meanwhile count as late, which a client would hide that waits for each reply (coordinated omission).
package load
