package huggingface

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// Types are what Options.Type can be. "keep" leaves each weight in the type it has; "nf4" and "nf4-dq" are quant.Quantize's.
var Types = []string{"nf4", "nf4-dq", "keep", "f32", "f16", "bf16", "q8_0"}

// Options say how Import writes a model.
type Options struct {
	Type         string                  // of the weights, one of Types
	Name         string                  // general.name; "": what the folder, or its repository, is called
	PreTokenizer string                  // tokenizer.ggml.pre; "": as tokenizer.json says
	Threads      int                     // 0: one per CPU
	Progress     func(done, total int64) // input bytes; called from Import's goroutine; may be nil
}

// Report says what Import did.
type Report struct {
	quant.Report
	Architecture string   // general.architecture, without a mark
	Prequantized bool     // bitsandbytes' codes were read
	Notes        []string // what a reader should know, each a sentence
}

// Import writes the model in the folder dir to the GGUF file out, which appears only when it is whole. It holds a few
// MiB of weights at a time, and the tokenizer. The error wraps ErrFormat or ErrUnsupported, with the file, tensor or
// field at fault, where the folder is.
func Import(ctx context.Context, dir, out string, o Options) (Report, error) {
	if !slices.Contains(Types, o.Type) {
		return Report{}, fmt.Errorf("%w: type %q is none of %s", ErrUnsupported, o.Type, strings.Join(Types, ", "))
	}
	m, err := open(dir, o)
	if err != nil {
		return Report{}, fmt.Errorf("%s: %w", dir, err)
	}
	defer m.close()
	report := Report{Architecture: m.config.arch, Prequantized: m.config.nf4, Notes: m.notes}
	report.Report, err = m.write(ctx, out, o)
	if err != nil {
		return Report{}, fmt.Errorf("%s: %w", dir, err)
	}
	if zeros := m.shards.zeros(); len(zeros) > 0 {
		report.Notes = append(report.Notes, fmt.Sprintf("all weights of %s are 0: unless that is meant, the files were not saved whole, and the model cannot answer well", some(zeros)))
	}
	if o.Type == "q8_0" {
		report.Notes = append(report.Notes, m.unfit()...)
	}
	return report, nil
}

