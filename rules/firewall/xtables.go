package firewall

import (
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// match answers for the commonest matches of iptables; others are perhaps.
func (f *follower) match(m *expr.Match) answer {
	switch info := m.Info.(type) {
	case *xt.Comment:
		return yes
	case *xt.Tcp:
		a := both(f.port(f.packet.SourcePort, info.SrcPorts, info.InvFlags&xt.TcpInvSrcPorts != 0),
			f.port(f.packet.DestinationPort, info.DstPorts, info.InvFlags&xt.TcpInvDestPorts != 0))
		if info.FlagsMask != 0 || info.Option != 0 {
			a = both(a, perhaps)
		}
		return both(a, certain(f.packet.Protocol == unix.IPPROTO_TCP))
	case *xt.Udp:
		return both(certain(f.packet.Protocol == unix.IPPROTO_UDP),
			both(f.port(f.packet.SourcePort, info.SrcPorts, info.InvFlags&xt.UdpInvSrcPorts != 0),
				f.port(f.packet.DestinationPort, info.DstPorts, info.InvFlags&xt.UdpInvDestPorts != 0)))
	case *xt.ConntrackMtinfo1:
		return f.conntrack(info.ConntrackMtinfoBase, uint16(info.StateMask))
	case *xt.ConntrackMtinfo2:
		return f.conntrack(info.ConntrackMtinfoBase, info.StateMask)
	case *xt.ConntrackMtinfo3:
		return f.conntrack(info.ConntrackMtinfoBase, info.StateMask)
	}
	return perhaps
}

func (f *follower) port(port uint16, span [2]uint16, invert bool) answer {
	a := perhaps
	switch {
	case span[0] == 0 && span[1] == 0xffff:
		a = yes
	case port != 0:
		a = certain(span[0] <= port && port <= span[1])
	}
	if invert {
		return not(a)
	}
	return a
}

// xtUntracked is what iptables calls untracked, linux/netfilter/xt_conntrack.h; the other states
// are as nft has them.
const xtUntracked = 256

// conntrack is the match of iptables by that name.
func (f *follower) conntrack(info xt.ConntrackMtinfoBase, states uint16) answer {
	a, state := yes, uint16(stateNew)
	if f.packet.Untracked {
		state = xtUntracked
	}
	if info.MatchFlags&uint16(xt.ConntrackState|xt.ConntrackStateAlias) != 0 {
		a = certain(states&state != 0)
		if info.InvertFlags&uint16(xt.ConntrackState|xt.ConntrackStateAlias) != 0 {
			a = not(a)
		}
	}
	if info.MatchFlags&^uint16(xt.ConntrackState|xt.ConntrackStateAlias) != 0 {
		a = both(a, certain(!f.packet.Untracked)) // an untracked packet has nothing else
		a = both(a, perhaps)
	}
	return a
}
