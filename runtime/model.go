package runtime

// Token is an index into the model's vocabulary.
type Token = int32

// Shape is the shape of a linear layer's weight: it maps In features to Out features.
type Shape struct{ In, Out int }

// Facts describe the loaded model, mostly as its file does; they never change after loading.
type Facts struct {
	Name          string  // general.name, or the file's base name
	Architecture  string  // "llama", "qwen2", ... without our "-nf4" mark
	Quantization  string  // the file's main weight type: "NF4", "NF4-64", "NF4-DQ", "Q4_0", "F16", ...
	Fingerprint   string  // quant.Fingerprint of the file: adapters are checked against it
	ContextLength int     // tokens the model was trained on (n_ctx_train)
	VocabSize     int     // rows of the output head
	Embedding     int     // width of the residual stream
	Layers        int     // transformer blocks
	Heads         int     // query heads
	KVHeads       int     // key/value heads
	HeadSize      int     // width of one key head
	RopeNorm      bool    // interleaved RoPE: Hugging Face's q and k rows are permuted in the GGUF
	TiedHead      bool    // the head is the token embeddings: the file has no output.weight
	Parameters    int64   // weights in all tensors
	Bytes         int64   // bytes of all tensors in the file
	BitsPerWeight float64 // 8 * Bytes / Parameters
	Resident      int64   // bytes of all tensors in the layouts that they are computed with
	ResidentBits  float64 // 8 * Resident / Parameters
	Device        string  // that computes the last layers; "": the CPU computes all
	DeviceLayers  int     // how many; Layers+1 with the output head, which is all

	ChatTemplate string // Jinja source (tokenizer.chat_template); "" where the file has none
	ToolTemplate string // the template for conversations with tools (tokenizer.chat_template.tool_use); "" for none
	BOS, EOS     Token  // -1 where the vocabulary has none
	BOSText      string // the text of BOS and EOS, as chat templates print them
	EOSText      string
	AddBOS       bool // the tokenizer puts BOS first when special tokens are asked for

	Tokenizer       string // the family of the tokenizer: "qwen-2", "SentencePiece BPE", "SentencePiece unigram", ...
	TokenizerProven bool   // tests hold this family to the original library; else it is treated as llama.cpp does
	TokenBytes      int    // the most bytes of a text that one token can stand for; 0: there is no bound

	Pooling Pooling // how the file says that the hidden states of a text become its embedding; PoolingNone: it does not

	// Biases are the biases of linear layers, by GGUF name ("blk.0.attn_q.bias"), with their lengths.
	Biases map[string]int

	// Norms are the weights of norms that an adapter may have its own of, by GGUF name ("blk.0.attn_norm.weight",
	// "output_norm.weight"), with their lengths.
	Norms map[string]int

	// Targets are the base tensors an adapter may change, by GGUF name ("blk.0.attn_q.weight").
	Targets map[string]Shape
	// Refused are the linear tensors and norms an adapter may not change, by GGUF name, with the reason.
	Refused map[string]string
}

// Message is one turn of a conversation, as the chat template sees it. Extra holds further fields of the
// request's message (name, tool_calls, ...) for templates that read them.
type Message struct {
	Role    string
	Content string
	Missing MissingContent // why Content is "", where it was not given
	Extra   map[string]any
}

// MissingContent tells a message without content, as one that calls tools may be, from one with an empty text: chat
// templates do.
type MissingContent int

// What became of a message's content.
const (
	ContentGiven MissingContent = iota
	ContentNull
	ContentAbsent
)

// Model is the loaded base: its facts, its tokenizer, and constructors for what the Device uses. Every method may be
// called from any goroutine at any time until Close; nothing here touches the KV cache.
type Model interface {
	// Facts returns the model's facts. The caller must not change them.
	Facts() *Facts

	// Tokenize splits text. special lets control tokens in the text be read as such (chat templates need
	// it, a user's raw text must not have it); bos adds the model's own BOS/EOS framing where it has one.
	Tokenize(text string, bos, special bool) ([]Token, error)

	// Piece returns the bytes of one token, which need not be valid UTF-8 on their own. Control tokens
	// have bytes only where special is true. An out-of-range token has none. The caller must not change them.
	Piece(t Token, special bool) []byte

	// EndOfGeneration reports whether t ends an answer (EOS, EOT, ...).
	EndOfGeneration(t Token) bool

	// KnownTemplate renders messages with the C library's own list of chat formats, for models whose Jinja
	// template cannot be rendered. It returns ErrTemplate where the format is not known either.
	KnownTemplate(messages []Message, generationPrompt bool) (string, error)

	// NewSampler makes the sampler of one stream. prompt is what the repeat penalty looks back on.
	// It returns an error wrapping ErrSampling that names the field at fault (a grammar that does not
	// parse, a logit bias beyond the vocabulary).
	NewSampler(s Sampling, prompt []Token) (Sampler, error)

	// Pack turns an adapter into the Device's layout; this is the expensive part of loading one.
	// It returns an error wrapping ErrAdapter that names the tensor which does not fit the base.
	Pack(a *LoRA) (Packed, error)
}