// some names the first tensors of a list, and how many more there are.
func some(names []string) string {
	const most = 3
	text := fmt.Sprintf("%q", names[:min(len(names), most)])
	text = strings.ReplaceAll(strings.Trim(text, "[]"), `" "`, `", "`)
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

// unfit says which matrices q8_0 leaves in their type: it has blocks of 32 weights.
func (m *model) unfit() []string {
	var names []string
	var sizes []int64
	for _, t := range m.view.Tensors {
		if len(t.Dims) > 1 && !fitsQ8(t) {
			names = append(names, t.Name)
			if !slices.Contains(sizes, t.Dims[0]) {
				sizes = append(sizes, t.Dims[0])
			}
		}
	}
	if names == nil {
		return nil
	}
	lengths := strings.ReplaceAll(strings.Trim(fmt.Sprint(sizes), "[]"), " ", ", ")
	return []string{fmt.Sprintf("%s kept the type of the folder: q8_0 has blocks of 32 weights, and %s is no multiple of 32", some(names), lengths)}
}

func fitsQ8(t quant.Tensor) bool { return t.Dims[0]%32 == 0 }

// model is an open folder and its view.
type model struct {
	config *config
	shards *shards
	view   *quant.File
	notes  []string
}

func (m *model) close() { m.shards.close() }

// open reads all of a folder but the weights.
func open(dir string, o Options) (*model, error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	defer f.close() // open files stay open
	c, err := readConfig(f)
	if err != nil {
		return nil, err
	}
	if err := c.readGeneration(f); err != nil {
		return nil, err
	}
	s, err := openShards(f)
	if err != nil {
		return nil, err
	}
	m := &model{config: c, shards: s}
	if err := m.read(f, o); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// read makes the view.
func (m *model) read(f *folder, o Options) error {
	c := m.config
	vocabSize, err := m.shards.vocabSize()
	if err != nil {
		return err
	}
	if c.VocabSize != 0 && c.VocabSize != vocabSize {
		return formatError(configFile, "vocab_size is %d, the embedding has %d rows", c.VocabSize, vocabSize)
	}
	c.VocabSize = vocabSize
	tensors, err := c.collect(m.shards, c.nf4 && o.Type == "nf4")
	if err != nil {
		return err
	}
	v, err := readVocabulary(f, c, o.PreTokenizer, vocabSize)
	if err != nil {
		return err
	}
	s, err := readSpecial(f)
	if err != nil {
		return err
	}
	t, err := readTemplates(f, s.template)
	if err != nil {
		return err
	}
	card, err := readCard(f)
	if err != nil {
		return err
	}
	name := o.Name
	if name == "" {
		name = f.name
	}
	metadata := c.metadata(name, card)
	v.set(&metadata)
	t.set(&metadata)
	if c.nf4 && o.Type == "nf4" {
		metadata.Set("general.architecture", c.arch+quant.NF4Suffix)
	}
	m.notes = slices.Concat(c.notes, v.notes)
	if c.nf4 && o.Type != "nf4" {
		m.notes = append(m.notes, "bitsandbytes' codes are decoded, to be written as "+o.Type)
	}
	m.view, err = view(metadata, tensors)
	return err
}

// maxVocab bounds the vocabulary; the largest published has 262,144 tokens.
const maxVocab = 1 << 20

// vocabSize returns the number of tokens: the embedding matrix has a line for each.
func (s *shards) vocabSize() (int64, error) {
	const name = "model.embed_tokens.weight"
	t, ok := s.tensors[name]
	if !ok {
		return 0, fmt.Errorf("%w: tensor %q is in no shard", ErrFormat, name)
	}
	if len(t.Shape) != 2 || t.Shape[0] < 1 || t.Shape[0] > maxVocab {
		return 0, t.err(fmt.Errorf("its shape is %v, not that of an embedding", t.Shape))
	}
	return t.Shape[0], nil
}

// fileTypes are llama.cpp's numbers of general.file_type.
var fileTypes = map[quant.Type]uint32{quant.F32: 0, quant.F16: 1, quant.Q8_0: 7, quant.BF16: 32}

// write writes the view to out in the type that was asked for.
func (m *model) write(ctx context.Context, out string, o Options) (quant.Report, error) {
	q := quant.Options{Type: o.Type, Threads: o.Threads, Progress: o.Progress}
	switch {
	case o.Type == "nf4-dq", o.Type == "nf4" && !m.config.nf4:
		return quant.QuantizeFile(ctx, m.view, out, q)
	case o.Type == "nf4":
		// The linear layers have their codes; embedding and head become what Quantize makes of them.
		return m.rewrite(ctx, out, q, func(t quant.Tensor) quant.Type {
			if (t.Name == "token_embd.weight" || t.Name == "output.weight") && fitsQ8(t) {
				return quant.Q8_0
			}
			return t.Type
		})
	}
	to, convert := map[string]quant.Type{"f32": quant.F32, "f16": quant.F16, "bf16": quant.BF16, "q8_0": quant.Q8_0}[o.Type]
	return m.rewrite(ctx, out, q, func(t quant.Tensor) quant.Type {
		if !convert || len(t.Dims) < 2 || to == quant.Q8_0 && !fitsQ8(t) {
			return t.Type
		}
		return to
	})
}

// rewrite writes the view with the types that typeOf gives.
func (m *model) rewrite(ctx context.Context, out string, q quant.Options, typeOf func(quant.Tensor) quant.Type) (quant.Report, error) {
	metadata := m.view.Metadata.Clone()
	bytes := map[quant.Type]int64{}
	for _, t := range m.view.Tensors {
		bytes[typeOf(t)] += t.Elements()
	}
	most := quant.F32
	for t, n := range bytes {
		if n > bytes[most] {
			most = t
		}
	}
	if number, ok := fileTypes[most]; ok {
		metadata.Set("general.file_type", number)
	} else {
		metadata.Set("general.file_type", uint32(38)) // LLAMA_FTYPE_MOSTLY_MXFP4_MOE, what NF4 in blocks of 64 is typed as
	}
	metadata.Set("general.quantization_version", uint32(2))
	return m.view.WriteAs(ctx, out, &metadata, typeOf, q)
}
