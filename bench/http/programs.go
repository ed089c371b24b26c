package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/load"
	"github.com/lorikeet-ai/lorikeet/bench/process"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// comparePrograms starts each of the programs with the embedded base, has them answer the same short chats in alternating
// rounds, and prints the median latency of each and what the later ones add to the first.
func comparePrograms(s settings, programs []string) (err error) {
	dir, err := os.MkdirTemp("", "lorikeet-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	asks := make([]ask, len(programs))
	took := make([][]time.Duration, len(programs))
	for i, program := range programs {
		data := filepath.Join(dir, fmt.Sprint(i))
		server, e := process.Start(context.Background(), program, data+".log", "--data", data, "--parallel", "16")
		if e != nil {
			return e
		}
		defer func() { err = errors.Join(err, server.Stop()) }()
		asks[i] = func(prompt []runtime.Token, tokens int) error { return s.chat(server.URL, prompt, tokens) }
	}
	for round := range s.rounds + 1 {
		for i, a := range asks {
			d, err := measure(s, a)
			if err != nil {
				return err
			}
			if round > 0 { // the first one warms up
				took[i] = append(took[i], d...)
			}
		}
	}
	first := ms(load.Quantile(took[0], .5))
	for i, program := range programs {
		p50 := ms(load.Quantile(took[i], .5))
		fmt.Printf("%-24s %d chats, %d clients, %d tokens each: p50 %.3f ms, p95 %.3f ms, %+.3f ms beside the first\n",
			program, len(took[i]), s.clients, s.tokens, p50, ms(load.Quantile(took[i], .95)), p50-first)
	}
	return nil
}

// chat asks for an answer to a short conversation that no other request has.
func (s settings) chat(url string, prompt []runtime.Token, tokens int) error {
	body, err := json.Marshal(map[string]any{"messages": []map[string]string{{"role": "user", "content": strings.Trim(fmt.Sprint(prompt), "[]")}},
		"max_tokens": tokens, "temperature": 0, "ignore_eos": true, "cache_prompt": false})
	if err != nil {
		return err
	}
	return post(client, url+"/v1/chat/completions", body)
}
