// Command soak is a long run of bench/stress: 20 training jobs are created, cancelled, resumed and made to fail at random while
// 8 clients chat. At the end every accepted job must be accounted for, every answer must be what it was before, and
// the server's memory must be within 5 % of what it was early on.
//
//	bin/lorikeet must be built (make build)
//	go run ./bench/soak [-jobs 200 -steps 400]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/bench/process"
	"github.com/lorikeet-ai/lorikeet/bench/stress"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/soak:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var o stress.Options
	binary := flag.String("lorikeet", "bin/lorikeet", "the server")
	flag.IntVar(&o.Jobs, "jobs", 20, "training jobs")
	flag.IntVar(&o.Clients, "clients", 8, "clients that chat")
	flag.IntVar(&o.Steps, "steps", 300, "steps of the longest job")
	flag.Uint64Var(&o.Seed, "seed", 1, "of what is random")
	flag.Parse()
	data, err := os.MkdirTemp("", "lorikeet-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)
	// A small cache of adapters fills early: what grows after that is a leak.
	server, err := process.Start(ctx, *binary, filepath.Join(data, "log"), "--data", filepath.Join(data, "store"),
		"--adapter-dir", "demo/adapters", "--adapter-memory", "12MiB")
	if err != nil {
		return err
	}
	o.URL, o.Resident = server.URL, server.Resident
	r, err := stress.Run(ctx, o, stress.DemoQuestions())
	if stopped := server.Stop(); err == nil {
		err = stopped
	}
	fmt.Printf("%d jobs accepted: %d succeeded, %d cancelled, %d failed; %d times resumed, %d refused\n",
		r.Accepted, r.Succeeded, r.Cancelled, r.Failed, r.Resumed, r.Refused)
	fmt.Printf("%d answers of %d clients\nresident %.1f MB early, %.1f MB late: %+.1f %%\n",
		r.Answers, o.Clients, float64(r.Early)/1e6, float64(r.Late)/1e6, 100*r.Growth())
	for _, f := range r.Faults {
		fmt.Println("fault:", f)
	}
	switch {
	case err != nil:
		return err
	case len(r.Faults) > 0:
		return fmt.Errorf("%d faults", len(r.Faults))
	case r.Succeeded < r.Accepted/3 || r.Cancelled == 0 || r.Failed == 0 || r.Resumed == 0:
		return errors.New("the jobs did not end in all the ways that there are: another -seed, or more -jobs")
	case r.Growth() > 0.05:
		return fmt.Errorf("memory grew by %.1f %%", 100*r.Growth())
	}
	return nil
}
