// Package hook runs operators' shell commands: bounded in time, with what they print bounded too,
// and, for a Queue, one after the other, so that nobody waits for them.
package hook
