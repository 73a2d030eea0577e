package rewrite

import (
	"testing"
	"testing/quick"
)

func TestSeqProperties(t *testing.T) {
	const half = 1 << 31
	for name, property := range map[string]any{
		"there and back is identity": func(d Delta, s Seq) bool {
			return d.Local(d.Common(s)) == s && d.Common(d.Local(s)) == s
		},
		"a delta leads from local to common": func(common, local Seq) bool {
			return DeltaOf(common, local).Common(local) == common
		},
		"a delta keeps distances": func(d Delta, s Seq, n Size) bool {
			return d.Common(s.Add(n)).Since(d.Common(s)) == n
		},
		"the zero delta changes nothing": func(s Seq) bool {
			return Delta(0).Common(s) == s && Delta(0).Local(s) == s
		},
		"what is added is how far it is": func(s Seq, n Size) bool {
			return s.Add(n).Since(s) == n
		},
		"less than half the circle ahead is after": func(s Seq, n Size) bool {
			n %= half
			u := s.Add(n)
			return u.After(s) == (n > 0) && s.Before(u) == (n > 0) && !u.Before(s) && !s.After(u)
		},
		"later and earlier choose one each": func(s Seq, n Size) bool {
			u := s.Add(n % half)
			return s.Later(u) == u && u.Later(s) == u && s.Earlier(u) == s && u.Earlier(s) == s
		},
	} {
		if err := quick.Check(property, &quick.Config{MaxCount: 2000}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSeqAtTheWrap(t *testing.T) {
	const last = Seq(0xffffffff)
	if !last.Before(0) || !Seq(0).After(last) || last.Add(1) != 0 || Seq(0).Since(last) != 1 {
		t.Error("0 does not follow 2^32-1")
	}
}
