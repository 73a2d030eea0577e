package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/ftgw/ftgw/membership"
	"github.com/ftgw/ftgw/replication"
)

// What a node says of its groups comes back whole, or not at all.
func TestViews(t *testing.T) {
	for _, want := range [][]view{
		nil,
		{{0, replication.RolePrimary, 1}},
		{{0, replication.RoleBackup, 0}, {300, replication.RoleSole, maxEpoch}},
	} {
		got, err := parseViews(appendViews(nil, want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %v, %v", want, got, err)
		}
	}
	for _, bad := range []string{"\x02", "\x01\x00", "\x01\x00\x03", "\x01\x80", "\x01\x00\x03\x80", "\x01\x00\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if v, err := parseViews([]byte(bad)); err == nil || !strings.Contains(err.Error(), "views of a node") {
			t.Errorf("%q: %v, %v", bad, v, err)
		}
	}
}

// Too many groups for one datagram: the first ones are said.
func TestViewsFitIntoGossip(t *testing.T) {
	many := make([]view, 200)
	for i := range many {
		many[i] = view{uint64(i), replication.RoleSole, maxEpoch}
	}
	b := appendViews(nil, many)
	if got, err := parseViews(b); err != nil || len(b) > membership.MaxExtra || len(got) < 20 || !reflect.DeepEqual(got, many[:len(got)]) {
		t.Errorf("%d bytes, %d views, %v", len(b), len(got), err)
	}
}

func FuzzViews(f *testing.F) {
	f.Add([]byte("\x01\x00\x03\x07"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseViews(b)
		if err != nil || len(b) > membership.MaxExtra {
			return
		}
		again, err := parseViews(appendViews(nil, v))
		if err != nil || len(again) != len(v) {
			t.Errorf("%v, then %v, %v", v, again, err)
		}
	})
}
