package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"
)

// loops are models of Tinker's API that are trained by right calls and wrong ones at once.
type loops struct {
	o       *Options
	base    string
	session string
	models  []string
	next    []atomic.Int64 // number of each model's next call
}

// Tinker sends calls of Tinker's API: right ones, and ones with wrong types, lengths, numbers and paths.
func Tinker(ctx context.Context, o Options) (Report, error) {
	l := &loops{o: &o}
	if err := l.begin(ctx); err != nil {
		return Report{Kind: "tinker"}, err
	}
	return o.run(ctx, kind{"tinker", l.input}, 100)
}

// begin opens a session with three models.
func (l *loops) begin(ctx context.Context) error {
	var able struct {
		Models []struct {
			Name string `json:"model_name"`
		} `json:"supported_models"`
	}
	if err := l.ask(ctx, http.MethodGet, "get_server_capabilities", nil, &able); err != nil {
		return err
	}
	if len(able.Models) == 0 {
		return fmt.Errorf("the server has no model")
	}
	l.base = able.Models[0].Name
	var made struct {
		ID string `json:"session_id"`
	}
	if err := l.ask(ctx, http.MethodPost, "create_session", map[string]any{"tags": []string{}, "sdk_version": "0"}, &made); err != nil {
		return err
	}
	l.session = made.ID
	for i, rank := range []int{2, 4, 8} {
		err := l.ask(ctx, http.MethodPost, "create_model", map[string]any{
			"session_id": l.session, "model_seq_id": i, "base_model": l.base, "lora_config": map[string]any{"rank": rank},
		}, nil)
		if err != nil {
			return err
		}
		l.models = append(l.models, fmt.Sprintf("%s:train:%d", l.session, i))
	}
	l.next = make([]atomic.Int64, len(l.models))
	return nil
}

// ask makes a request that must succeed.
func (l *loops) ask(ctx context.Context, method, path string, body, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, l.o.URL+"/api/v1/"+path, bytes.NewReader(encode(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %.300s", path, resp.Status, text)
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(text, answer)
	}
	return err
}

// input makes a call.
func (l *loops) input(r *rand.Rand) Input {
	i := r.IntN(len(l.models))
	model := l.models[i]
	switch r.IntN(12) {
	case 0, 1, 2:
		return l.forwardBackward(r, i)
	case 3:
		return post("optim_step", map[string]any{"model_id": model, "seq_id": l.seq(r, i), "adam_params": adam(r)})
	case 4, 5:
		return l.sample(r)
	case 6:
		return l.retrieve(r, i)
	case 7, 8:
		return l.save(r, i)
	case 9:
		return l.load(r, i)
	case 10:
		return l.manage(r)
	}
	return post("create_model", map[string]any{
		"session_id": l.session, "model_seq_id": pick[any](r, r.IntN(9), number(r)), "base_model": pick(r, l.base, text(r)),
		"lora_config": map[string]any{"rank": pick[any](r, 1, 512, 1<<31, number(r)), "seed": number(r), "train_mlp": r.IntN(2) == 0, "train_attn": r.IntN(3) == 0},
	})
}

func post(path string, body any) Input {
	return Input{Method: http.MethodPost, Path: "/api/v1/" + path, ContentType: "application/json", Body: encode(body)}
}

// seq is a number of a call: the next one, or one that may have been there, which is then a repeat, or was left out because the call
// was refused; now and then it is far ahead, or no number.
func (l *loops) seq(r *rand.Rand, i int) any {
	switch n := r.IntN(20); {
	case n == 0:
		return l.next[i].Load() + int64(r.IntN(100_000))
	case n == 1:
		return number(r)
	case n < 10:
		return max(1, l.next[i].Load()-int64(r.IntN(12)))
	}
	return l.next[i].Add(1)
}

func adam(r *rand.Rand) any {
	p := map[string]any{"learning_rate": 1e-4}
	for _, name := range []string{"learning_rate", "beta1", "beta2", "eps", "weight_decay", "grad_clip_norm"} {
		if r.IntN(6) == 0 {
			p[name] = pick[any](r, number(r), -1, 1, 1e38, "x")
		}
	}
	return p
}

// forwardBackward makes a call in protobuf, of which now and then something is wrong.
func (l *loops) forwardBackward(r *rand.Rand, i int) Input {
	var b []byte
	b = appendBytes(b, 1, []byte(l.models[i]))
	seq, ok := l.seq(r, i).(int64)
	if !ok {
		seq = pick[int64](r, -1, math.MaxInt32, math.MinInt64, 1<<33)
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(seq))
	loss := pick(r, "cross_entropy", "cross_entropy", "cross_entropy", "importance_sampling", "ppo", "cispo", "dro")
	wrong := r.IntN(3) == 0
	for range pick(r, 1, 1, 2, 3, 50) {
		b = appendBytes(b, 3, datum(r, loss, wrong))
	}
	b = appendBytes(b, 4, []byte(loss))
	if wrong && r.IntN(4) == 0 {
		entry := appendBytes(nil, 1, []byte(pick(r, "beta", "clip_low_threshold", text(r))))
		entry = protowire.AppendFixed64(protowire.AppendTag(entry, 2, protowire.Fixed64Type), math.Float64bits(pick(r, 0.1, math.NaN(), math.Inf(1), -1e300)))
		b = appendBytes(b, 5, entry)
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, 6, protowire.VarintType), uint64(r.IntN(2)))
	if wrong && r.IntN(3) == 0 {
		b = damage(r, b)
	}
	return Input{Method: http.MethodPost, Path: "/api/v1/forward_backward", ContentType: "application/x-protobuf", Body: b}
}

