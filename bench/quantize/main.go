// Command quantize measures what `lorikeet quantize` takes on a large model: the memory and the time of each type.
//
//	make build && go run ./bench/quantize      # the shape of an 8B model, 16 GB
//
// Peak RSS is the process's, as the kernel counts it (VmHWM), pages of mapped files and all. The F16 file is sparse and
// all zeros, so that it takes neither disk nor time to make. Memory does not depend on the weights; times do (a block of
// zeros needs no search for its scale), so they are a lower bound.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lorikeet-ai/lorikeet/quant"
)

func main() {
	binary := flag.String("lorikeet", "bin/lorikeet", "the program")
	types := flag.String("types", "nf4,nf4-dq,q4_0,q4_k_m,q8_0", "which types, by commas")
	layers := flag.Int("layers", 32, "layers; 32 make 16 GB")
	dir := flag.String("dir", os.TempDir(), "where the files are made and removed; the quantized one is real (5 to 9 GB)")
	flag.Parse()
	if err := run(*binary, strings.Split(*types, ","), *layers, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench/quantize:", err)
		os.Exit(1)
	}
}

func run(binary string, types []string, layers int, dir string) error {
	dir, err := os.MkdirTemp(dir, "lorikeet-quantize-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "f16.gguf"), filepath.Join(dir, "out.gguf")
	if err := write(in, layers); err != nil {
		return err
	}
	fmt.Printf("%-10s %10s %10s %12s %10s\n", "", "in GB", "out GB", "peak RSS MB", "seconds")
	for _, typ := range types {
		start := time.Now()
		c := exec.Command(binary, "quantize", in, out, "--type", typ)
		if text, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", typ, err, text)
		}
		usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok {
			return fmt.Errorf("this system does not say how much memory a process took")
		}
		fmt.Printf("%-10s %10.2f %10.2f %12d %10.1f\n", typ, gigabytes(in), gigabytes(out), usage.Maxrss>>10, time.Since(start).Seconds())
		if err := os.Remove(out); err != nil {
			return err
		}
	}
	return nil
}

func gigabytes(path string) float64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return float64(info.Size()) / 1e9
}

// write makes the sparse file: an 8B llama's tensors, with fewer layers if so asked.
func write(path string, layers int) error {
	const embedding, feedForward, kv, vocab = 4096, 14336, 1024, 128256
	var tensors []quant.Tensor
	add := func(name string, t quant.Type, dims ...int64) {
		tensors = append(tensors, quant.Tensor{Name: name + ".weight", Type: t, Dims: dims})
	}
	add("token_embd", quant.F16, embedding, vocab)
	for l := range layers {
		block := func(name string, t quant.Type, dims ...int64) { add(fmt.Sprintf("blk.%d.%s", l, name), t, dims...) }
		block("attn_norm", quant.F32, embedding)
		block("ffn_norm", quant.F32, embedding)
		block("attn_q", quant.F16, embedding, embedding)
		block("attn_k", quant.F16, embedding, kv)
		block("attn_v", quant.F16, embedding, kv)
		block("attn_output", quant.F16, embedding, embedding)
		block("ffn_gate", quant.F16, embedding, feedForward)
		block("ffn_up", quant.F16, embedding, feedForward)
		block("ffn_down", quant.F16, feedForward, embedding)
	}
	add("output_norm", quant.F32, embedding)
	add("output", quant.F16, embedding, vocab)
	var m quant.Metadata
	m.Set("general.architecture", "llama")
	for key, v := range map[string]int{"context_length": 8192, "embedding_length": embedding, "block_count": layers,
		"feed_forward_length": feedForward, "attention.head_count": 32, "attention.head_count_kv": 8, "vocab_size": vocab} {
		m.Set("llama."+key, uint32(v))
	}
	m.Set("llama.attention.layer_norm_rms_epsilon", float32(1e-5))
	m.Set("tokenizer.ggml.model", "none")
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	s := sparse{file: file}
	zeros := make([]byte, 1<<20)
	err = quant.Encode(&s, &m, tensors, func(i int, w io.Writer) error {
		size, err := tensors[i].Type.Size(tensors[i].Dims)
		for ; size > 0 && err == nil; size -= min(size, int64(len(zeros))) {
			_, err = w.Write(zeros[:min(size, int64(len(zeros)))])
		}
		return err
	})
	if err != nil {
		return err
	}
	return file.Truncate(s.end)
}

// sparse writes everything but runs of zeros.
type sparse struct {
	file *os.File
	end  int64
}

func (s *sparse) Write(p []byte) (n int, err error) {
	if len(bytes.Trim(p, "\x00")) > 0 {
		_, err = s.file.WriteAt(p, s.end)
	}
	s.end += int64(len(p))
	return len(p), err
}
