package hostile

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
)

// sorted returns the keys of a map in their order, so that the same source of random numbers makes the same input.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// form is a multipart form of fields and files.
func form(r *rand.Rand, fields map[string]string, files map[string][]byte) (contentType string, body []byte) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, name := range sorted(fields) {
		_ = w.WriteField(name, fields[name])
	}
	for _, name := range sorted(files) {
		part, err := w.CreateFormFile("file", name)
		if err == nil {
			_, _ = part.Write(files[name])
		}
	}
	_ = w.Close()
	body = b.Bytes()
	if r.IntN(16) == 0 {
		body = damage(r, body)
	}
	return w.FormDataContentType(), body
}

// upload sends files as an adapter of a name that no good one has.
func upload(r *rand.Rand, files map[string][]byte) Input {
	contentType, body := form(r, map[string]string{"name": fmt.Sprintf("hostile-%d", r.IntN(4))}, files)
	return Input{Method: http.MethodPost, Path: "/adapters", ContentType: contentType, Body: body}
}

// archiveInput sends a zip or a tar, mostly with entries that no adapter has, or damaged.
func (f Files) archiveInput(r *rand.Rand) Input {
	entries := map[string][]byte{"adapter_config.json": f.Config, "adapter_model.safetensors": f.Tensors}
	for range r.IntN(4) {
		entries[pick(r, "../escape", "/etc/x", "a/../../b", "a\\b", "adapter_config.json/x", "con", strings.Repeat("d/", 200)+"x", text(r))] = []byte(text(r))
	}
	if r.IntN(4) == 0 {
		entries["adapter_model.safetensors"] = make([]byte, 1<<(10+r.IntN(14))) // which packs to nothing
	}
	var archive []byte
	name := pick(r, "a.zip", "a.tar", "a.tar.gz", "a.tgz")
	if strings.HasSuffix(name, "zip") {
		archive = zipped(r, entries)
	} else {
		archive = tarred(r, entries, strings.HasSuffix(name, "gz"))
	}
	if r.IntN(2) == 0 {
		archive = damage(r, archive)
	}
	return upload(r, map[string][]byte{name: archive})
}

func zipped(r *rand.Rand, entries map[string][]byte) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range sorted(entries) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: pick(r, zip.Store, zip.Deflate)})
		if err == nil {
			_, _ = w.Write(entries[name])
		}
	}
	_ = z.Close()
	return b.Bytes()
}

func tarred(r *rand.Rand, entries map[string][]byte, compressed bool) []byte {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for _, name := range sorted(entries) {
		data := entries[name]
		h := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(data)), Typeflag: pick[byte](r, tar.TypeReg, tar.TypeReg, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo)}
		if h.Typeflag != tar.TypeReg {
			h.Size, h.Linkname = 0, "/etc/passwd"
		}
		if t.WriteHeader(h) == nil && h.Typeflag == tar.TypeReg {
			_, _ = t.Write(data)
		}
	}
	_ = t.Close()
	if !compressed {
		return b.Bytes()
	}
	var packed bytes.Buffer
	g := gzip.NewWriter(&packed)
	_, _ = g.Write(b.Bytes())
	_ = g.Close()
	return packed.Bytes()
}

// adapterInput sends a PEFT adapter with a changed configuration, or damaged tensors, or a GGUF file.
func (f Files) adapterInput(r *rand.Rand) Input {
	config, tensors := f.Config, f.Tensors
	switch r.IntN(4) {
	case 0:
		config = changedConfig(r, config)
	case 1:
		tensors = damage(r, tensors)
	case 2:
		tensors = changedHeader(r, tensors)
	default:
		return upload(r, map[string][]byte{"a.gguf": ggufNoise(r)})
	}
	return upload(r, map[string][]byte{"adapter_config.json": config, "adapter_model.safetensors": tensors})
}

// changedConfig sets a few fields of LoraConfig to something else.
func changedConfig(r *rand.Rand, config []byte) []byte {
	var fields map[string]any
	if json.Unmarshal(config, &fields) != nil {
		return config
	}
	for range 1 + r.IntN(3) {
		fields[pick(r, "r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern", "modules_to_save", "bias", "use_dora", "layers_to_transform", "peft_type",
			"fan_in_fan_out", "trainable_token_indices", text(r))] = value(r, 3)
	}
	return encode(fields)
}

