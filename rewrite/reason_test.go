package rewrite

import (
	"regexp"
	"testing"
)

func TestReasonNamesAreKebabCaseAndDistinct(t *testing.T) {
	kebab := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := map[string]Reason{}
	for r := range Reason(255) {
		name := r.String()
		if !kebab.MatchString(name) {
			t.Errorf("reason %d is called %q", uint8(r), name)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("reasons %d and %d are both called %q", uint8(other), uint8(r), name)
		}
		seen[name] = r
	}
	if n := len(parseReasonNames); n > int(firstFlowReason) {
		t.Errorf("%d parse reasons run into the flow reasons", n)
	}
	if n := int(firstFlowReason) + len(flowReasonNames); n > MaxReason {
		t.Errorf("%d reasons, but MaxReason is %d", n, MaxReason)
	}
}
