package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/proxy"
)

// Ledger is what a node knows of its exchanges, as `ftgw ledger --json` prints it.
type Ledger struct {
	Node     string          `json:"node"`
	Services []ServiceLedger `json:"services"`
}

// ServiceLedger is that of one service; exchanges are in the order in which they began, but
// those that a takeover touched in the order in which they ended.
type ServiceLedger struct {
	Name string `json:"name"`
	// Takeover is the latest one since the node's start, or nil.
	Takeover  *LedgerTakeover `json:"takeover,omitempty"`
	Exchanges []LedgerEntry   `json:"exchanges"`
}

// LedgerTakeover is the takeover that --since-takeover is about.
type LedgerTakeover struct {
	Epoch     uint64    `json:"epoch"`
	At        time.Time `json:"at"`        // when the flows were promoted
	Forgotten uint64    `json:"forgotten"` // exchanges that it touched beyond the limit "ledger"
}

// LedgerEntry is one exchange; see proxy.Exchange.
type LedgerEntry struct {
	Time        time.Time `json:"time"`
	Client      string    `json:"client"` // with ISN and index the identity
	ISN         uint32    `json:"isn"`
	Index       uint64    `json:"index"`
	Transaction string    `json:"transaction"`
	ClientKey   string    `json:"client_key,omitempty"`
	Method      string    `json:"method,omitempty"`
	Path        string    `json:"path,omitempty"`
	Status      int       `json:"status,omitempty"`
	Bytes       int64     `json:"bytes"`
	Attempt     int       `json:"attempt,omitempty"`
	ExecutedOn  string    `json:"executed_on,omitempty"` // a node; empty: answered without the upstream
	Outcome     string    `json:"outcome"`
	Mode        string    `json:"mode"`            // how its reply was protected; not its route's where that was stored instead
	Epoch       uint64    `json:"epoch,omitempty"` // of the takeover that touched it
	TookMS      float64   `json:"took_ms,omitempty"`
}

// ledger is what this node says of its exchanges.
func (n *node) ledger(sinceTakeover bool, limit int) Ledger {
	l := Ledger{Node: n.self.Name, Services: []ServiceLedger{}}
	for _, g := range n.groups {
		for _, v := range g.services {
			l.Services = append(l.Services, g.ledger(v, sinceTakeover, limit))
		}
	}
	return l
}

func (g *group) ledger(v *service, sinceTakeover bool, limit int) ServiceLedger {
	book := v.proxy.Ledger(sinceTakeover, limit)
	s := ServiceLedger{Name: v.cfg.Name, Exchanges: make([]LedgerEntry, 0, len(book.Exchanges))}
	if !book.At.IsZero() {
		s.Takeover = &LedgerTakeover{Epoch: book.Epoch, At: book.At, Forgotten: book.Forgotten}
	}
	for _, e := range book.Exchanges {
		s.Exchanges = append(s.Exchanges, g.ledgerEntry(e))
	}
	return s
}

func (g *group) ledgerEntry(e proxy.Exchange) LedgerEntry {
	return LedgerEntry{Time: e.Began, Client: e.Flow.Client.String(), ISN: uint32(e.Flow.ISN), Index: e.Index,
		Transaction: e.Transaction, ClientKey: e.ClientKey, Method: e.Method, Path: e.Path, Status: e.Status,
		Bytes: e.Bytes, Attempt: e.Attempt, Outcome: e.Outcome.String(), Mode: string(e.Mode), Epoch: e.Epoch,
		ExecutedOn: map[proxy.Site]string{proxy.Here: g.n.self.Name, proxy.Peer: g.nodes[g.peers.at(e.Began)].Name}[e.Executed],
		TookMS:     float64(e.Took.Microseconds()) / 1000}
}

// ledgerShown is how many exchanges are shown unless the caller says otherwise.
const ledgerShown = 50

