package rules

import (
	"fmt"
	"strings"
)

// Text returns the rules of spec in the notation of nft, for people to review. native is
// ProbeNative's answer; without it the queues are written as the xt target they then are,
// which nft prints but cannot load.
func Text(spec Spec, native bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", spec.table())
	for _, set := range leaseSets(spec) {
		fmt.Fprintf(&b, "\tset %s {\n\t\ttype %s\n\t\tflags timeout\n\t\ttimeout %v\n\t}\n\n",
			set.Name, set.KeyType.Name, spec.Lease)
	}
	for i, c := range ruleset(spec, native) {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "\tchain %s {\n", c.name)
		if c.hook != nil {
			fmt.Fprintf(&b, "\t\ttype filter hook %s priority %d; policy accept;\n", c.name, *c.priority)
		}
		for _, r := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", r.text())
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func (r *rule) text() string {
	words := make([]string, 0, len(r.parts)+1)
	for _, p := range r.parts {
		words = append(words, p.text)
	}
	if r.reason != "" {
		words = append(words, fmt.Sprintf("comment %q", r.reason))
	}
	return strings.Join(words, " ")
}