func appendBytes(b []byte, field protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), content)
}

// datum makes a sequence with what a loss needs, or nearly where it is to be wrong.
func datum(r *rand.Rand, loss string, wrong bool) []byte {
	odds := func(n int) bool { return wrong && r.IntN(n) == 0 }
	n := pick(r, 1, 5, 17, 60, 200)
	var tokens []byte
	for range n {
		tokens = binary.LittleEndian.AppendUint32(tokens, uint32(token(r, odds)))
	}
	if odds(20) {
		tokens = tokens[:len(tokens)-1]
	}
	field := protowire.Number(1)
	if odds(10) {
		field = pick[protowire.Number](r, 2, 3, 9)
	}
	chunk := appendBytes(nil, field, appendBytes(nil, 1, tokens))
	d := appendBytes(nil, 1, chunk)
	targets := make([]byte, 0, 8*n)
	for range n {
		targets = binary.LittleEndian.AppendUint64(targets, uint64(int64(token(r, odds))))
	}
	inputs := map[string][]byte{"target_tokens": tensor(r, targets, 2, n, odds)}
	names := []string{"weights"}
	if loss != "cross_entropy" {
		names = []string{"logprobs", "advantages"}
	}
	if odds(5) {
		names = append(names, text(r))
	}
	for _, name := range names {
		if odds(20) {
			continue
		}
		values := make([]byte, 0, 4*n)
		for range n {
			values = binary.LittleEndian.AppendUint32(values, math.Float32bits(weight(r, odds)))
		}
		inputs[name] = tensor(r, values, 1, n, odds)
	}
	for name, t := range inputs {
		d = appendBytes(d, 2, appendBytes(appendBytes(nil, 1, []byte(name)), 2, t))
	}
	return d
}

func token(r *rand.Rand, odds func(int) bool) int32 {
	if odds(400) {
		return pick[int32](r, -1, math.MinInt32, math.MaxInt32, 1<<20)
	}
	return int32(r.IntN(250))
}

func weight(r *rand.Rand, odds func(int) bool) float32 {
	if odds(400) {
		return pick(r, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, -math.MaxFloat32, 1e-45)
	}
	return float32(r.NormFloat64())
}

// tensor makes an array of n numbers of a type; its shape and type may be others.
func tensor(r *rand.Rand, content []byte, kind uint64, n int, odds func(int) bool) []byte {
	t := appendBytes(nil, 1, content)
	if odds(30) {
		t = appendBytes(nil, 2, appendBytes(appendBytes(nil, 1, content), 2, content))
	}
	if odds(20) {
		kind = pick[uint64](r, 0, 1, 2, 3, 4, 99, math.MaxUint64)
	}
	t = protowire.AppendVarint(protowire.AppendTag(t, 3, protowire.VarintType), kind)
	shape := []uint64{uint64(n)}
	if odds(10) {
		shape = pick(r, nil, []uint64{0}, []uint64{math.MaxUint64}, []uint64{uint64(n), 1}, []uint64{1 << 32, 1 << 32}, []uint64{math.MaxInt64, 2}, []uint64{1 << 63})
	}
	var packed []byte
	for _, s := range shape {
		packed = protowire.AppendVarint(packed, s)
	}
	return appendBytes(t, 4, packed)
}

