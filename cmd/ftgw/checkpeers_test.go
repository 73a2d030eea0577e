package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestAnswerLine(t *testing.T) {
	for _, c := range []struct {
		skew time.Duration
		err  error
		want string
	}{
		{0, nil, "node b: answers\n"},
		{-9 * time.Second, nil, "node b: answers\n"},
		{time.Hour, nil, "node b: answers\nWARNING: the clock of node b is 1h0m0s ahead of this node's"},
		{-time.Hour, nil, "node b: answers\nWARNING: the clock of node b is 1h0m0s behind this node's"},
		{0, errors.New("not there"), "node b: not there\n"},
	} {
		if got := answerLine("b", c.skew, c.err); !strings.HasPrefix(got, c.want) {
			t.Errorf("%v, %v: %q, want %q", c.skew, c.err, got, c.want)
		}
	}
}
