package drill

import (
	"errors"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/shim"
)

// table1 returns a scenario for each row of Table 1, "Communication errors and the mechanism
// used to recover from them": packets of that class are lost, and no others. First the links
// are made plain, so that what is lost is one segment of one MTU.
func table1() []Scenario {
	rows := []struct {
		name, paper, about string
		at                 func(r *Round, s *Service) *lab.Host // whose interface the packets come to
		match              func(s *Service) shim.Match
	}{
		{"client-data-to-backup", "client data: client → backup", "client data is lost before the backup has it", backupHost,
			func(s *Service) shim.Match { return s.toServer(shim.Data) }},
		{"client-data-to-primary", "client data: backup → primary", "client data is lost on its way from the backup to the primary", primaryHost,
			func(s *Service) shim.Match { return s.cloned(shim.Data) }},
		{"server-ack", "server ack: primary → client", "acknowledgments of the server are lost", clientHost,
			func(s *Service) shim.Match { return s.toClient(shim.Bare) }},
		{"server-data", "server data: primary → client", "data of the server is lost", clientHost,
			func(s *Service) shim.Match { return s.toClient(shim.Data) }},
		{"client-ack-to-backup", "client ack: client → backup", "acknowledgments of the client are lost before the backup has them", backupHost,
			func(s *Service) shim.Match { return s.toServer(shim.Bare) }},
		{"client-ack-to-primary", "client ack: backup → primary", "acknowledgments of the client are lost on their way from the backup to the primary", primaryHost,
			func(s *Service) shim.Match { return s.cloned(shim.Bare) }},
	}
	var all []Scenario
	for _, kind := range []struct {
		name, about string
		share       shim.Share
	}{
		{"", ", a tenth at random", shim.Share{Lost: 100, Of: 1000}},
		{"-burst", ", four in a row of each forty", shim.Share{Lost: 4, Of: 40, Row: true}},
	} {
		for _, w := range rows {
			s := strain{name: "table1/" + w.name + kind.name, paper: "000, Table 1, " + w.paper, about: w.about + kind.about,
				begin: func(r *Round) (func() (int, error), error) {
					var each []loss
					for _, s := range r.Services {
						each = append(each, loss{w.at(r, s), s.Name, []shim.Match{w.match(s)}})
					}
					return r.lose(kind.share, each...)
				}}
			all = append(all, s.scenario())
		}
	}
	return all
}

func clientOf(r *Round) *lab.Host  { return r.Lab.Client }
func primaryOf(r *Round) *lab.Host { return r.Primary }
func backupOf(r *Round) *lab.Host  { return r.Backup }

func clientHost(r *Round, _ *Service) *lab.Host  { return r.Lab.Client }
func primaryHost(_ *Round, s *Service) *lab.Host { return s.Primary }
func backupHost(_ *Round, s *Service) *lab.Host  { return s.Backup }

func (s *Service) toServer(k shim.Kind) shim.Match {
	return shim.Match{Kind: k, To: s.At.Addr(), ToPort: s.At.Port()}
}

func (s *Service) toClient(k shim.Kind) shim.Match {
	return shim.Match{Kind: k, From: s.At.Addr(), FromPort: s.At.Port()}
}

// cloned matches what the backup sends on of the client's segments.
func (s *Service) cloned(k shim.Kind) shim.Match {
	return shim.Match{Kind: k, FromMAC: s.Backup.MAC(), To: s.Primary.Addr(), ToPort: s.Forward}
}

// loss is what is lost of the frames that a host gets.
type loss struct {
	at    *lab.Host
	name  string // tells it from others at the same host
	match []shim.Match
}

// lose makes the client's and the hosts' cables plain and loses a share of each.
func (r *Round) lose(share shim.Share, each ...loss) (end func() (int, error), err error) {
	var undo []func() error
	lost := 0
	end = func() (int, error) {
		var errs []error
		for i := range undo {
			errs = append(errs, undo[len(undo)-1-i]())
		}
		return lost, errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			_, bad := end()
			err = errors.Join(err, bad)
		}
	}()
	for _, h := range []*lab.Host{r.Lab.Client, r.A, r.B} {
		if err := shim.Plain(r.Router, h, true); err != nil {
			return end, err
		}
		undo = append(undo, func() error { return shim.Plain(r.Router, h, false) })
	}
	for _, l := range each {
		x, err := shim.Lose(l.at, "drill_"+l.name, l.at.Interface(), share, l.match...)
		if err != nil {
			return end, err
		}
		undo = append(undo, func() error {
			n, err := x.Lost()
			lost += int(n)
			return errors.Join(err, x.End())
		})
	}
	return end, nil
}
