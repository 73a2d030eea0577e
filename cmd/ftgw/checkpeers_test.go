package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/inspect"
	"github.com/ftgw/ftgw/replication"
)

func TestAnswered(t *testing.T) {
	for _, c := range []struct {
		skew time.Duration
		err  error
		want string // the problem, or what is wrong with the clock
	}{
		{0, nil, ""},
		{-9 * time.Second, nil, ""},
		{time.Hour, nil, "1h0m0s ahead of this node's"},
		{-time.Hour, nil, "1h0m0s behind this node's"},
		{0, errors.New("not there"), "not there"},
	} {
		p := inspect.Peer{Name: "b"}
		answered(&p, replication.Hello{Wall: time.Now().Add(c.skew).UnixMilli()}, c.err)
		if got := p.Problem + p.Skewed; !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") || p.Refused {
			t.Errorf("%v, %v: %+v, want %q", c.skew, c.err, p, c.want)
		}
	}
}
