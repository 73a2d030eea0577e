package config

import (
	"slices"
	"strings"
)

// Group is a list of nodes and the services that name exactly it. Its nodes find out together
// who serves; a node may be in several groups.
type Group struct {
	Name     string    // of its nodes, joined by ","; see Service.Group
	Nodes    []Node    // primary, backup, then spares
	Services []Service // in the order of the file, at least one
}

// Groups returns all groups in the order of their names: the nodes know them by their place in it, and
// files that name services in another order are the same file (Digest).
func (c *Config) Groups() []Group {
	var groups []Group
	for _, s := range c.Services {
		i := slices.IndexFunc(groups, func(g Group) bool { return g.Name == s.Group() })
		if i < 0 {
			i = len(groups)
			groups = append(groups, Group{Name: s.Group(), Nodes: c.nodes(s.Nodes)})
		}
		groups[i].Services = append(groups[i].Services, s)
	}
	slices.SortFunc(groups, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
	return groups
}

// GroupsOf returns the groups of which the named node is one, in the order of Groups.
func (c *Config) GroupsOf(node string) []Group {
	return slices.DeleteFunc(c.Groups(), func(g Group) bool { return g.Index(node) < 0 })
}

// Index returns the place of the named node in the group, counted from 0, or -1. With
// len(Nodes) it decides which epochs a node may claim (invariant I5).
func (g Group) Index(node string) int {
	return slices.IndexFunc(g.Nodes, func(n Node) bool { return n.Name == node })
}

// Peers returns the other nodes of a service, in its order; none when this node does not
// serve it.
func (c *Config) Peers(s Service) []Node {
	if !s.Has(c.Name) {
		return nil
	}
	return slices.DeleteFunc(c.nodes(s.Nodes), func(n Node) bool { return n.Name == c.Name })
}

// nodes returns the nodes of these names.
func (c *Config) nodes(names []string) []Node {
	nodes := make([]Node, len(names))
	for i, name := range names {
		nodes[i], _ = c.Node(name)
	}
	return nodes
}

// Group returns the name of the group that serves the service: its nodes' names, joined by ",".
func (s Service) Group() string { return strings.Join(s.Nodes, ",") }

// Primary returns the name of the node that executes and speaks by default.
func (s Service) Primary() string { return s.Nodes[0] }

// Backup returns the name of the node that receives and stores by default.
func (s Service) Backup() string { return s.Nodes[1] }

// Spares returns the names of the nodes that stand in for the others, the first in line first.
func (s Service) Spares() []string { return s.Nodes[2:] }

// Has reports whether the named node is one of the service's.
func (s Service) Has(node string) bool { return slices.Contains(s.Nodes, node) }
