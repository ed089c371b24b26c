// Command fuzz sends a running server hostile inputs of every kind for as long as it is told, and prints what came of
// each kind; it fails where the server did.
//
//	make build
//	go run ./bench/fuzz -inputs 100000
//
// The inputs are those of package bench/hostile; the tests send a bounded number of them.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/hostile"
	"github.com/lorikeet-ai/lorikeet/bench/process"
)

func main() {
	log.SetFlags(0)
	o := hostile.Options{}
	flag.IntVar(&o.Inputs, "inputs", 100_000, "inputs of each kind")
	flag.DurationVar(&o.Time, "time", 0, "most time for each kind; 0: any")
	flag.IntVar(&o.Parallel, "parallel", 4, "requests at once")
	flag.Uint64Var(&o.Seed, "seed", uint64(time.Now().UnixNano()), "of the inputs")
	binary := flag.String("lorikeet", "bin/lorikeet", "the server")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o, *binary)
	stop()
	if err != nil {
		log.Fatal("fuzz: ", err)
	}
}

func run(ctx context.Context, o hostile.Options, binary string) error {
	dir, err := os.MkdirTemp("", "lorikeet-fuzz-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := process.Start(ctx, binary, filepath.Join(dir, "log"), "--data", filepath.Join(dir, "data"), "--adapter-dir", "demo/adapters")
	if err != nil {
		return err
	}
	defer func() { _ = server.Stop() }() // what it came to is in the reports
	o.URL, o.Resident = server.URL, server.Resident
	for path, into := range map[string]*[]byte{
		"openapi/openapi.yaml": &o.Spec, "demo/adapters/pirate/adapter_config.json": &o.Adapter.Config, "demo/adapters/pirate/adapter_model.safetensors": &o.Adapter.Tensors,
	} {
		if *into, err = os.ReadFile(path); err != nil {
			return err
		}
	}
	fmt.Printf("seed %d\n", o.Seed)
	reports, err := hostile.Run(ctx, o)
	if err == nil {
		var r hostile.Report
		r, err = hostile.Tinker(ctx, o)
		reports = append(reports, r)
	}
	faults := 0
	for _, r := range reports {
		fmt.Printf("%-14s %7d inputs, slowest %v, memory %d to %d MiB, statuses %v\n", r.Kind, r.Inputs, r.Slowest.Round(time.Millisecond), r.Resident[0]>>20, r.Resident[1]>>20, r.Statuses)
		for _, fault := range r.Faults {
			fmt.Println("  FAULT", fault)
		}
		faults += len(r.Faults)
	}
	if err == nil && faults > 0 {
		err = fmt.Errorf("%d faults", faults)
	}
	return err
}
