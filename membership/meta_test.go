package membership

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMeta(t *testing.T) {
	full := Meta{Boot: BootID{1, 2, 15: 9}, Extra: []byte("digest")}
	for _, tt := range []struct {
		name string
		meta Meta
	}{
		{"zero", Meta{}},
		{"full", full},
		{"largest extra part", Meta{Extra: bytes.Repeat([]byte{7}, MaxExtra)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := tt.meta.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseMeta(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.meta, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := (Meta{Extra: make([]byte, MaxExtra+1)}).Marshal(); err == nil {
		t.Error("too long an extra part was marshalled")
	}

	good, _ := full.Marshal()
	newer := append([]byte{metaVersion + 1}, good[1:]...)
	for _, tt := range []struct {
		name string
		data []byte
		says string
	}{
		{"empty", nil, "cut short"},
		{"cut", good[:metaFixed-1], "cut short"},
		{"another version", newer, "same version on every node"},
		{"too long", make([]byte, 1000), "version 0"},
		{"too long an extra part", append(good, make([]byte, MaxExtra)...), "at most"},
	} {
		if _, err := ParseMeta(tt.data); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.says)
		}
	}
}

func TestLeaving(t *testing.T) {
	want := leaving{name: "web-a", boot: BootID{3}}
	got, err := parseLeaving(want.marshal())
	if err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	for _, b := range [][]byte{nil, {leavingVersion}, append([]byte{9}, make([]byte, 30)...)} {
		if _, err := parseLeaving(b); err == nil {
			t.Errorf("%v was taken for a leave", b)
		}
	}
}

func TestNews(t *testing.T) {
	want := news{name: "web-a", meta: Meta{Boot: BootID{3}, Extra: []byte("x")}}
	b, err := want.marshal()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseNews(b); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, %v", got, err)
	}
	for n := range len(b) - len(want.meta.Extra) { // short of a whole boot ID
		if _, err := parseNews(b[:n]); err == nil {
			t.Errorf("%v was taken for news", b[:n])
		}
	}
	if _, err := (news{name: strings.Repeat("n", 256)}).marshal(); err == nil {
		t.Error("a name of 256 bytes was sent")
	}
}

func FuzzParseNews(f *testing.F) {
	b, _ := news{name: "a", meta: Meta{Boot: BootID{1}, Extra: []byte("x")}}.marshal()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseNews(b)
		if err != nil {
			return
		}
		if again, err := n.marshal(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x became %x, %v", b, again, err)
		}
	})
}

func FuzzParseMeta(f *testing.F) {
	b, _ := Meta{Boot: BootID{1}, Extra: []byte("x")}.Marshal()
	f.Add(b)
	f.Add([]byte{metaVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMeta(b)
		if err != nil {
			return
		}
		again, err := m.Marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x became %x, %v", b, again, err)
		}
	})
}
