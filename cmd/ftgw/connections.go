// The connections of a node, one by one.
package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/state"
)

// list returns what the packet layer knows of each flow of a service.
func (d *datapath) list(advertised netip.AddrPort) (all []rewrite.Info) {
	d.each(func(t *rewrite.Table) {
		t.Flows(advertised, d.now(), func(i rewrite.Info) { all = append(all, i) })
	})
	return all
}

// flows lists the connections of a service, or of all; of each the first limit, 0 for all.
func (n *node) flows(service string, limit int) (state.Flows, error) {
	l := state.Flows{Node: n.self.Name, At: time.Now().Round(0), Services: []state.ServiceFlows{}}
	for _, g := range n.groups {
		for _, v := range g.services {
			if service == "" || service == v.cfg.Name {
				l.Services = append(l.Services, flowsOf(v.cfg.Name, n.data.list(v.cfg.Advertised), v.proxy.Holdings(), limit))
			}
		}
	}
	if len(l.Services) == 0 {
		return l, fmt.Errorf("no service %q on this node", service)
	}
	return l, nil
}

// flowsOf joins what the packet layer and the proxy know.
func flowsOf(name string, infos []rewrite.Info, held map[rewrite.FlowID]proxy.Holding, limit int) state.ServiceFlows {
	s := state.ServiceFlows{Name: name, Total: len(infos), Unprotected: map[string]int{}, Flows: []state.Flow{}}
	slices.SortFunc(infos, func(a, b rewrite.Info) int {
		return cmp.Or(-cmp.Compare(min(a.Lone, 1), min(b.Lone, 1)), -cmp.Compare(a.Age, b.Age), a.ID.Client.Compare(b.ID.Client))
	})
	for i, info := range infos {
		if info.Lone != rewrite.NotLone {
			s.Unprotected[info.Lone.String()]++
		}
		if limit > 0 && i >= limit {
			continue
		}
		h := held[info.ID]
		f := state.Flow{Client: info.ID.Client.String(), ISN: uint32(info.ID.ISN), Mode: info.Mode.String(), Why: info.Lone.String(),
			State: "open", Speaker: info.Speaker, AgeMS: info.Age.Milliseconds(), IdleMS: info.Idle.Milliseconds(),
			Request: h.Request, Reply: h.Reply,
			Part: map[proxy.Duty]string{proxy.Executor: "executor", proxy.Standby: "standby"}[h.Duty]}
		switch {
		case info.Mode == rewrite.Relay:
			f.Mode = "relayed"
		case info.Lone == rewrite.OnRequest:
			f.Mode = "unprotected"
		}
		switch {
		case info.Closing:
			f.State = "closing"
		case !info.Open:
			f.State = "opening"
		}
		s.Flows = append(s.Flows, f)
	}
	return s
}

// flowsShown is how many connections are shown unless the caller says otherwise.
const flowsShown = 50

func flowsCommand() *cobra.Command {
	var asked askFlags
	var service string
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "flows",
		Short: "List the connections of the node on this host, and why one is not protected",
		Long: `Flows asks the running node for its connections, those that are not protected first, then the
oldest.

  duplex       both hosts hold it: it survives the death of either
  simplex      this host alone holds it
  unprotected  likewise, because of a route in mode unprotected
  relayed      the peer alone holds it, and its segments pass here

WHY one is not duplex:

  no-peer            it began while there was no peer in sync
  peer-lost          it was duplex, and the peer died or was given up
  peer-late          the peer did not confirm the client's bytes within confirm_timeout
  peer-unaware       the peer does not know it
  not-stored         the peer could not store a reply of it
  unprotected-route  a route in that mode asked for it
  peer-holds         the peer alone holds it, for a reason that it knows

UNANSWERED are bytes of requests that a standby holds until their reply is stored, STORED those of
stored replies that still wait here.

Exit codes: 0 shown; 69 no ftgw answers at the socket; others as in
ftgw --help.`,
		Example: `  ftgw flows
  ftgw flows --service shop --limit 10
  ftgw flows --limit 0 --json            all of them`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return codedError{exitUsage, fmt.Errorf("--limit must be 0 or more, not %d", limit)}
			}
			socket, err := asked.at()
			if err != nil {
				return err
			}
			query := url.Values{"service": {service}, "limit": {strconv.Itoa(limit)}}
			return show(cmd, http.MethodGet, socket, "flows", query, asJSON, writeFlows)
		},
	}
	asked.add(cmd)
	cmd.Flags().StringVar(&service, "service", "", "only those of the service of that `name`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the node's JSON as it is")
	cmd.Flags().IntVar(&limit, "limit", flowsShown, "show the first `N` of each service; 0: all")
	return cmd
}

// writeFlows prints tables for a reader.
func writeFlows(out io.Writer, l state.Flows) error {
	w := newTable(out)
	for i, s := range l.Services {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s on %s, %s%s\n", s.Name, l.Node, plural(s.Total, "connection"), reasonsText(s.Unprotected))
		if len(s.Flows) == 0 {
			continue
		}
		fmt.Fprintf(w, "\nCLIENT\tMODE\tWHY\tSTATE\tPART\tAGE\tIDLE\tUNANSWERED\tSTORED\n")
		for _, f := range s.Flows {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", f.Client, f.Mode, orDash(f.Why), f.State, orDash(f.Part),
				ageText(f.AgeMS), ageText(f.IdleMS), f.Request, f.Reply)
		}
		if left := s.Total - len(s.Flows); left > 0 {
			fmt.Fprintf(w, "and %d more (--limit 0 shows all)\n", left)
		}
	}
	return w.Flush()
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// reasonsText says how many are not protected, and why.
func reasonsText(by map[string]int) string {
	if len(by) == 0 {
		return ", all protected"
	}
	var parts []string
	sum := 0
	for _, why := range slices.Sorted(maps.Keys(by)) {
		sum += by[why]
		parts = append(parts, fmt.Sprintf("%s %d", why, by[why]))
	}
	return fmt.Sprintf(", %d not protected: %s", sum, strings.Join(parts, ", "))
}

// ageText is a time of milliseconds for a reader.
func ageText(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()
}
