package config

import "fmt"

// Change is a key in which two configs differ.
type Change struct {
	Key string `json:"key"` // such as service.shop.upstream
	Old string `json:"old"` // as the file would have it, defaults filled in; absent: the route is not there
	New string `json:"new"`
	// Restart says that a running node cannot take it.
	Restart bool `json:"restart_needed"`
}

// absent stands for the mode of a route that is not there.
const absent = "absent"

// String returns the change in one line.
func (c Change) String() string { return fmt.Sprintf("%s: %s → %s", c.Key, c.Old, c.New) }

// Changes returns what a node that runs old would have to change to run new, in the order of the
// reference file. Of a service or node that only one of the two has, the list of names tells.
func Changes(old, new *Config) []Change {
	before, after := old.leaves(), new.leaves()
	was, is := byKey(before), byKey(after)
	had, has := elements(before), elements(after)
	var all []Change
	for _, l := range after {
		if o, there := was[l.key]; l.element != "" && !had[l.element] {
			continue
		} else if !there {
			all = append(all, Change{l.key, absent, l.value, !l.live})
		} else if o.value != l.value {
			all = append(all, Change{l.key, o.value, l.value, !l.live})
		}
	}
	for _, l := range before {
		if _, there := is[l.key]; !there && (l.element == "" || has[l.element]) {
			all = append(all, Change{l.key, l.value, absent, !l.live})
		}
	}
	return all
}

func byKey(leaves []leaf) map[string]leaf {
	m := make(map[string]leaf, len(leaves))
	for _, l := range leaves {
		m[l.key] = l
	}
	return m
}

func elements(leaves []leaf) map[string]bool {
	m := make(map[string]bool)
	for _, l := range leaves {
		m[l.element] = true
	}
	return m
}
