package main

import "testing"

func TestShareOfFiles(t *testing.T) {
	for _, c := range []struct {
		files           uint64
		flows, upstream int
		bad             bool
	}{
		{0, 0, 0, true}, {511, 0, 0, true}, {512, 171, 85, false}, {1024, 512, 256, false},
		{20000, 15648, 4096, false}, {1 << 63, 1<<31 - 4096, 4096, false},
	} {
		flows, upstream, err := share(c.files)
		if flows != c.flows || upstream != c.upstream || (err != nil) != c.bad {
			t.Errorf("%d files: %d and %d, %v", c.files, flows, upstream, err)
		}
	}
}
