package replication

import "encoding/binary"

// The frames between a node and the witness, after a Hello in each direction. The node sends
// Heartbeat, GrantRequest and Silence; the witness sends Heartbeat, GrantAnswer and Notice. Pair
// is the Group of the connection's hellos, at most MaxGroup bytes.

// GrantRequest asks for an epoch of a pair (takeover.AskGrant).
type GrantRequest struct {
	Pair        string
	Epoch, Base uint64
	Empty       bool  // the node has no flows to save
	Echo        int64 // Sent of the witness' newest heartbeat: an old request is of no claim any more
}

// GrantAnswer says what became of a request.
type GrantAnswer struct {
	Pair    string
	Epoch   uint64 // as asked
	Held    uint64 // the highest number granted
	Granted bool
	Against bool   // Held is the other node's, and the asker must fence itself if it serves
	Why     string // for a person; cut at 255 bytes
}

// Notice says that an epoch was granted to the other node.
type Notice struct {
	Pair  string
	Epoch uint64
}

// Silence says that the sender serves nothing of the pair below an epoch.
type Silence struct {
	Pair  string
	Epoch uint64
}

// Append appends the frame to dst.
func (r GrantRequest) Append(dst []byte) []byte {
	at := len(dst)
	dst = appendName(begin(dst, TypeGrantRequest), r.Pair)
	dst = binary.BigEndian.AppendUint64(dst, r.Epoch)
	dst = binary.BigEndian.AppendUint64(dst, r.Base)
	dst = appendBool(dst, r.Empty)
	return end(binary.BigEndian.AppendUint64(dst, uint64(r.Echo)), at)
}

// ParseGrantRequest reads the body of a GrantRequest.
func ParseGrantRequest(body []byte) (GrantRequest, error) {
	p := parser{b: body}
	r := GrantRequest{Pair: p.name(), Epoch: p.u64(), Base: p.u64(), Empty: p.bool(), Echo: int64(p.u64())}
	return r, p.done(TypeGrantRequest)
}

// Append appends the frame to dst.
func (a GrantAnswer) Append(dst []byte) []byte {
	at := len(dst)
	dst = appendName(begin(dst, TypeGrantAnswer), a.Pair)
	dst = binary.BigEndian.AppendUint64(dst, a.Epoch)
	dst = binary.BigEndian.AppendUint64(dst, a.Held)
	dst = appendBool(appendBool(dst, a.Granted), a.Against)
	return end(appendString(dst, a.Why), at)
}

// ParseGrantAnswer reads the body of a GrantAnswer.
func ParseGrantAnswer(body []byte) (GrantAnswer, error) {
	p := parser{b: body}
	a := GrantAnswer{Pair: p.name(), Epoch: p.u64(), Held: p.u64(), Granted: p.bool(), Against: p.bool(), Why: p.string()}
	return a, p.done(TypeGrantAnswer)
}

// Append appends the frame to dst.
func (n Notice) Append(dst []byte) []byte { return appendPairEpoch(dst, TypeNotice, n.Pair, n.Epoch) }

// ParseNotice reads the body of a Notice.
func ParseNotice(body []byte) (Notice, error) {
	p := parser{b: body}
	n := Notice{Pair: p.name(), Epoch: p.u64()}
	return n, p.done(TypeNotice)
}

// Append appends the frame to dst.
func (s Silence) Append(dst []byte) []byte { return appendPairEpoch(dst, TypeSilence, s.Pair, s.Epoch) }

// ParseSilence reads the body of a Silence.
func ParseSilence(body []byte) (Silence, error) {
	p := parser{b: body}
	s := Silence{Pair: p.name(), Epoch: p.u64()}
	return s, p.done(TypeSilence)
}

func appendPairEpoch(dst []byte, t Type, pair string, epoch uint64) []byte {
	at := len(dst)
	dst = appendName(begin(dst, t), pair)
	return end(binary.BigEndian.AppendUint64(dst, epoch), at)
}
