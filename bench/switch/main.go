// Command switch measures what it takes until a sequence is decoded with an adapter, on the random 0.45B base of
// bench/serve with its rank-16 adapters on all seven linears:
//
//	cold    not in memory: read from the store (its pages are in the system's cache), checked and packed
//	cached  in memory: leased from the cache and set on a sequence of the device
//
//	go run ./bench/switch
//
// Run it through make (`make bench`), which sets the C flags.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/bench/load"
	"github.com/lorikeet-ai/lorikeet/bench/randmodel"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

func main() {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := flag.String("dir", filepath.Join(cache, "lorikeet-bench"), "where the models are made and kept (1.5 GB)")
	flag.Parse()
	if err := run(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench/switch:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	files, err := randmodel.Ensure(context.Background(), dir, func(msg string) { fmt.Fprintln(os.Stderr, msg) })
	if err != nil {
		return err
	}
	model, err := llama.Load(llama.Options{Path: files.NF4})
	if err != nil {
		return err
	}
	defer model.Close()
	device, err := llama.NewDevice(model, llama.DeviceOptions{Sequences: 4, Cells: 256, Batch: 64, UBatch: 64, Threads: goruntime.NumCPU()})
	if err != nil {
		return err
	}
	defer device.Close()
	data, err := os.MkdirTemp("", "lorikeet-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)
	store, err := adapters.Open(adapters.Options{Dir: data, Facts: model.Facts()})
	if err != nil {
		return err
	}
	defer store.Close()
	for i, path := range files.AdapterFiles {
		if _, err := store.PutPath(context.Background(), randmodel.AdapterName(i), path, adapters.Note{}); err != nil {
			return err
		}
	}
	return measure(model, device, store)
}

// measure acquires every adapter from caches that hold one at a time, and sets one that is resident.
func measure(model *llama.Model, device *llama.Device, store *adapters.Store) error {
	info, err := store.Get(adapters.Ref{Name: randmodel.AdapterName(0)})
	if err != nil {
		return err
	}
	cache := adapters.NewCache(adapters.CacheOptions{Store: store, Budget: 64 << 20, Pack: model.Pack})
	defer cache.Close()
	var cold, cached []time.Duration
	for round := range 4 {
		for i := range randmodel.Adapters {
			begin := time.Now()
			mix, err := acquire(cache, i)
			if err != nil {
				return err
			}
			if round > 0 { // the first round fills the system's page cache and checks the digests
				cold = append(cold, time.Since(begin))
			}
			for range 20 {
				begin = time.Now()
				again, err := acquire(cache, i)
				if err == nil {
					err = device.SetAdapters(0, again.Terms)
				}
				if err != nil {
					return err
				}
				cached = append(cached, time.Since(begin))
				again.Release()
			}
			if err := device.SetAdapters(0, nil); err != nil {
				return err
			}
			mix.Release()
		}
	}
	s := cache.Stats()
	fmt.Printf("rank %d on 7 linears of %d layers, %.1f MB in the store, %.1f MB packed; %d loads, %d evictions\n",
		info.Rank, randmodel.Half.Layers, float64(info.Bytes)/1e6, float64(s.Bytes)/float64(max(1, s.Resident))/1e6, s.Loads, s.Evictions)
	ms := func(d []time.Duration, q float64) float64 { return float64(load.Quantile(d, q)) / 1e6 }
	fmt.Printf("cold    p50 %7.3f ms  p95 %7.3f ms\n", ms(cold, .5), ms(cold, .95))
	fmt.Printf("cached  p50 %7.3f ms  p95 %7.3f ms\n", ms(cached, .5), ms(cached, .95))
	return nil
}

func acquire(cache *adapters.Cache, i int) (runtime.Mix, error) {
	selection, err := cache.Select([]adapters.Ref{{Name: randmodel.AdapterName(i), Scale: 1}})
	if err != nil {
		return runtime.Mix{}, err
	}
	defer selection.Release()
	return selection.Acquire(context.Background())
}
