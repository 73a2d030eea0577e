package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// leaf is one key of a config with its value, as Changes and the digests see it. Services and nodes
// are found by their names and routes by what they match, so that their order in the file says
// nothing here.
type leaf struct {
	key     string // such as limits.max_reply, service.shop.upstream or service.shop.route[path = "/img/"]
	value   string // as the file would have it
	element string // the service or node that the key belongs to, as in service.shop; empty: none
	live    bool   // may change while a node runs: tag reload
	local   bool   // may differ between nodes: tag local
}

// leaves returns all keys of a checked config, defaults included, in the order of the types.
func (c *Config) leaves() []leaf {
	var all []leaf
	collect(&all, leaf{}, reflect.ValueOf(c).Elem())
	return all
}

// collect appends the leaves of struct v, whose keys begin with at.key.
func collect(to *[]leaf, at leaf, v reflect.Value) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		l := at
		l.key = join(at.key, field.Tag.Get("toml"))
		l.live = at.live || field.Tag.Get("reload") == "true"
		l.local = at.local || field.Tag.Get("local") == "true"
		switch value := v.Field(i).Interface().(type) {
		case []Node:
			collectNamed(to, l, v.Field(i), func(i int) string { return value[i].Name }, false)
		case []Service:
			collectNamed(to, l, v.Field(i), func(i int) string { return value[i].Name }, true)
		case []Route:
			collectRoutes(to, l, value)
		default:
			if isTable(v.Field(i)) {
				collect(to, l, v.Field(i))
			} else {
				l.value = inFile(v.Field(i))
				*to = append(*to, l)
			}
		}
	}
}

// collectNamed appends the list of the elements' names, sorted unless their order counts, then each
// element.
func collectNamed(to *[]leaf, at leaf, list reflect.Value, name func(int) string, sorted bool) {
	var names []string
	for i := range list.Len() {
		names = append(names, name(i))
	}
	all := at
	all.value = quoted(names, sorted)
	*to = append(*to, all)
	for i := range list.Len() {
		l := at
		l.key = join(at.key, names[i])
		l.element = l.key
		collect(to, l, list.Index(i))
	}
}

func collectRoutes(to *[]leaf, at leaf, routes []Route) {
	for _, r := range routes {
		l := at
		l.key = fmt.Sprintf("%s[%s]", at.key, r.sorted())
		l.value = strconv.Quote(string(r.Mode))
		*to = append(*to, l)
	}
}

// sorted returns the route with its methods in order.
func (r Route) sorted() Route {
	r.Methods = slices.Sorted(slices.Values(r.Methods))
	return r
}

// isTable reports whether a struct is one of ours and not a value such as an address.
func isTable(v reflect.Value) bool {
	return v.Kind() == reflect.Struct && v.Type().PkgPath() == reflect.TypeFor[Config]().PkgPath()
}

// inFile returns a value as the file would have it.
func inFile(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case netip.Addr:
		if !value.IsValid() {
			return `""`
		}
	case []string:
		return quoted(value, false)
	}
	switch v.Kind() {
	case reflect.Bool, reflect.Int, reflect.Uint16:
		return fmt.Sprint(v.Interface())
	}
	return strconv.Quote(fmt.Sprint(v.Interface()))
}

func quoted(list []string, sorted bool) string {
	list = slices.Clone(list)
	if sorted {
		slices.Sort(list)
	}
	for i, s := range list {
		list[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(list, ", ") + "]"
}
