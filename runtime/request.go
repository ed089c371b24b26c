package runtime

import "time"

// Request is one answer to make.
type Request struct {
	Prompt        []Token
	Adapters      Adapters // nil: the base
	Tenant        string   // whose request it is: the time is shared fairly between tenants, and then between their adapters
	Priority      int      // requests of a higher priority are admitted, and their prompts read, first
	MaxConcurrent int      // requests of the tenant that may run at once; further ones wait; 0: no bound
	Sampling      Sampling
	MaxTokens     int      // tokens of the answer; 0: as many as the context allows
	Stop          []string // the answer ends before the first of these, which is not part of it
	Top           int      // logprobs per token besides the chosen one's; -1: no logprobs
	// Score asks for the log-probabilities of the prompt's tokens, too, each with Top alternatives, and for the token that
	// ends the answer among its tokens.
	Score bool
	// KeepEnd asks for the token that ends the answer among its tokens, as Score does, without the prompt's.
	KeepEnd bool
	// PromptOnly ends the answer with the prompt: no token is sampled, and Sampling, MaxTokens and Stop are not read. The
	// prompt may then fill the context.
	PromptOnly bool
	// Pooling, where set, asks for the prompt's embedding. It implies PromptOnly.
	Pooling Pooling
	// Exact asks for the log-probabilities that training computes: products in floats, see Row. It takes more time.
	Exact bool
	// Shown are the control tokens whose texts are part of the answer's; those of all others are not.
	Shown    []Token
	NoReuse  bool // neither read nor leave a cached prefix
	Deadline time.Time
}

// Pooling says how the hidden states of a text's tokens become its embedding.
type Pooling int

// The ways.
const (
	PoolingNone Pooling = iota
	PoolingMean         // their mean
	PoolingLast         // the last token's
	PoolingCLS          // the first token's
)

// FinishReason says why an answer ended.
type FinishReason string

// The reasons, by the names OpenAI gives them.
const (
	FinishStop   FinishReason = "stop"
	FinishLength FinishReason = "length"
)

// Event is a piece of an answer. Text is always whole UTF-8 and never part of a stop string: what may still
// become part of either is held back, with its tokens, until a later Event. Text is empty where the tokens
// have no bytes, and it may be on the last event.
type Event struct {
	Text   string
	Tokens []TokenText  // the tokens whose bytes Text is made of; with logprobs where asked for
	Finish FinishReason // set on the last event only
	Stop   string       // the stop string met, on the last event, where one was
	// Prompt are the prompt's tokens from the second on with their log-probabilities, all of them on the first event of a
	// request that asks for them with Score. Their Bytes are those of Model.Piece with control tokens.
	Prompt []TokenText
	// Embedding is what the hidden states were pooled to, (Facts.Embedding), not normalized; on the last event of a
	// request with a Pooling.
	Embedding []float32
}

// TokenText is a token of the answer with its bytes and, where asked for, its log-probabilities.
type TokenText struct {
	Token   Token
	Bytes   []byte
	Logprob float32
	Top     []TokenLogprob
}

// Usage counts a stream's tokens and times. Times are zero until they have happened.
type Usage struct {
	Prompt     int // tokens of the prompt
	Cached     int // of them, taken from a cached prefix
	Completion int // tokens of the answer

	Submitted  time.Time
	Loading    time.Duration // of the time until Started, while adapters of the request were loaded
	Started    time.Time     // first prefill
	FirstToken time.Time
	Finished   time.Time
}
