// Command generate makes demo-base.nf4.gguf, the file that package demo embeds, from demo-base.f16.gguf.
// It is run by "go generate ./demo", in the folder of package demo.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/lorikeet-ai/lorikeet/quant"
)

func main() {
	options := quant.Options{Type: "nf4"}
	report, err := quant.Quantize(context.Background(), "demo-base.f16.gguf", "demo-base.nf4.gguf", options)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("demo-base.nf4.gguf: %d tensors, %d of them quantized, %d bytes, %.3f bits per weight\n",
		report.Tensors, report.Quantized, report.BytesOut, report.BitsPerWeight)
}
