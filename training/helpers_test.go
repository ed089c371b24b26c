package training

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// fixture is a Queue on the fake model, with a Store beside it, in one folder that may be opened again.
type fixture struct {
	*Queue
	t     testing.TB
	dir   string
	store *adapters.Store
	model *runtimetest.Model

	mu    sync.Mutex
	warns []string
}

// openFixture opens what is in dir. change may alter the options.
func openFixture(t testing.TB, dir string, change func(*Options)) *fixture {
	t.Helper()
	h := &fixture{t: t, dir: dir, model: runtimetest.NewModel()}
	var err error
	if h.store, err = adapters.Open(adapters.Options{Dir: filepath.Join(dir, "adapters"), Facts: h.model.Facts()}); err != nil {
		t.Fatal(err)
	}
	o := Options{
		Dir: filepath.Join(dir, "training"), Model: h.model, Template: chat.NewTemplate(h.model, "", nil), Store: h.store,
		NewTrainer: func(s runtime.TrainSpec) (runtime.Trainer, error) { return runtimetest.NewTrainer(h.model, s) },
		Work:       runtimetest.Work,
		SaveEvery:  time.Hour,
		Warn: func(w string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.warns = append(h.warns, w)
		},
	}
	if change != nil {
		change(&o)
	}
	if h.Queue, err = Open(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	return h
}

func (h *fixture) close() {
	h.Close()
	h.store.Close()
}

func (h *fixture) warnings() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.warns)
}

// conversations is a dataset of n different small conversations.
func conversations(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"messages": [{"role": "user", "content": "What is %d?"}, {"role": "assistant", "content": "%s"}]}`+"\n",
			i, strings.Repeat("It is so. ", 1+i%3))
	}
	return b.String()
}

// smallConfig trains quickly.
func smallConfig() Config {
	c := Defaults()
	c.Rank, c.Alpha, c.LearningRate, c.Epochs, c.Batch, c.SaveSteps = 2, 4, 0.05, 3, 4, 4
	return c
}

func input(data string) Input { return Input{Body: strings.NewReader(data)} }

// create queues a job on conversations(20).
func (h *fixture) create(name string, c Config) Job {
	h.t.Helper()
	j, err := h.Create(context.Background(), CreateRequest{Name: name, Config: c, Training: input(conversations(20))})
	if err != nil {
		h.t.Fatal(err)
	}
	return j
}

// wait follows the job to its end and returns it with its events.
func (h *fixture) wait(id string) (Job, []Event) {
	h.t.Helper()
	e, err := h.Events(id, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var list []Event
	for {
		ev, err := e.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			h.t.Fatalf("after %d events: %v", len(list), err)
		}
		list = append(list, ev)
	}
	j, err := h.Get(id)
	if err != nil {
		h.t.Fatal(err)
	}
	return j, list
}

// waitFor follows the job until an event has the text.
func (h *fixture) waitFor(id, part string) {
	h.t.Helper()
	e, err := h.Events(id, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		ev, err := e.Next(ctx)
		if err != nil {
			h.t.Fatalf("waiting for %q: %v", part, err)
		}
		if strings.Contains(ev.Message, part) {
			return
		}
	}
}

// weights returns the bytes of the adapter's tensors that the Store keeps.
func (h *fixture) weights(digest string) []byte {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.dir, "adapters", "versions", digest, "adapter_model.safetensors"))
	if err != nil {
		h.t.Fatal(err)
	}
	return data
}

func wantError(t testing.TB, err, want error, parts ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want one that wraps %q", err, want)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// nextMillisecond returns when the clock shows another millisecond.
func nextMillisecond() {
	for now := time.Now().UnixMilli(); time.Now().UnixMilli() == now; {
		goruntime.Gosched()
	}
}
