package state

import (
	"testing"
	"time"
)

func TestRates(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	at := func(s float64, delivered, stored, bytes, took uint64) *Status {
		return &Status{Started: start, At: start.Add(time.Duration(s * float64(time.Second))), Services: []Service{{Name: "shop",
			Exchanges:   ExchangeCounts{Delivered: delivered, Reexecuted: delivered},
			Replication: Replication{Stored: stored, StoredBytes: bytes, StoreTime: took}}}}
	}
	early, late := at(10, 100, 100, 1000, 5000), at(12, 150, 110, 5000, 25000)
	want := Rate{Exchanges: 25, Bytes: 2000, Store: 2 * time.Millisecond}
	if got := Rates(early, late); len(got) != 1 || got["shop"] != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := Rates(late, late); got != nil {
		t.Errorf("of no time: %+v", got)
	}
	late.Started = start.Add(time.Second)
	if got := Rates(early, late); got != nil {
		t.Errorf("of another process: %+v", got)
	}
	early.Services = nil
	if got := Rates(early, at(12, 1, 1, 1, 1)); len(got) != 0 {
		t.Errorf("of a new service: %+v", got)
	}
}
