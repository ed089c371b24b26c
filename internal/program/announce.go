package program

import (
	"fmt"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/bytesize"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// announce prints what is served, for people; the log says the same for machines.
func (p *Program) announce() {
	f, c := p.model.Facts(), &p.config
	names := []string{}
	for _, info := range p.store.List() {
		names = append(names, info.Name)
	}
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s "+format+"\n", append([]any{what}, args...)...)
	}
	fmt.Fprintf(&b, "lorikeet %s serves %s\n", p.config.Version, p.name())
	line("model", "%s, %s, %s weights, %s (%.3f bits per weight, %.3f in memory)", f.Name, f.Architecture, count(f.Parameters), f.Quantization,
		f.BitsPerWeight, f.ResidentBits)
	line("context", "%d tokens for %d requests at once, at most %d each, KV in %s", c.Context, c.Parallel, p.engine.Context(), c.KVType)
	line("adapters", "%s, %s of memory for them", adapterNames(names), bytesize.Format(c.AdapterBytes))
	if d := p.engine.SlotStats(); d.Bytes > 0 && c.Backend != "mmid" {
		line("", "%s of the device's memory for those in use", bytesize.Format(d.Bytes))
	}
	line("stored in", "%s", c.Data)
	if p.node != nil {
		line("cluster", "node %s, %s; adapters are shared under %q", p.node.Name(), c.Cluster.others(), c.Cluster.Prefix)
	}
	kernels, _, _ := strings.Cut(llama.SystemInfo(), "|") // what follows is llama.cpp's own
	line("compute", "%d threads, %s", c.Threads, strings.TrimSpace(kernels))
	if f.Device != "" {
		line("device", "%s, %d of %d layers", f.Device, f.DeviceLayers, f.Layers+1)
	}
	if len(c.Keys) > 0 {
		line("keys", "%d, to be sent as Authorization: Bearer KEY", len(c.Keys))
	}
	line("page", "%s/", p.URL())
	line("docs", "%s/docs", p.URL())
	line("address", "%s", p.URL())
	fmt.Fprint(p.out, b.String())
	p.log.Info().Str("url", p.URL()).Str("model", p.name()).Str("quantization", f.Quantization).Int("context", c.Context).
		Int("parallel", c.Parallel).Int("adapters", len(names)).Msg("ready")
}

// adapterNames says how many adapters there are and names the first few.
func adapterNames(names []string) string {
	const few = 8
	switch {
	case len(names) == 0:
		return "none registered"
	case len(names) > few:
		return fmt.Sprintf("%d registered (%s, ...)", len(names), strings.Join(names[:few], ", "))
	}
	return fmt.Sprintf("%d registered (%s)", len(names), strings.Join(names, ", "))
}

// count writes a number of weights as people say it: 5.1M, 7.24B.
func count(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2fB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
	return fmt.Sprint(n)
}
