package config

import (
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// decodeTable fills the struct v from a table. Keys that are not in the table keep the value
// they have; keys that v does not know are mistakes.
func decodeTable(f *findings, at string, table map[string]any, v reflect.Value) {
	for _, key := range slices.Sorted(maps.Keys(table)) {
		field := fieldOf(v, key)
		if !field.IsValid() {
			f.add(join(at, key), suggest(key, v.Type()), "unknown key")
			continue
		}
		decodeValue(f, join(at, key), table[key], field)
	}
}

// decodeValue fills v, whose type decides what the file must hold.
func decodeValue(f *findings, at string, value any, v reflect.Value) {
	if _, ok := v.Interface().(time.Duration); ok {
		decodeDuration(f, at, value, v)
		return
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if s, ok := value.(string); !ok {
			f.add(at, "write it in quotes, as in "+example(v.Type()), "is %s", kindOf(value))
		} else if err := text.UnmarshalText([]byte(s)); err != nil {
			f.add(at, "write it as in "+example(v.Type()), "%q is not %s", s, noun(v.Type()))
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		decodeScalar(f, at, value, v, "a text in quotes")
	case reflect.Bool:
		decodeScalar(f, at, value, v, "true or false")
	case reflect.Int, reflect.Uint16:
		decodeNumber(f, at, value, v)
	case reflect.Struct:
		if table, ok := value.(map[string]any); ok {
			decodeTable(f, at, table, v)
		} else {
			f.add(at, "write a table, as under ["+header(at)+"]", "is %s", kindOf(value))
		}
	case reflect.Slice:
		decodeList(f, at, value, v)
	}
}

func decodeScalar(f *findings, at string, value any, v reflect.Value, want string) {
	got := reflect.ValueOf(value)
	if got.Kind() != v.Kind() {
		f.add(at, "write "+want, "is %s", kindOf(value))
		return
	}
	v.Set(got.Convert(v.Type()))
}

func decodeNumber(f *findings, at string, value any, v reflect.Value) {
	n, ok := value.(int64)
	switch {
	case !ok:
		f.add(at, "write a whole number, without quotes", "is %s", kindOf(value))
	case v.Kind() == reflect.Uint16 && (n < 1 || n > 65535):
		f.add(at, "choose 1 to 65535", "%d is not a port", n)
	case v.Kind() == reflect.Uint16:
		v.SetUint(uint64(n))
	default:
		v.SetInt(n)
	}
}

func decodeDuration(f *findings, at string, value any, v reflect.Value) {
	s, ok := value.(string)
	if !ok {
		f.add(at, `write a duration in quotes, as in "50ms"`, "is %s", kindOf(value))
		return
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		f.add(at, `write it as in "50ms" or "1.5s"`, "%q is not a duration", s)
		return
	}
	v.SetInt(int64(d))
}

func decodeList(f *findings, at string, value any, v reflect.Value) {
	list, ok := value.([]any)
	if !ok {
		remedy := `write a list, as in ["web-a", "web-b"]`
		if v.Type().Elem().Kind() == reflect.Struct {
			remedy = "write [[" + header(at) + "]] before each of them"
		}
		f.add(at, remedy, "is %s", kindOf(value))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
	for i, one := range list {
		element := v.Index(i)
		if d, ok := element.Addr().Interface().(interface{ setDefaults() }); ok {
			d.setDefaults()
		}
		decodeValue(f, index(at, i), one, element)
	}
}

// fieldOf returns the field of struct v for a key of the file, or the zero Value.
func fieldOf(v reflect.Value, key string) reflect.Value {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("toml") == key {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

// kindOf names what the file holds, in the file's words.
func kindOf(value any) string {
	switch value.(type) {
	case string:
		return "a text"
	case int64:
		return "a number"
	case float64:
		return "a fraction"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

// header returns the table header of a key: service[0].route becomes service.route.
func header(key string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(key, "]") {
		name, _, _ := strings.Cut(part, "[")
		b.WriteString(name)
	}
	return b.String()
}

func noun(t reflect.Type) string {
	switch t.Name() {
	case "Addr":
		return "an IP address"
	case "AddrPort":
		return "an IP address and a port"
	}
	return "a size"
}

func example(t reflect.Type) string {
	examples := map[string]string{"Addr": "192.0.2.11", "AddrPort": "192.0.2.100:80", "Bytes": "1MiB"}
	return fmt.Sprintf("%q", examples[t.Name()])
}

// keysOf returns the keys that a struct type knows, in the order of its fields.
func keysOf(t reflect.Type) []string {
	keys := make([]string, t.NumField())
	for i := range keys {
		keys[i] = t.Field(i).Tag.Get("toml")
	}
	return keys
}
