// Package drill plays failures on a real pair in a lab and judges what its clients saw. Each
// row of the failure tables of paper 000 is a Scenario; `ftgw drill` and the end-to-end tests
// run them.
//
// A scenario is played in rounds on one lab. Before a round every host runs and the pair is in
// duplex; captures stand. The scenario's Run makes traffic through Round.Client into
// Round.Report and injects its failure. Then the round is judged by its Rules: whole replies,
// no request executed again whose reply was stored (I4), one voice (I3), no reset, nothing
// acknowledged that the backup did not hold (I2).
//
// A new scenario is a value in the list of a file's own function, which All names.
package drill
