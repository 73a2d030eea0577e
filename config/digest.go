package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"reflect"
	"slices"
)

// digestVersion begins what is hashed, so that two versions that read a file differently
// never take it for the same.
const digestVersion = "ftgw config 1\n"

// Digest is a hash of what the file means to the whole cluster: local keys are left out, the
// defaults filled in, and services and routes ordered by name. Nodes whose digests differ
// are not in sync.
func (c *Config) Digest() [32]byte {
	shared := *c
	v := reflect.ValueOf(&shared).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("local") == "true" {
			v.Field(i).SetZero()
		}
	}
	shared.Services = slices.Clone(c.Services)
	slices.SortFunc(shared.Services, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	for i := range shared.Services {
		s := &shared.Services[i]
		s.Routes = append([]Route{}, s.Routes...)
		for j := range s.Routes {
			s.Routes[j].Methods = append([]string{}, s.Routes[j].Methods...)
			slices.Sort(s.Routes[j].Methods)
		}
		slices.SortFunc(s.Routes, func(a, b Route) int { return cmp.Compare(a.String(), b.String()) })
	}
	text, err := json.Marshal(shared)
	if err != nil {
		panic("config: the types of Config always marshal: " + err.Error())
	}
	return sha256.Sum256(append([]byte(digestVersion), text...))
}