// sample makes a call of asample.
func (l *loops) sample(r *rand.Rand) Input {
	wrong := r.IntN(3) == 0
	odds := func(n int) bool { return wrong && r.IntN(n) == 0 }
	tokens := make([]any, pick(r, 1, 5, 40))
	for i := range tokens {
		tokens[i] = token(r, odds)
	}
	params := map[string]any{"max_tokens": pick[any](r, 1, 2, 4), "temperature": pick[any](r, 0, 1, 0.5)}
	for _, name := range []string{"seed", "top_k", "top_p", "stop", "temperature", "max_tokens"} {
		if odds(4) {
			params[name] = value(r, 1)
		}
	}
	body := map[string]any{"prompt": map[string]any{"chunks": []any{map[string]any{"type": "encoded_text", "tokens": tokens}}}, "sampling_params": params}
	switch r.IntN(4) {
	case 0:
		body["model_path"] = l.path(r)
	case 1:
		body["sampling_session_id"], body["seq_id"] = fmt.Sprintf("%s:sample:%d", l.session, r.IntN(50)), r.IntN(100_000)
	default:
		body["base_model"] = l.base
	}
	for _, name := range []string{"num_samples", "prompt_logprobs", "topk_prompt_logprobs", "topk_sample_logprobs", "prompt_logprobs_last_n"} {
		if odds(4) {
			body[name] = pick[any](r, 2, 4, true, number(r))
		}
	}
	return post("asample", body)
}

// retrieve asks for a result, or ends a call.
func (l *loops) retrieve(r *rand.Rand, i int) Input {
	id := pick(r, fmt.Sprintf("%s:%d", l.models[i], r.Int64N(l.next[i].Load()+1)), fmt.Sprintf("%s:sample:%d:%d", l.session, r.IntN(50), r.IntN(1000)), text(r))
	in := post(pick(r, "retrieve_future", "retrieve_future", "cancel_future"), map[string]any{"request_id": id, "allow_metadata_only": r.IntN(2) == 0})
	in.Polls = true
	return in
}

// path is one of a checkpoint: few names, so that calls meet at the same one.
func (l *loops) path(r *rand.Rand) string {
	if r.IntN(6) == 0 {
		return pick(r, "tinker://", "tinker://../weights/x", "tinker://"+l.models[0]+"/weights/../../x", "tinker://"+l.models[0]+"/weights/%2e%2e", "tinker:///etc/passwd", text(r))
	}
	return fmt.Sprintf("tinker://%s/%s/c%d", pick(r, l.models...), pick(r, "weights", "weights", "sampler_weights", "external_weights"), r.IntN(4))
}

func (l *loops) save(r *rand.Rand, i int) Input {
	body := map[string]any{"model_id": l.models[i], "seq_id": l.seq(r, i), "path": pick(r, fmt.Sprintf("c%d", r.IntN(4)), fmt.Sprintf("c%d", r.IntN(4)), fmt.Sprintf("c%d", r.IntN(4)), pick(r, "../x", text(r))), "overwrite": r.IntN(3) > 0}
	if r.IntN(4) == 0 {
		body["ttl_seconds"] = pick[any](r, 1, number(r))
	}
	call := pick(r, "save_weights", "save_weights_for_sampler", "save_weights_external")
	if call == "save_weights_external" {
		delete(body, "overwrite")
	}
	if call == "save_weights_for_sampler" && r.IntN(2) == 0 {
		delete(body, "path")
		body["sampling_session_seq_id"] = pick[any](r, r.IntN(50), number(r))
	}
	return post(call, body)
}

func (l *loops) load(r *rand.Rand, i int) Input {
	switch r.IntN(4) {
	case 0:
		return post("copy_weights", map[string]any{"source_path": l.path(r), "session_id": l.session, "model_seq_id": pick[any](r, 10+r.IntN(3), number(r)), "ttl_seconds": 1})
	case 1:
		return post("create_sampling_session", map[string]any{"session_id": l.session, "sampling_session_seq_id": pick[any](r, r.IntN(50), number(r)), "model_path": l.path(r)})
	}
	return post("load_weights", map[string]any{"model_id": l.models[i], "seq_id": l.seq(r, i), "path": l.path(r), "optimizer": r.IntN(2) == 0})
}

// manage looks at checkpoints and removes them while others load and download them.
func (l *loops) manage(r *rand.Rand) Input {
	at := fmt.Sprintf("/api/v1/training_runs/%s/checkpoints/%s/c%d", pick(r, l.models...), pick(r, "weights", "sampler_weights", "external_weights", "..%2f.."), r.IntN(4))
	switch r.IntN(7) {
	case 0:
		return Input{Method: http.MethodDelete, Path: at}
	case 1, 2:
		return Input{Method: http.MethodGet, Path: at + pick(r, "/archive", "/external_weights_urls")}
	case 3:
		return Input{Method: pick(r, http.MethodPost, http.MethodDelete), Path: at + "/publish"}
	case 4:
		return Input{Method: http.MethodGet, Path: "/api/v1/" + pick(r, "checkpoints", "training_runs", "sessions", "sessions/"+l.session) + "?limit=" + pick(r, "5", "-1", "99999999999")}
	case 5:
		return post("sessions/search", map[string]any{"display_name": text(r), "limit": pick[any](r, 3, number(r)), "cursor": value(r, 2)})
	}
	return post("weights_info", map[string]any{"tinker_path": l.path(r)})
}
