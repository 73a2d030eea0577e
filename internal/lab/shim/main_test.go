package shim

import (
	"testing"

	"github.com/ftgw/ftgw/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
