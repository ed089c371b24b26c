package engine

import (
	"context"
	"slices"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// task is the Engine's side of a Stream. Once submitted it belongs to the Engine's goroutine. It waits
// (seq < 0) in its flow, perhaps while its adapters are loaded, then runs (seq >= 0), and may be preempted
// and wait again; it ends once.
type task struct {
	id        int64
	stream    *runtime.Stream
	out       runtime.StreamWriter // of stream
	request   runtime.Request
	key       string // of its adapters
	starts    []int  // the positions from which on its adapters act, as the Mix has them; negative: nowhere
	spans     spans  // of its sequence: it may go on from cached prefixes as far as theirs agree
	flow      string
	submitted time.Time
	exact     bool      // its rows are
	deadline  time.Time // zero: none
	maxTokens int       // tokens that prompt and answer may have

	sampler runtime.Sampler // nil: the answer ends with the prompt
	outputs outputs         // of the prompt's rows
	text    *text
	tokens  []runtime.Token // the prompt and the answer so far
	prompt  int             // of them, the prompt
	last    time.Time

	mix         runtime.Mix
	acquired    bool               // mix holds the adapters that the request asked for
	loading     context.CancelFunc // ends the goroutine that acquires; nil where there is none
	loadBegan   time.Time          // when that began
	hasLoadSlot bool               // counted in Engine.loadSlots

	seq     int   // its sequence; -1 while it waits
	served  int64 // when it last had rows of prefill
	started bool  // it had a sequence before
	ended   bool
}

// newTask returns the task of a request. exact: the Device computes the rows of requests that ask for it in another way.
func newTask(r runtime.Request, s runtime.Sampler, context int, exact bool) *task {
	exact = exact && r.Exact
	t := &task{
		request: r, exact: exact, deadline: r.Deadline, maxTokens: context,
		sampler: s, text: newText(r.Stop), tokens: slices.Clone(r.Prompt), prompt: len(r.Prompt), seq: -1,
	}
	var parts []runtime.Part
	if r.Adapters != nil {
		t.key, t.flow, parts = r.Adapters.Key(), r.Adapters.Flow(), r.Adapters.Parts()
	}
	t.starts = activeFrom(parts, r.Prompt)
	t.spans = spansOf(r.Tenant, exact, parts, t.starts)
	if r.PromptOnly {
		t.maxTokens = t.prompt
	} else if r.MaxTokens > 0 {
		t.maxTokens = min(t.maxTokens, t.prompt+r.MaxTokens)
	}
	return t
}

// closeSampler frees the sampler, where there is one. It may be called twice.
func (t *task) closeSampler() {
	if t.sampler != nil {
		t.sampler.Close()
	}
}

// tokensLeft returns how many tokens the answer may still have.
func (t *task) tokensLeft() int { return t.maxTokens - len(t.tokens) }

// uncachedTokens returns how many of the task's tokens are not in its sequence's KV cache. It is at least one: the last
// token, whose successor is sampled next.
func (e *Engine) uncachedTokens(t *task) int { return len(t.tokens) - len(e.kv.seqs[t.seq].tokens) }

// answering reports whether the task's next row continues an answer, and not a prompt.
func (e *Engine) answering(t *task) bool { return len(t.tokens) > t.prompt && e.uncachedTokens(t) == 1 }
