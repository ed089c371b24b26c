package tokenizer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// ErrTooLong is the error of a text that is refused for its length, before any work is done on it.
var ErrTooLong = errors.New("text is too long")

// Tokenizer is the tokenizer of one model. All methods may be called from any goroutine at any time.
type Tokenizer struct {
	model          model
	added          *addedTokens
	pieces         pieceTable
	bos, eos       Token // none where the file has none
	addBOS, addEOS bool
	family         string
	proven         bool
	shrink         int // how many times shorter normalizing makes a text at most; 0: a text may lose any number of bytes
}

// model turns a text without added tokens into tokens.
type model interface {
	// normalize is what is done to a text between added tokens, and to added tokens that are looked for after it.
	normalize(s string) string
	// encode appends the tokens of a normalized text, which is not empty, to r.out. first says that it is the
	// beginning of the whole text.
	encode(s string, first bool, r *run)
}

// New reads the tokenizer from a file's metadata. It returns nil and no error where the file states that it has none
// (tokenizer.ggml.model is missing, "none" or "no_vocab"), and an error wrapping ErrUnsupported or ErrFormat, which
// names the key, where it has one that cannot be used. The metadata are not kept.
func New(m *quant.Metadata) (*Tokenizer, error) {
	name, _ := m.String("tokenizer.ggml.model")
	if name == "" || name == "none" || name == "no_vocab" {
		return nil, nil
	}
	make, ok := models[name]
	if !ok {
		return nil, fmt.Errorf("%w: tokenizer.ggml.model %q is none of gpt2 (byte-level BPE), llama (SentencePiece's BPE) and t5 (SentencePiece's unigram)", ErrUnsupported, name)
	}
	v, err := readVocabulary(m)
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{pieces: newPieceTable(name, v)}
	if err := make(t, m, v); err != nil {
		return nil, err
	}
	if t.added, err = newAddedTokens(m, v, t.model.normalize); err != nil {
		return nil, err
	}
	if add, ok := m.Bool("tokenizer.ggml.add_bos_token"); ok {
		t.addBOS = add
	}
	if add, ok := m.Bool("tokenizer.ggml.add_eos_token"); ok {
		t.addEOS = add
	}
	t.addBOS = t.addBOS && t.bos != none
	t.addEOS = t.addEOS && t.eos != none
	return t, nil
}

// models make the model, by tokenizer.ggml.model, and set what the file may override.
var models = map[string]func(t *Tokenizer, m *quant.Metadata, v *vocabulary) error{
	"gpt2": func(t *Tokenizer, m *quant.Metadata, v *vocabulary) error {
		pre, _ := m.String("tokenizer.ggml.pre")
		f, err := familyOf(pre)
		if err != nil {
			return err
		}
		b, err := newBytePairs(m, v, f)
		t.model, t.family, t.proven, t.addBOS = b, f.name, f.original, f.addBOS
		t.bos, t.eos = v.token(m, "bos_token_id", none), v.token(m, "eos_token_id", none)
		switch {
		case err != nil || slices.Contains(b.byteIDs[:], none): // a byte without a token is lost
		case b.nfc:
			t.shrink = 3 // NFC makes a text shorter, at most to a third
		default:
			t.shrink = 1
		}
		return err
	},
	"llama": func(t *Tokenizer, m *quant.Metadata, v *vocabulary) error {
		p, err := newPieces(m, v)
		t.model, t.family, t.proven, t.addBOS = p, "SentencePiece BPE", true, true
		t.bos, t.eos = v.token(m, "bos_token_id", 1), v.token(m, "eos_token_id", 2)
		if err == nil && !slices.Contains(p.byteIDs[:], none) { // else one unknown token stands for any number of bytes
			t.shrink = len(spaceMark) // it becomes a space, of one byte
		}
		return err
	},
	"t5": func(t *Tokenizer, m *quant.Metadata, v *vocabulary) error {
		u, err := newUnigram(m, v)
		if err != nil {
			return err
		}
		t.model, t.family, t.proven, t.addEOS = u, "SentencePiece unigram", true, true
		t.bos, t.eos = v.token(m, "bos_token_id", none), v.token(m, "eos_token_id", 1)
		if u.keepsBytes() {
			t.shrink = len(spaceMark) // it becomes a space, of one byte
		}
		return nil
	},
}

// Family names the kind of the tokenizer. proven says that what the original library does for this family is known
// and tested to be what this package does; otherwise the family is treated as llama.cpp is known to treat it.
func (t *Tokenizer) Family() (name string, proven bool) { return t.family, t.proven }

// BOS and EOS return the tokens that begin and end a text, -1 where the file has none.
func (t *Tokenizer) BOS() Token { return t.bos }

// EOS returns the token that ends a text, -1 where the file has none.
func (t *Tokenizer) EOS() Token { return t.eos }

// AddsBOS reports whether Tokenize puts BOS first where it is asked to.
func (t *Tokenizer) AddsBOS() bool { return t.addBOS }

// Size returns the number of tokens.
func (t *Tokenizer) Size() int { return t.pieces.len() }

// BytesPerToken returns the most bytes of a text that one token can stand for, but for white space that an added
// token takes from beside it: a text of more bytes than that times a number of tokens has more tokens. 0 says that
// there is no such bound.
func (t *Tokenizer) BytesPerToken() int { return t.shrink * t.pieces.longest }

// Tokenize returns the tokens of a text. framing puts the model's BOS before and EOS behind them where it has them so.
// special lets control tokens in the text be read as such; without it they are text like any other. Added tokens that
// are no control tokens are always found. The error wraps ctx's, or ErrTooLong for a text beyond 1 GiB.
func (t *Tokenizer) Tokenize(ctx context.Context, text string, framing, special bool) ([]Token, error) {
	if len(text) > 1<<30 {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooLong, len(text), 1<<30)
	}
	r := &run{ctx: ctx, out: make([]Token, 0, len(text)/3+8)}
	r.merger.check = r.check
	if framing && t.addBOS {
		r.out = append(r.out, t.bos)
	}
	raw, normalized := t.added.rawUser, t.added.normalizedUser
	if special {
		raw, normalized = t.added.raw, t.added.normalized
	}
	first := true
	r.between(raw, text, &first, func(s string) {
		r.between(normalized, t.model.normalize(s), &first, func(s string) {
			t.model.encode(s, first, r)
			first = false
		})
	})
	if framing && t.addEOS {
		r.out = append(r.out, t.eos)
	}
	if r.err == nil {
		r.err = r.merger.err
	}
	if r.err != nil {
		return nil, fmt.Errorf("tokenize: %w", r.err)
	}
	return r.out, nil
}

// run is one call of Tokenize.
type run struct {
	ctx    context.Context
	out    []Token
	merger merger
	ends   []Token   // of a unigram model: see best
	sums   []float64 // likewise
	steps  int       // bytes since the context was last asked
	err    error
}

// between appends the added tokens of s and gives what is between them to other. first is set to false by a token.
func (r *run) between(f *finder, s string, first *bool, other func(string)) {
	done := 0
	for _, x := range f.find(s) {
		if done < x.start {
			other(s[done:x.start])
		}
		r.out = append(r.out, x.token)
		*first = false
		done = x.end
	}
	if done < len(s) {
		other(s[done:])
	}
}

func (r *run) check() error {
	if r.err == nil {
		r.err = r.ctx.Err()
	}
	return r.err
}

// stopped reports whether the work is to end, n bytes on.
func (r *run) stopped(n int) bool {
	if r.steps += n; r.steps > 1<<14 {
		r.steps = 0
		_ = r.check()
	}
	return r.err != nil
}