func ledgerCommand() *cobra.Command {
	var asked askFlags
	var asJSON, since bool
	var limit int
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Show the last exchanges of the node on this host and what became of each",
		Long: `Ledger asks the running node for its last exchanges (one request and its reply), the latest
at the end. With --since-takeover it shows what the latest takeover by this node touched: what
was under way then, and the first exchange after it on each connection of the lost host.

  unfinished   this node executes it now
  stored       the peer executed it, and its reply is kept here until the client has it
  delivered    executed here, reply written whole
  replayed     the peer had executed it; its stored reply was finished here
  re-executed  executed here again: the peer may have executed it, but no reply was stored
  executed     executed here after a takeover, for the first time as far as is known
  refused      answered by a status made here: the request was malformed or the web server failed
  dropped      the client went away before its reply was written
  moved        the web server here failed it, and the peer executes it; its reply passes here
  unprotected  passed through whole on a route in that mode; nothing was stored
  truncated    its reply had begun and could not be finished; the connection was ended within it
  silenced     this node was fenced or stopped meanwhile; the peer answers it

The web server was told ATTEMPT as Ftgw-Attempt, and the exchange's transaction ID, which
--json shows, as Idempotency-Key (unless the client sent one). Both nodes have a ledger of their
own; it is kept in memory, as many exchanges as "ledger" under [limits] says.

Exit codes: 0 shown; 69 no ftgw answers at the socket; others as in ftgw --help.`,
		Example: `  ftgw ledger
  ftgw ledger --since-takeover           whom to ask whether an order came twice
  ftgw ledger --limit 0 --json           all that is kept`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return codedError{exitUsage, fmt.Errorf("--limit must be 0 or more, not %d", limit)}
			}
			if since && !cmd.Flags().Changed("limit") {
				limit = 0
			}
			socket, err := asked.at()
			if err != nil {
				return err
			}
			query := url.Values{"limit": {strconv.Itoa(limit)}, "since-takeover": {strconv.FormatBool(since)}}
			return show(cmd, http.MethodGet, socket, "ledger", query, asJSON, writeLedger)
		},
	}
	asked.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the node's JSON as it is")
	cmd.Flags().BoolVar(&since, "since-takeover", false, "only what the latest takeover touched")
	cmd.Flags().IntVar(&limit, "limit", ledgerShown, "show the latest `N` of each service; 0: all (default with --since-takeover)")
	return cmd
}

// writeLedger prints tables for a reader.
func writeLedger(out io.Writer, l Ledger) error {
	w := newTable(out)
	for i, s := range l.Services {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s on %s, ", s.Name, l.Node)
		if t := s.Takeover; t == nil {
			fmt.Fprintf(w, "no takeover by this node since its start\n")
		} else {
			fmt.Fprintf(w, "latest takeover: %s, epoch %d\n", t.At.Format(time.RFC3339), t.Epoch)
			if t.Forgotten > 0 {
				fmt.Fprintf(w, "%d more exchanges were touched by it and not kept (raise \"ledger\" under [limits])\n", t.Forgotten)
			}
		}
		if len(s.Exchanges) == 0 {
			fmt.Fprintf(w, "no exchanges\n")
			continue
		}
		fmt.Fprintf(w, "\nTIME\tCLIENT\tINDEX\tREQUEST\tSTATUS\tBYTES\tATTEMPT\tEXECUTED ON\tOUTCOME\tMODE\tEPOCH\tTOOK\n")
		for _, e := range s.Exchanges {
			took := time.Duration(e.TookMS * float64(time.Millisecond)).Round(10 * time.Microsecond)
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%v\n", e.Time.Local().Format("15:04:05.000"), e.Client, e.Index,
				orDash(e.Method+spaced(e.Path)), number(e.Status), e.Bytes, number(e.Attempt), orDash(e.ExecutedOn), e.Outcome, orDash(e.Mode),
				number(int(e.Epoch)), took)
		}
	}
	return w.Flush()
}

func spaced(path string) string {
	if path == "" {
		return ""
	}
	return " " + path
}

// number returns a dash for 0, which stands for none.
func number(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}
