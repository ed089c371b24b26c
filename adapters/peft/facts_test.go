package peft

import (
	"bytes"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// demoFacts reads from the demo base's header what adapters are checked against.
func demoFacts(t testing.TB) *runtime.Facts {
	t.Helper()
	file, err := quant.Read(bytes.NewReader(demo.Base()), int64(len(demo.Base())))
	if err != nil {
		t.Fatal(err)
	}
	f, err := FactsOf(file)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFactsOfTheDemoBase(t *testing.T) {
	f := demoFacts(t)
	if f.Heads == 0 || f.KVHeads == 0 || f.Layers == 0 || !f.RopeNorm || len(f.Targets) < 7*f.Layers {
		t.Errorf("%+v", f)
	}
	base := demo.Base()
	file, err := quant.Read(bytes.NewReader(base), int64(len(base)))
	if err != nil {
		t.Fatal(err)
	}
	file.Metadata.Set("general.architecture", "mamba")
	_, err = FactsOf(file)
	pefttest.WantError(t, err, ErrUnsupported, "mamba")
}
