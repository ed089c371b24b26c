//go:build cgo && linux

package llama

import (
	"math/rand/v2"
	"os"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// residentMemory returns what the process holds of the system's memory, once Go has given back what it does not need.
func residentMemory(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// Five hundred adapters of all sizes are packed and closed, in an order in which those that stay lie between those that
// were closed. The memory of the process never exceeds what the adapters report.
func TestMemoryUnderAdapterChurn(t *testing.T) {
	if os.Getenv("ASAN_OPTIONS") != "" {
		t.Skip("under AddressSanitizer freed memory stays with the process for a while")
	}
	m := openModel(t, Options{Path: tiny.file(t)})
	rng := rand.New(rand.NewPCG(11, 4))
	kinds := make([]*runtime.LoRA, 12)
	for i := range kinds {
		keep := []func(string) bool{isLinear, isAttention, func(string) bool { return true }}[i%3]
		kinds[i] = newAdapter(t, m, uint64(i), []int{1, 2, 4, 8, 16, 33, 64, 128, 8, 4, 16, 256}[i], 8, keep).lora
	}
	pack(t, m, kinds[11]).Close() // whatever is made once
	before := residentMemory(t)

	const budget = 48 << 20
	var resident []runtime.Packed
	var held, most int64
	for i := range 500 {
		p, err := m.Pack(kinds[rng.IntN(len(kinds))])
		if err != nil {
			t.Fatal(err)
		}
		resident, held = append(resident, p), held+p.Bytes()
		for held > budget {
			i := rng.IntN(len(resident))
			held -= resident[i].Bytes()
			resident[i].Close()
			resident = slices.Delete(resident, i, i+1)
		}
		if i%25 == 24 {
			over := residentMemory(t) - before - held
			most = max(most, over)
			if slack := int64(3 << 20); over > slack { // the allocator's own, and thread stacks
				t.Errorf("after %d adapters, %d resident ones say that they hold %d bytes, and the process holds %d more than that", i+1, len(resident), held, over)
			}
		}
	}
	t.Logf("%d adapters held %d bytes in the end; at most %d more were resident", len(resident), held, most)
	for _, p := range resident {
		p.Close()
	}
	if left := residentMemory(t) - before; left > 3<<20 {
		t.Errorf("%d bytes are left when all adapters have gone", left)
	}
	goruntime.KeepAlive(kinds)
}
