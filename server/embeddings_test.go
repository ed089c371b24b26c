package server

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// embed asks for embeddings and returns their numbers.
func (h *testServer) embed(body string) (openapi.EmbeddingList, [][]float32) {
	h.t.Helper()
	var list openapi.EmbeddingList
	h.post("/v1/embeddings", body, &list)
	vectors := make([][]float32, len(list.Data))
	for i, e := range list.Data {
		if e.Index != i || e.Object != "embedding" {
			h.t.Errorf("embedding %d is %+v", i, e)
		}
		var text string
		if json.Unmarshal(e.Embedding, &text) != nil {
			if err := json.Unmarshal(e.Embedding, &vectors[i]); err != nil {
				h.t.Fatal(err)
			}
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			h.t.Fatal(err)
		}
		for ; len(raw) > 0; raw = raw[4:] {
			vectors[i] = append(vectors[i], math.Float32frombits(binary.LittleEndian.Uint32(raw)))
		}
	}
	return list, vectors
}

func length(v []float32) (l float64) {
	for _, x := range v {
		l += float64(x) * float64(x)
	}
	return math.Sqrt(l)
}

func TestEmbeddings(t *testing.T) {
	h := open(t)
	info := h.add("pirate", 1)
	list, one := h.embed(`{"input":"Hello"}`)
	if list.Object != "list" || list.Model != "fake" || list.Adapter != nil || list.Usage.PromptTokens != 5 || list.Usage.TotalTokens != 5 {
		t.Errorf("%+v", list)
	}
	if len(one) != 1 || len(one[0]) != 8 || math.Abs(length(one[0])-1) > 1e-6 {
		t.Errorf("the embedding is %v", one)
	}
	for name, body := range map[string]string{
		"a list": `{"input":["Hello","other"]}`, "tokens": `{"input":[72,101,108,108,111]}`, "lists of tokens": `{"input":[[72,101,108,108,111],[1]]}`,
		"base64": `{"input":"Hello","encoding_format":"base64","user":"me"}`, "numbers": `{"input":"Hello","encoding_format":"float"}`,
		"all dimensions": `{"input":"Hello","dimensions":8}`, "the base by name": `{"input":"Hello","model":"fake"}`,
	} {
		if _, got := h.embed(body); !slices.Equal(got[0], one[0]) {
			t.Errorf("%s: %v, want %v", name, got[0], one[0])
		}
	}
	_, two := h.embed(`{"input":"Hello","dimensions":3}`)
	if l := length(one[0][:3]); len(two[0]) != 3 || math.Abs(length(two[0])-1) > 1e-6 || math.Abs(float64(two[0][1])*l-float64(one[0][1])) > 1e-6 {
		t.Errorf("3 dimensions are %v of %v", two[0], one[0])
	}
	for _, body := range []string{`{"input":"Hello","model":"pirate"}`, `{"input":"Hello","adapter":"pirate"}`, `{"input":"Hello","adapter":{"name":"pirate","scale":1}}`} {
		list, got := h.embed(body)
		if string(*list.Adapter) != fmt.Sprintf(`"pirate@%s"`, info.Version) || slices.Equal(got[0], one[0]) {
			t.Errorf("%s: %+v", body, list)
		}
	}
}

// Each way of pooling, beside the vectors of single tokens: the first token's vector does not depend on what follows, and
// the last one's is that of the whole text.
func TestPooling(t *testing.T) {
	vector := func(p runtime.Pooling, inputs string) [][]float32 {
		h := open(t, func(s *setup) { s.options.Pooling = p })
		_, v := h.embed(`{"input":` + inputs + `}`)
		return v
	}
	first := vector(runtime.PoolingCLS, `["abc","a","axyz"]`)
	if !slices.Equal(first[0], first[1]) || !slices.Equal(first[0], first[2]) {
		t.Errorf("the first token's vectors are %v", first)
	}
	last, mean := vector(runtime.PoolingLast, `["a","ab","abc"]`), vector(runtime.PoolingMean, `["a","abc"]`)
	if !slices.Equal(last[0], first[0]) || !slices.Equal(mean[0], first[0]) {
		t.Errorf("one token's vectors are %v, %v, %v", first[0], last[0], mean[0])
	}
	if none := vector(runtime.PoolingNone, `["abc"]`); !slices.Equal(none[0], last[2]) {
		t.Errorf("without a choice the vector is %v, want the last token's %v", none[0], last[2])
	}
	if slices.Equal(mean[1], last[2]) || slices.Equal(mean[1], first[0]) {
		t.Errorf("the mean is %v", mean[1])
	}
}

