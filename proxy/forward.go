package proxy

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
)

// Forward says what becomes of a field that tells the upstream of the client.
type Forward uint8

// The ways. The zero value stands for a field's default.
const (
	// Replace sets the field and drops what the client sent of it.
	Replace Forward = iota + 1
	// Append adds to what the client sent, which is right behind another proxy and nowhere else.
	Append
	// Remove drops the field.
	Remove
	// Off neither sets nor drops the field: the client's own passes.
	Off
)

// ParseForward returns the way that a word of the configuration names: "replace", "append",
// "remove" or "off".
func ParseForward(word string) (Forward, error) {
	for f := Replace; f <= Off; f++ {
		if f.String() == word {
			return f, nil
		}
	}
	return 0, fmt.Errorf("proxy: %q is no way to forward; use replace, append, remove or off", word)
}

// String returns the word of the configuration for it, "default" for the zero value.
func (f Forward) String() string {
	return [...]string{"default", "replace", "append", "remove", "off"}[f]
}

// Forwarding says how the upstream learns of the client. Clients are not trusted: unless told
// otherwise, what they say of themselves is replaced by what is known here, and the fields that
// are not set are removed.
type Forwarding struct {
	For   Forward // X-Forwarded-For, the client's address; default Replace
	Proto Forward // X-Forwarded-Proto, "http"; default Replace
	Host  Forward // X-Forwarded-Host, what the client asked for; default Replace
	// Forwarded is RFC 7239's field of that name, which says all three; default Remove, so
	// that the upstream hears one voice.
	Forwarded Forward
}

func (f Forwarding) withDefaults() Forwarding {
	for _, way := range []*Forward{&f.For, &f.Proto, &f.Host} {
		if *way == 0 {
			*way = Replace
		}
	}
	if f.Forwarded == 0 {
		f.Forwarded = Remove
	}
	return f
}

// of returns the way of a kind of field, 0 if it is not one of these.
func (f *Forwarding) of(k kind) Forward {
	switch k {
	case kindForwardedFor:
		return f.For
	case kindForwardedProto:
		return f.Proto
	case kindForwardedHost:
		return f.Host
	case kindForwarded:
		return f.Forwarded
	}
	return 0
}

// write writes the fields that are set here. host may be empty.
func (f *Forwarding) write(head *bytes.Buffer, r *request, client netip.Addr, host string) {
	f.one(head, r, f.For, kindForwardedFor, "X-Forwarded-For", client.String())
	f.one(head, r, f.Proto, kindForwardedProto, "X-Forwarded-Proto", "http")
	f.one(head, r, f.Host, kindForwardedHost, "X-Forwarded-Host", host)
	if f.Forwarded == Replace || f.Forwarded == Append {
		node := client.String()
		if client.Is6() {
			node = `"[` + node + `]"` // RFC 7239 §6
		}
		if !isToken(host) {
			host = `"` + host + `"` // isHost lets no quote through
		}
		f.one(head, r, f.Forwarded, kindForwarded, "Forwarded", "for="+node+";host="+host+";proto=http")
	}
}

func (f *Forwarding) one(head *bytes.Buffer, r *request, way Forward, k kind, name, value string) {
	if way != Replace && way != Append {
		return
	}
	head.WriteString(name)
	head.WriteString(": ")
	if way == Append {
		r.header.list(k, func(before string) bool {
			if !r.options.drops(name) {
				head.WriteString(before)
				head.WriteString(", ")
			}
			return true
		})
	}
	head.WriteString(value)
	head.WriteString("\r\n")
}

// hostOf is what the client asked for, the address it connected to if it did not say.
func (x *executor) hostOf(r *request) string {
	if r.host != "" {
		return r.host
	}
	return strings.TrimSuffix(x.flow.id.Advertised.String(), ":80")
}
