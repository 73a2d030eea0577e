package proxy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// entry is one entry of the corpus; testdata/corpus/README.md explains the form.
type entry struct {
	at, title    string
	cfg          Config
	client       string
	clientCloses bool
	replies      []scripted
	sees, gets   []message
	keep         bool          // the connection lasts
	patient      time.Duration // longest silence of the upstream; 0: any that matters
}

// scripted is one reply of the upstream.
type scripted struct {
	raw    string
	closes bool
}

// message is what is expected of one, or of nothing.
type message struct {
	first  string // the request line, or the status
	fields []string
	body   *string
	bare   bool // the reply ends with its head, whatever that says
}

func corpus(t testing.TB) []entry {
	t.Helper()
	files, err := filepath.Glob("testdata/corpus/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus", err)
	}
	var all []entry
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := parseCorpus(filepath.Base(name), string(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, entries...)
	}
	titles := map[string]string{}
	for _, e := range all {
		if before, ok := titles[e.title]; ok {
			t.Errorf("%s and %s have one title: %s", before, e.at, e.title)
		}
		titles[e.title] = e.at
	}
	return all
}

func parseCorpus(file, text string) (all []entry, err error) {
	var e *entry
	var raw *string  // what lines with a bar add to
	var msg *message // what indented lines add to
	for i, line := range strings.Split(text, "\n") {
		fail := func(why string) ([]entry, error) {
			return nil, fmt.Errorf("%s:%d: %s: %q", file, i+1, why, line)
		}
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case strings.HasPrefix(line, "=== "):
			all = append(all, entry{at: fmt.Sprintf("%s:%d", file, i+1), title: line[4:]})
			e, raw, msg = &all[len(all)-1], nil, nil
		case strings.TrimSpace(line) == "" || line[0] == '#' || key == "note":
		case e == nil:
			return fail("not in an entry")
		case line[0] == '|' && raw != nil:
			s, err := unescape(strings.TrimPrefix(strings.TrimPrefix(line, "|"), " "))
			if err != nil {
				return fail(err.Error())
			}
			*raw += s
		case strings.HasPrefix(line, "  ") && msg != nil:
			if err := msg.expect(strings.TrimSpace(line)); err != nil {
				return fail(err.Error())
			}
		case key == "set":
			for part := range strings.FieldsSeq(value) {
				if value, ok := strings.CutPrefix(part, "ResponseTimeout="); ok {
					e.patient, _ = time.ParseDuration(value)
				} else if err := e.cfg.set(part); err != nil {
					return fail(err.Error())
				}
			}
		case key == "client" || key == "client, then closes":
			raw, e.clientCloses = &e.client, key != "client"
		case key == "reply" || key == "reply, then closes":
			e.replies = append(e.replies, scripted{closes: key != "reply"})
			raw = &e.replies[len(e.replies)-1].raw
		case key == "sees" && value == "nothing":
		case key == "sees":
			first, err := unescape(value)
			if err != nil {
				return fail(err.Error())
			}
			e.sees = append(e.sees, message{first: first})
			msg = &e.sees[len(e.sees)-1]
		case key == "gets":
			status, end, _ := strings.Cut(value, " ")
			if e.keep = end == "keep"; end != "" && end != "keep" && end != "close" {
				return fail("keep or close")
			}
			if status != "nothing" {
				e.gets = append(e.gets, message{first: status})
				msg = &e.gets[len(e.gets)-1]
			}
		default:
			return fail("not understood")
		}
	}
	return all, nil
}

func (m *message) expect(line string) error {
	switch {
	case line == "no body":
		m.bare = true
	case strings.HasPrefix(line, "body:"):
		s, err := unescape(strings.TrimPrefix(line[5:], " "))
		m.body = &s
		return err
	case !strings.HasPrefix(line, "!") && !strings.Contains(line, ":"):
		return fmt.Errorf("no expectation")
	default:
		s, err := unescape(line)
		m.fields = append(m.fields, s)
		return err
	}
	return nil
}

var repeated = regexp.MustCompile(`\\\{([^}]*)\*(\d+)\}`)

// unescape reads Go's escapes and \{text*n}, which is text n times.
func unescape(s string) (string, error) {
	s = repeated.ReplaceAllStringFunc(s, func(m string) string {
		part := repeated.FindStringSubmatch(m)
		n, _ := strconv.Atoi(part[2])
		return strings.Repeat(part[1], n)
	})
	return strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
}

// set applies one setting of an entry.
func (c *Config) set(part string) error {
	name, value, _ := strings.Cut(part, "=")
	n, _ := strconv.Atoi(value)
	d, _ := time.ParseDuration(value)
	way, _ := ParseForward(value)
	switch name {
	case "MaxLine":
		c.MaxLine = n
	case "MaxHeader":
		c.MaxHeader = n
	case "MaxFields":
		c.MaxFields = n
	case "MaxBody":
		c.MaxBody = int64(n)
	case "BodyRate":
		c.BodyRate = int64(n)
	case "Via":
		c.Via = value
	case "HeaderTimeout":
		c.HeaderTimeout = d
	case "BodyTimeout":
		c.BodyTimeout = d
	case "IdleTimeout":
		c.IdleTimeout = d
	case "For":
		c.Forwarding.For = way
	case "Proto":
		c.Forwarding.Proto = way
	case "Host":
		c.Forwarding.Host = way
	case "Forwarded":
		c.Forwarding.Forwarded = way
	default:
		return fmt.Errorf("no setting %s", name)
	}
	return nil
}
