// Package rewrite decides what becomes of each packet of an advertised address. It holds the
// packet views, the two sequence spaces of every connection and the flow table, and knows no
// socket, clock or goroutine: time and packets are handed in, verdicts handed out.
package rewrite
