package rewrite

// flowReasonNames holds the names of the reasons from firstFlowReason on, in order.
var flowReasonNames = [...]string{}
