package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

const healedWait = 15 * time.Second // until the pair is in duplex again

// The requests that are made when the pair is back.
const newDownload, newUpload = "new-download", "new-upload"

// outage is a part of the network that fails as a whole and comes back, while clients download,
// upload and ask for small things. Afterwards the pair must be in duplex by itself and serve new
// connections.
type outage struct {
	name, about string
	lasts       time.Duration
	rounds      int // 0 means 2
	config      lab.Config
	before      func(ctx context.Context, r *Round) error // what else must run; may be nil
	begin       fault
	// during is judged when the outage ends, before it is mended; may be nil.
	during func(ctx context.Context, r *Round) error
}

// networkFaults returns the outages beyond the papers.
func networkFaults() []Scenario {
	const lasts = 1500 * time.Millisecond
	all := []outage{
		{name: "cable-primary", about: "the primary's cable is pulled and put back: the backup takes over, the primary is silent and joins again", lasts: lasts, begin: pulled(primaryOf), during: soleIs(backupOf)},
		{name: "cable-backup", about: "the backup's cable is pulled and put back: the primary takes over, the backup is silent and joins again", lasts: lasts, begin: pulled(backupOf), during: soleIs(primaryOf)},
		{name: "deaf-primary", about: "all frames to the primary are lost, none from it", lasts: lasts, begin: deaf(primaryOf)},
		{name: "deaf-backup", about: "all frames to the backup are lost, none from it", lasts: lasts, begin: deaf(backupOf)},
		{name: "mute-primary", about: "all frames from the primary are lost, none to it", lasts: lasts, begin: mute(primaryOf)},
		{name: "mute-backup", about: "all frames from the backup are lost, none to it", lasts: lasts, begin: mute(backupOf)},
		{name: "deaf-primary-to-backup", about: "what the backup sends to the primary is lost, nothing else", lasts: lasts, begin: unheard(backupOf)},
		{name: "deaf-backup-to-primary", about: "what the primary sends to the backup is lost, nothing else", lasts: lasts, begin: unheard(primaryOf)},
		{name: "replication-cut-short", about: "the session port is cut for 0.5 s, everything else is up: the connections wait, nothing changes hands", lasts: 500 * time.Millisecond, begin: cut(sessionFrames()), during: asBefore},
		{name: "replication-cut-long", about: "the session port is cut for 5 s, everything else is up: the pair counts as broken, the backup takes over, the primary gives way and joins again", lasts: 5 * time.Second, rounds: 1, begin: cut(sessionFrames()), during: backupsAreSole},
		{name: "gossip-cut", about: "the gossip port is cut, everything else is up: nothing happens", lasts: lasts, begin: cut(gossipFrames()), during: asBefore},
		{name: "partition-witness", about: "the hosts lose each other, the clients and the witness reach both: one host gets the witness' grant, the other falls silent before it speaks", lasts: lasts,
			config: lab.Config{Witness: true}, before: startWitness, begin: parted, during: oneSole},
	}
	var out []Scenario
	for _, o := range all {
		out = append(out, o.scenario())
	}
	return append(out, Scenario{Name: "network/partition",
		About: "the hosts lose each other, the clients reach both, and there is no witness: both claim, as documented, and connections that both served end or stall; after the heal the pair is back and serves new ones",
		Fresh: true, Rounds: 2, Run: partition})
}

func (o outage) scenario() Scenario {
	rounds := o.rounds
	if rounds == 0 {
		rounds = 2
	}
	return Scenario{Name: "network/" + o.name, About: o.about, Rounds: rounds, Fresh: true, Config: o.config, Run: o.run}
}

func (o outage) run(ctx context.Context, r *Round) error {
	if o.before != nil {
		if err := o.before(ctx, r); err != nil {
			return err
		}
	}
	finish := r.Traffic(ctx, large)
	defer finish()
	if err := Sleep(ctx, 200*time.Millisecond); err != nil {
		return err
	}
	var end func() error
	if err := r.Inject("network/"+o.name, func() (err error) { end, err = o.begin(r); return err }); err != nil {
		return err
	}
	err := Sleep(ctx, o.lasts)
	if err == nil && o.during != nil {
		err = o.during(ctx, r)
	}
	if err = errors.Join(err, end()); err != nil {
		return err
	}
	r.remark("healed")
	return r.healed(ctx, finish)
}

// healed waits until the pair is in duplex, and finishes the traffic some time later.
func (r *Round) healed(ctx context.Context, finish func()) error {
	wait, cancel := context.WithTimeout(ctx, healedWait)
	defer cancel()
	if err := r.AwaitDuplex(wait); err != nil {
		return fmt.Errorf("after the heal: %w", err)
	}
	r.remark("in duplex")
	if err := Sleep(ctx, 200*time.Millisecond); err != nil {
		return err
	}
	finish()
	r.Report.Add(r.Client.Once(ctx, client.Bytes(newDownload, 5000)), r.Client.Once(ctx, client.Upload(newUpload, 5000)))
	return nil
}