// A request may have more texts than the engine takes at once, and than its queue has room for.
func TestManyEmbeddings(t *testing.T) {
	h := open(t)
	inputs := make([]string, 300)
	for i := range inputs {
		inputs[i] = fmt.Sprintf("text %d", i%150)
	}
	list, _ := json.Marshal(inputs)
	_, got := h.embed(`{"input":` + string(list) + `}`)
	if len(got) != 300 {
		t.Fatalf("%d embeddings", len(got))
	}
	for i := range 150 {
		if !slices.Equal(got[i], got[i+150]) {
			t.Fatalf("text %d has two embeddings", i)
		}
	}
	if slices.Equal(got[0], got[1]) {
		t.Error("two texts have one embedding")
	}
}

// Large answers share a budget: one that finds it used up is answered 503 with the time to wait, and small ones are answered.
func TestEmbeddingsShareABudget(t *testing.T) {
	h := open(t)
	h.server.vectors.wait = 50 * time.Millisecond
	give, err := h.server.vectors.take(vectorMemory)
	if err != nil {
		t.Fatal(err)
	}
	inputs := `["a"` + strings.Repeat(`,"a"`, 999) + `]`
	r := h.do("POST", "/v1/embeddings", `{"input":`+inputs+`}`)
	refused(t, r, 503, "busy", "", "busy")
	if r.header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
	h.embed(`{"input":"a"}`)
	give()
	if _, got := h.embed(`{"input":` + inputs + `}`); len(got) != 1000 {
		t.Errorf("%d embeddings", len(got))
	}
	if !h.server.vectors.TryAcquire(vectorMemory) {
		t.Error("a share was not given back")
	}
}

func TestEmbeddingsRefuse(t *testing.T) {
	h := open(t)
	many := `["a"` + strings.Repeat(`,"a"`, maxInputs) + `]`
	for _, c := range []struct{ body, param, part string }{
		{`{}`, "input", "missing"},
		{`{"input":""}`, "input", "empty"},
		{`{"input":[]}`, "input", "empty"},
		{`{"input":["a",""]}`, "input[1]", "empty"},
		{`{"input":["a",7]}`, "input[1]", "string or an array of token ids"},
		{`{"input":{}}`, "input", "object"},
		{`{"input":[5000]}`, "input[0]", "tokens 0 to"},
		{`{"input":` + many + `}`, "input", "2048"},
		{`{"input":"a","dimensions":9}`, "dimensions", "8"},
		{`{"input":"a","dimensions":0}`, "dimensions", "1"},
		{`{"input":"a","encoding_format":"int8"}`, "encoding_format", "float or base64"},
		{`{"input":"a","lora_path":"x"}`, "lora_path", "SGLang"},
		{`{"input":"` + strings.Repeat("a", 5000) + `"}`, "input", "maximum context length"},
	} {
		var e openapi.ErrorResponse
		r := h.do("POST", "/v1/embeddings", c.body)
		if err := json.Unmarshal(r.body, &e); err != nil || r.status != 400 || e.Error.Param == nil || *e.Error.Param != c.param || !strings.Contains(e.Error.Message, c.part) {
			t.Errorf("%.60s gives %d %s", c.body, r.status, r.body)
		}
	}
	if r := h.do("POST", "/v1/embeddings", `{"input":"a","model":"nobody"}`); r.status != 404 {
		t.Errorf("an unknown model gives %d %s", r.status, r.body)
	}
}
