package drill

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

// Setting is how the pair of a drill is configured. The zero value is one service on one address,
// all of whose replies are logged.
type Setting struct {
	Mode config.Mode // of every request's route; empty: Logged
	// DualRole has two services on two addresses, and each host primary of one and backup of the
	// other (paper 004, §III.A). The clients use both addresses in turn, a fault hits a host.
	DualRole bool
}

// promise is what is kept in a mode, as far as it is not the same in all of them: I2, I3 and that
// every client gets its whole and right reply on its connection.
type promise struct {
	// alike is what the mode asks of the two web servers.
	alike webapp.Alike
	// mirrored is that the backup's web server executes each request as well, as attempt 1.
	mirrored bool
	// unlogged are the replies that go out though the backup does not have them (no I1): a request may
	// be executed again whose reply is partly or wholly out (no I4), and where that fails the
	// connection ends. Nobody can tell from outside, since the second reply is the same. nil: none.
	unlogged func(client.Result) bool
	// begun is that a reply has begun to go out before its end was made, so that it is short where
	// the web server fails within it. nil: none has.
	begun func(length int64, chunked bool) bool
	// rows are the rows of Table 2 that end otherwise than in mode logged, or have another phase.
	rows map[string]otherwise
	// never are the scenarios that do not occur, by name, with the reason.
	never map[string]string
}

// otherwise is how a row of Table 2 differs in a mode.
type otherwise struct {
	phase func(Phase) bool // nil: the same
	ends  []Outcome        // nil: the same
}

const (
	likeness     = "table2/primary-likeness-unanswered"
	noLikeness   = "in this mode the backup makes no reply of its own that could be compared"
	noParts      = "in this mode no part of a reply goes to the backup"
	neverWhole   = "in this mode a long reply is not made whole before it goes out"
	storedBehind = "in this mode a reply does not wait until the backup has it"
)

// promises is what each mode promises (DESIGN §4, "Modes per route").
var promises = map[config.Mode]promise{
	config.Logged: {
		never: map[string]string{likeness: noLikeness},
	},
	// No reply goes out before the backup has the same one, so all of I1 to I4 holds, whatever the web
	// servers do: their replies have other heads here, and on some connections other bodies.
	config.SyncStatic: {
		alike: webapp.AlikeBody, mirrored: true,
		never: map[string]string{"table2/primary-reply-partly-stored": noParts},
	},
	// The operator promises that both replies are the same, and what the backup does not have yet it
	// makes again.
	config.Static: {
		alike: webapp.AlikeReply, mirrored: true, unlogged: func(client.Result) bool { return true },
		rows: map[string]otherwise{
			"backup-reply-stored":         {phase: Phase.known},
			"primary-likeness-unanswered": {phase: Phase.known},
			"primary-reply-stored-unseen": {phase: Phase.known},
			"primary-reply-partly-sent":   {ends: []Outcome{Replayed, Reexecuted}},
		},
		never: map[string]string{"table2/primary-reply-partly-stored": noParts, "table2/primary-reply-stored": storedBehind},
	},
	// Of a long reply of known length the backup has the head and digests of what is out; all others are
	// logged. The operator promises that its body is the same again.
	config.Deferred: {
		alike: webapp.AlikeBody, begun: long,
		unlogged: func(x client.Result) bool { return x.Method == http.MethodGet && long(x.Bytes, false) },
		rows: map[string]otherwise{
			"primary-reply-partly-stored": {phase: Phase.known, ends: []Outcome{Reexecuted}},
			"primary-reply-stored-unseen": {ends: []Outcome{Reexecuted}},
			"primary-reply-partly-sent":   {ends: []Outcome{Reexecuted}},
		},
		never: map[string]string{likeness: noLikeness, "table2/primary-reply-made": neverWhole, "table2/primary-reply-stored": storedBehind},
	},
}

// long reports whether a reply is long enough for mode deferred, and said how long it is.
func long(length int64, chunked bool) bool { return length > 512<<10 && !chunked }

// Modes returns the modes that a drill can be played in.
func Modes() []config.Mode {
	return slices.DeleteFunc(slices.Clone(config.Modes), func(m config.Mode) bool { _, ok := promises[m]; return !ok })
}

// Check reports what is wrong with the setting.
func (s Setting) Check() error {
	if s.Mode == "" || slices.Contains(Modes(), s.Mode) {
		return nil
	}
	var words []string
	for _, m := range Modes() {
		words = append(words, string(m))
	}
	why := "is not a mode"
	if s.Mode == config.Unprotected {
		why = "promises nothing that a drill could hold it to"
	}
	return fmt.Errorf("%q %s (write %s)", s.Mode, why, strings.Join(words, ", "))
}

// Never returns why a scenario is not played in the setting; empty: it is.
func (s Setting) Never(scenario string) string { return s.promise().never[scenario] }

func (s Setting) String() string {
	text := "mode " + string(s.mode())
	if s.DualRole {
		text += ", dual-role"
	}
	return text
}

func (s Setting) mode() config.Mode {
	if s.Mode == "" {
		return config.Logged
	}
	return s.Mode
}

func (s Setting) promise() promise { return promises[s.mode()] }

// mirrored returns how many exchanges a node counts that both hosts made, as executor or standby. It
// grows with every such exchange of an interrupted connection too.
func mirrored(x lab.ServiceStatus) uint64 {
	return x.Modes.SyncStatic + x.Modes.Static + x.Modes.Mirrored
}

// config returns that of a scenario in the setting.
func (s Setting) config(c lab.Config) lab.Config {
	if s.mode() != config.Logged {
		c.Service += fmt.Sprintf("\n[[service.route]]\npath = \"/\"\nmode = %q\n", s.Mode)
	}
	if s.DualRole {
		c.More = append(c.More, lab.Service{Name: "shop", Advertised: secondAddress, List: []string{lab.NameB, lab.NameA},
			Keys: fmt.Sprintf("forward = %d\n%s", secondForward, c.Service)})
	}
	return c
}
