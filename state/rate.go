package state

import "time"

// Rate is how fast a service worked between two statuses of its node.
type Rate struct {
	Exchanges float64       // that ended here, per second
	Bytes     float64       // of replies that the peer stored, per second
	Store     time.Duration // that a record took until the peer had stored it, on average; 0: there was none
}

// Rates returns that of each service of the later status, by name; none where the earlier one is of
// another process or not earlier.
func Rates(earlier, later *Status) map[string]Rate {
	seconds := later.At.Sub(earlier.At).Seconds()
	if seconds <= 0 || !earlier.Started.Equal(later.Started) {
		return nil
	}
	before := map[string]*Service{}
	for i := range earlier.Services {
		before[earlier.Services[i].Name] = &earlier.Services[i]
	}
	rates := map[string]Rate{}
	for _, v := range later.Services {
		b := before[v.Name]
		if b == nil {
			continue
		}
		r := Rate{Exchanges: float64(v.Exchanges.ended()-b.Exchanges.ended()) / seconds,
			Bytes: float64(v.Replication.StoredBytes-b.Replication.StoredBytes) / seconds}
		if n := v.Replication.Stored - b.Replication.Stored; n > 0 {
			r.Store = time.Duration((v.Replication.StoreTime-b.Replication.StoreTime)/n) * time.Microsecond
		}
		rates[v.Name] = r
	}
	return rates
}

// ended counts the exchanges that have ended here, one way or the other. Those that were executed
// again are among the delivered.
func (x *ExchangeCounts) ended() uint64 {
	return x.Delivered + x.Replayed + x.Moved + x.Unprotected + x.Failed
}
