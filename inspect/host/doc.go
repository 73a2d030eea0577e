// Package host reads facts about this host for package inspect: rights of this process, settings
// of the kernel and of network interfaces. It changes nothing.
package host