// changedHeader writes other names, types, shapes and offsets into the header of a safetensors file.
func changedHeader(r *rand.Rand, file []byte) []byte {
	if len(file) < 8 {
		return file
	}
	size := binary.LittleEndian.Uint64(file)
	var header map[string]map[string]any
	if size > uint64(len(file)-8) || json.Unmarshal(file[8:8+size], &header) != nil {
		return damage(r, file)
	}
	for _, name := range sorted(header) {
		t := header[name]
		if r.IntN(4) > 0 {
			continue
		}
		switch r.IntN(4) {
		case 0:
			t["dtype"] = pick[any](r, "F64", "I8", "F8_E4M3", "BF16", value(r, 1))
		case 1:
			t["shape"] = pick[any](r, []any{number(r), number(r)}, []any{}, value(r, 2))
		case 2:
			t["data_offsets"] = pick[any](r, []any{number(r), number(r)}, []any{0, 0}, value(r, 2))
		default:
			delete(header, name)
			header[text(r)] = t
		}
	}
	text := encode(header)
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), file[8+size:]...)
}

// ggufNoise is the beginning of a GGUF file, with keys and tensors that mean nothing.
func ggufNoise(r *rand.Rand) []byte {
	b := append([]byte("GGUF"), 3, 0, 0, 0)
	for range 2 { // numbers of tensors and of keys
		b = binary.LittleEndian.AppendUint64(b, pick(r, 0, 1, uint64(r.IntN(5)), 1<<40, 1<<63))
	}
	for range r.IntN(6) {
		key := pick(r, "general.type", "general.architecture", "adapter.type", "adapter.lora.alpha", text(r))
		b = append(binary.LittleEndian.AppendUint64(b, uint64(len(key))), key...)
		kind := uint32(r.IntN(14))
		b = binary.LittleEndian.AppendUint32(b, kind)
		if kind == 9 { // an array
			b = binary.LittleEndian.AppendUint32(b, uint32(r.IntN(14)))
		}
		b = binary.LittleEndian.AppendUint64(b, pick(r, 0, 5, uint64(r.IntN(100)), 1<<50))
		b = append(b, text(r)...)
	}
	return damage(r, b)
}

// datasetInput sends a dataset, in which mostly something is wrong, for a job that could be done in no time, or as a file.
func datasetInput(r *rand.Rand) Input {
	var b strings.Builder
	for range r.IntN(6) {
		line := map[string]any{}
		switch r.IntN(6) {
		case 0:
			line["messages"] = value(r, 3)
		case 1:
			line["messages"] = []any{map[string]any{"role": pick(r, "user", "system", text(r)), "content": pick[any](r, text(r), value(r, 2))},
				map[string]any{"role": "assistant", "content": text(r), "weight": value(r, 0)}}
		case 2:
			line["prompt"], line["completion"] = value(r, 1), value(r, 1)
		case 3:
			line["text"] = value(r, 1)
		case 4:
			line["conversations"] = []any{map[string]any{"from": text(r), "value": value(r, 1)}}
		default:
			line = map[string]any{text(r): value(r, 3)}
		}
		b.Write(encode(line))
		b.WriteString(pick(r, "\n", "\n", "\r\n", "", "\n\n", "\x00"))
	}
	data := []byte(b.String())
	if r.IntN(3) == 0 {
		data = damage(r, data)
	}
	if r.IntN(3) == 0 {
		contentType, body := form(r, map[string]string{"purpose": pick(r, "fine-tune", "fine-tune", text(r))}, map[string][]byte{text(r): data})
		return Input{Method: http.MethodPost, Path: "/v1/files", ContentType: contentType, Body: body}
	}
	// The first line cannot be learned from, so that no job runs; what is wrong with the others must not matter.
	contentType, body := form(r, map[string]string{"name": "hostile", "max_steps": "1", "r": "1"}, map[string][]byte{"d.jsonl": append([]byte("{\"nothing\": 1}\n"), data...)})
	return Input{Method: http.MethodPost, Path: "/adapters/train", ContentType: contentType, Body: body}
}
