package rules

import (
	"fmt"
	"strings"

	"github.com/google/nftables"
)

// Text returns the rules of spec in the notation of nft, for people to review, as Install
// makes them on such a kernel (see Probe). Without Kernel.Queue the queues are written as the
// xt target they then are, which nft prints but cannot load.
func Text(spec Spec, k Kernel) string {
	var b strings.Builder
	for i, l := range layouts(spec, k) {
		if i > 0 {
			b.WriteByte('\n')
		}
		l.write(&b, spec)
	}
	return b.String()
}

// FenceText returns what InstallFence makes as the commands of ip that would make it.
func FenceText(spec Spec) []string {
	lines := []string{"ip link add " + DeadDevice + " type dummy; ip link set " + DeadDevice + " arp off up"}
	done := map[string]bool{}
	for _, a := range spec.addresses() {
		ip := "ip -6"
		if a.Is4() {
			ip = "ip"
		}
		if !done[ip] {
			done[ip] = true
			lines = append(lines, fmt.Sprintf("%s route add default dev %s table %d metric 1", ip, DeadDevice, fenceTable),
				fmt.Sprintf("%s route add unreachable default table %d metric %d", ip, fenceTable, 1<<30),
				fmt.Sprintf("%s rule add priority %d nop", ip, fencePass))
		}
		lines = append(lines, fmt.Sprintf("%s rule add priority %d from %v fwmark %#x goto %d", ip, fenceMarked, a, spec.MarkSend, fencePass),
			fmt.Sprintf("%s rule add priority %d from %v lookup %d", ip, fenceUnmarked, a, fenceTable))
	}
	return lines
}

func familyName(f nftables.TableFamily) string {
	if f == nftables.TableFamilyNetdev {
		return "netdev"
	}
	return "inet"
}

func (l *layout) write(b *strings.Builder, spec Spec) {
	fmt.Fprintf(b, "table %s %s {\n", familyName(l.family), spec.table())
	for _, set := range l.sets {
		fmt.Fprintf(b, "\tset %s {\n\t\ttype %s\n\t\tflags timeout\n\t\ttimeout %dms\n\t}\n\n",
			set.Name, set.KeyType.Name, spec.Lease.Milliseconds())
	}
	for i, c := range l.chains {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(b, "\tchain %s {\n", c.name)
		if c.hook != nil {
			device := ""
			if c.device != "" {
				device = fmt.Sprintf(" device %q", c.device)
			}
			fmt.Fprintf(b, "\t\ttype filter hook %s%s priority %d; policy accept;\n", c.name, device, *c.priority)
		}
		for _, r := range c.rules {
			fmt.Fprintf(b, "\t\t%s\n", r.text())
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
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
