// Package shim makes the links of a lab bad: frames are lost (Lose, by nftables), or repeated,
// overtaken, altered or late (Start, by a bump in a host's cable, for kernels without netem).
// All of it strikes on the wire, in front of every queue and rule of the hosts.
package shim
