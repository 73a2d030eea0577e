package firewall

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/nftables"
)

// Ruleset is what is in force in a network namespace, apart from one table.
type Ruleset struct {
	chains []*chain // the base chains that an IPv4 packet may meet
	// Unread are the chains that could not be understood, with the reason.
	Unread []string
	// Legacy reports that there are rules of iptables-legacy too, which are not in it.
	Legacy bool
}

type chain struct {
	*nftables.Chain
	rules []*nftables.Rule
	table *table
}

type table struct {
	chains map[string]*chain
	sets   map[string]*set
}

type set struct {
	*nftables.Set
	elements []nftables.SetElement
}

// Read reads the ruleset of the calling thread's network namespace, without the tables named
// except. It needs CAP_NET_ADMIN.
func Read(except string) (*Ruleset, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("read the nftables rules: %w", err)
	}
	defer conn.CloseLasting()
	r := &Ruleset{}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet} {
		chains, err := conn.ListChainsOfTableFamily(family)
		if err != nil {
			return nil, fmt.Errorf("read the nftables rules: %w", err)
		}
		tables := map[string]*table{}
		for _, c := range chains {
			if c.Table.Name == except {
				continue
			}
			t := tables[c.Table.Name]
			if t == nil {
				t = &table{map[string]*chain{}, map[string]*set{}}
				tables[c.Table.Name] = t
				r.unread(c.Table.Name, t.readSets(conn, c.Table))
			}
			rules, err := conn.GetRules(c.Table, c)
			r.unread(name(c), err)
			t.chains[c.Name] = &chain{c, rules, t}
			if c.Hooknum != nil {
				r.chains = append(r.chains, t.chains[c.Name])
			}
		}
	}
	names, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	r.Legacy = err == nil && strings.Contains(string(names), "filter")
	return r, nil
}

func (r *Ruleset) unread(what string, err error) {
	if err != nil {
		r.Unread = append(r.Unread, fmt.Sprintf("%s: %v", what, err))
	}
}

func (t *table) readSets(conn *nftables.Conn, of *nftables.Table) error {
	sets, err := conn.GetSets(of)
	for _, s := range sets {
		elements, wrong := conn.GetSetElements(s)
		if s.IsMap && s.DataType.Name == nftables.TypeVerdict.Name {
			wrong = errors.Join(wrong, readVerdicts(elements))
		}
		err = errors.Join(err, wrong)
		t.sets[s.Name] = &set{s, elements}
	}
	return err
}

// name is a chain's as nft takes it: family, table, chain.
func name(c *nftables.Chain) string {
	family := "ip"
	if c.Table.Family == nftables.TableFamilyINet {
		family = "inet"
	}
	return fmt.Sprintf("%s %s %s", family, c.Table.Name, c.Name)
}
