package llama

import (
	"fmt"
	"strings"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// The values of Options.GPULayers that are no numbers of layers.
const (
	AllLayers  = -1
	AutoLayers = -2 // as many as fit the free memory of the first GPU, with what Room says; none where there is no GPU
)

// Room is what a device must have room for beside weights, so that AutoLayers leaves it.
type Room struct {
	Cells  int    // of the KV cache, which lies where the layers do
	KV     KVType // of the cache
	UBatch int    // rows that are computed at once
	Bytes  int64  // for anything else: adapters
}

// layerBytes are what the layers of a model take on a device: the blocks, and the head as the last one.
func layerBytes(file *quant.File, architecture string, room Room) ([]int64, error) {
	number := func(key string) int64 {
		n, _ := file.Metadata.Uint(architecture + "." + key)
		return int64(n)
	}
	blocks := number("block_count")
	if blocks == 0 || blocks > 1<<16 {
		return nil, fmt.Errorf("the file says that it has %d layers", blocks)
	}
	out := make([]int64, blocks+1)
	head, embedding := int64(0), int64(0)
	for _, t := range file.Tensors {
		var block int64
		switch n, _ := fmt.Sscanf(t.Name, "blk.%d.", &block); {
		case n == 1 && block >= 0 && block < blocks:
			out[block] += onDeviceBytes(t)
		case strings.HasPrefix(t.Name, "output"):
			head += onDeviceBytes(t)
		case t.Name == "token_embd.weight":
			embedding = onDeviceBytes(t)
		}
	}
	if _, untied := file.Tensor("output.weight"); !untied {
		head += embedding // a copy
	}
	heads, kvHeads := number("attention.head_count"), number("attention.head_count_kv")
	if kvHeads == 0 {
		kvHeads = heads
	}
	width := number("attention.key_length") + number("attention.value_length")
	if width == 0 && heads > 0 {
		width = 2 * number("embedding_length") / heads
	}
	halves := map[KVType]int64{KVF16: 4, KVF32: 8, KVQ8: 3}[room.KV] // of a byte
	for i := range blocks {
		out[i] += int64(room.Cells) * kvHeads * width * halves / 2
	}
	vocab := number("vocab_size")
	if e, ok := file.Tensor("token_embd.weight"); ok && len(e.Dims) == 2 {
		vocab = e.Dims[1]
	}
	out[blocks] = head + 4*int64(room.UBatch)*vocab // and the logits
	return out, nil
}

// onDeviceBytes are those of a tensor in the memory of a device, where NF4 of every kind is in blocks of 32.
func onDeviceBytes(t quant.Tensor) int64 {
	if t.Type.NF4() {
		return t.Elements() * 18 / 32
	}
	return t.Size
}

// layersThatFit returns how many layers, the last blocks and then the head, fit into so much free memory, of which a tenth is
// left for what is computed on the way.
func layersThatFit(layers []int64, free, reserved int64) int {
	room := free - free/10 - reserved
	sum := int64(0)
	for _, n := range layers {
		sum += n
	}
	if sum <= room {
		return len(layers)
	}
	fit := 0
	for i := len(layers) - 2; i >= 0 && layers[i] <= room; i-- {
		room -= layers[i]
		fit++
	}
	return fit
}
