// Package bench reproduces the experiments of the two papers in the lab, side by side in one run:
// ftgw in its modes, the same web server alone, and others' proxies.
//
// A measurement is a Cell: a load on a system on a site. Figures say which cells they need and
// make tables, plots and ratios of them; they are pure. Running goes round by round: in each every
// system is set up anew, in another order, and all its loads are played, so that what drifts on the
// machine hits all alike. Ratios are taken within a round, and of all rounds the median and the
// extremes are given.
//
// Each host's processes have a processor of their own, where its packets are received as well. The
// client and the router, which are no part of a host, have the processors that are left; on a
// machine of two they share those of the hosts, and what the client takes is measured and told.
package bench
