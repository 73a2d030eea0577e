// Package accesslog writes one line for each exchange that a client saw: in the formats that
// every web server's log has, and with what ftgw knows of it besides.
//
// Lines are ASCII without control characters whatever a client sends, so that no log viewer
// can be made to show a line that was never written, or a terminal to obey one. A Writer never
// makes a reply wait for the disk: when that is slow, lines are dropped and counted.
//
// A line has the request's target with its query and the fields Referer and User-Agent, which
// may hold what users take for private. It has no other field's value, and nothing of bodies.
package accesslog
