package batches

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func init() {
	firstWait, longestWait, diskWait = time.Millisecond, 4*time.Millisecond, time.Millisecond
}

// memoryFiles keeps files in memory.
type memoryFiles struct {
	mu    sync.Mutex
	files map[string]string
	about map[string]string // name, purpose, owner, and for how long
	fail  []error           // what the next calls return
	puts  int
}

func newMemoryFiles() *memoryFiles {
	return &memoryFiles{files: map[string]string{}, about: map[string]string{}}
}

func (s *memoryFiles) NewFileID() string { return newID("file-") }

func (s *memoryFiles) PutAs(_ context.Context, id string, body io.Reader, name, purpose, owner string, keep time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	if len(s.fail) > 0 {
		err := s.fail[0]
		s.fail = s.fail[1:]
		return err
	}
	text, err := io.ReadAll(body)
	if _, twice := s.files[id]; !twice && err == nil {
		s.files[id], s.about[id] = string(text), fmt.Sprint(name, " ", purpose, " ", owner, " ", keep)
	}
	return err
}

// results reads a file of results.
func (s *memoryFiles) results(t *testing.T, id string) (list []result) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(s.files[id]) {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

const chat = "/v1/chat/completions"

// input makes the requests named; those that begin with "bad" are answered with an error.
func input(names ...string) string {
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, `{"custom_id":%q,"method":"POST","url":%q,"body":{"say":%q}}`+"\n", name, chat, name)
	}
	return b.String()
}

func numbered(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("line ", i)
	}
	return names
}

// echo answers with what the request says.
func echo(_ context.Context, r Request) Answer {
	status := 200
	if bytes.Contains(r.Body, []byte("bad")) {
		status = 400
	}
	return Answer{Status: status, RequestID: "req-1", Body: append([]byte(`{ "echo": `), append(r.Body, "}\n"...)...)}
}

func openQueue(t *testing.T, o Options) *Queue {
	t.Helper()
	q, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

func create(t *testing.T, q *Queue, s Spec, text string) Batch {
	t.Helper()
	s.Endpoint = chat
	if s.Window == 0 {
		s.Window = time.Hour
	}
	b, err := q.Create(s, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if b.Status != Validating || !isID(b.ID, idPrefix) {
		t.Errorf("a new batch is %+v", b)
	}
	return b
}

// await waits until a batch is as wanted.
func await(t *testing.T, q *Queue, id, what string, is func(Batch) bool) Batch {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		b, err := q.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		if is(b) {
			return b
		}
		if time.Now().After(deadline) || b.Status.Ended() {
			t.Fatalf("%s: the batch is %+v", what, b)
		}
	}
}

func ended(s Status) func(Batch) bool { return func(b Batch) bool { return b.Status == s } }

func TestBatch(t *testing.T) {
	files := newMemoryFiles()
	var most, now atomic.Int64
	q := openQueue(t, Options{Dir: filepath.Join(t.TempDir(), "b"), Files: files, Concurrent: 3})
	q.Start(func(ctx context.Context, r Request) Answer {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		time.Sleep(time.Millisecond)
		if r.Endpoint != chat || r.Owner != "me" {
			t.Errorf("asked %+v", r)
		}
		return echo(ctx, r)
	})
	names := append(numbered(20), "bad 1", "bad 2")
	made := create(t, q, Spec{Owner: "me", InputFile: "file-x", Keep: time.Hour, Metadata: map[string]string{"a": "b"}}, "\n"+input(names...)+"  \n")
	b := await(t, q, made.ID, "ends", ended(Completed))
	if b.Counts != (Counts{22, 20, 2}) || b.Metadata["a"] != "b" || b.InputFile != "file-x" || len(b.Faults) != 0 {
		t.Errorf("%+v", b)
	}
	if b.Started.IsZero() || b.Finalized.IsZero() || b.Finished.IsZero() || !b.Cancelling.IsZero() {
		t.Errorf("times are %+v", b)
	}
	if most.Load() > 3 {
		t.Errorf("%d lines were asked at once", most.Load())
	}
	output, failures := files.results(t, b.OutputFile), files.results(t, b.ErrorFile)
	if len(output) != 20 || len(failures) != 2 {
		t.Fatalf("%d and %d results", len(output), len(failures))
	}
	for _, r := range slices.Concat(output, failures) {
		want := fmt.Sprintf(`{"echo":{"say":%q}}`, r.CustomID)
		if string(r.Response.Body) != want || r.Response.RequestID != "req-1" || r.Error != nil || !isID(r.ID, "batch_req_") {
			t.Errorf("result %+v", r)
		}
	}
	if about := files.about[b.ErrorFile]; about != b.ID+"_error.jsonl batch_output me 1h0m0s" {
		t.Errorf("the error file is %s", about)
	}
	entries, _ := os.ReadDir(q.folder.path(b.ID))
	for deadline := time.Now().Add(5 * time.Second); len(entries) != 1 && time.Now().Before(deadline); entries, _ = os.ReadDir(q.folder.path(b.ID)) {
	}
	if len(entries) != 1 {
		t.Errorf("an ended batch keeps %v", entries)
	}
	if n, total := q.Stats(); n[Completed] != 1 || total != (Totals{20, 2}) {
		t.Errorf("stats are %v, %v", n, total)
	}
	if _, err := q.Cancel(b.ID); !errors.Is(err, ErrState) {
		t.Errorf("cancelling an ended batch: %v", err)
	}
}

// TestByteOrderMark wants an input file with one, as some editors write it, read as one without.
func TestByteOrderMark(t *testing.T) {
	r := newLineReader(strings.NewReader("\xef\xbb\xbf{}\r\n\xef\xbb\xbf{}"), 100)
	first, err := r.next()
	second, err2 := r.next()
	if string(first) != "{}" || err != nil || string(second) != "\xef\xbb\xbf{}" || err2 != nil {
		t.Errorf("got %q, %q; errors %v, %v", first, second, err, err2)
	}
}

func TestLinesAreChecked(t *testing.T) {
	good := strings.TrimSpace(input("good"))
	for _, c := range []struct {
		text, code, param string
		line              int
	}{
		{"", "empty_file", "input_file_id", 0},
		{" \n\n", "empty_file", "input_file_id", 0},
		{good + "\n{", "invalid_json_line", "", 2},
		{"\n\n[]", "invalid_json_line", "", 3},
		{`{"custom_id":5,"method":"POST"}`, "invalid_type", "custom_id", 1},
		{"\xff", "invalid_json_line", "", 1},
		{strings.Repeat("[", 500), "invalid_json_line", "", 1},
		{good + "\n" + good, "duplicate_custom_id", "custom_id", 2},
		{`{"method":"POST","url":"` + chat + `","body":{}}`, "missing_required_parameter", "custom_id", 1},
		{`{"custom_id":"` + strings.Repeat("a", 513) + `","method":"POST","url":"` + chat + `","body":{}}`, "invalid_value", "custom_id", 1},
		{`{"custom_id":"a","method":"GET","url":"` + chat + `","body":{}}`, "invalid_method", "method", 1},
		{`{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}}`, "invalid_url", "url", 1},
		{`{"custom_id":"a","method":"POST","url":"` + chat + `","body":7}`, "invalid_value", "body", 1},
		{`{"custom_id":"a","method":"POST","url":"` + chat + `"}`, "invalid_value", "body", 1},
		{`{"custom_id":"a","method":"POST","url":"` + chat + `","body":{"stream":true}}`, "unsupported_value", "body.stream", 1},
		{`{"Custom_ID":"a","method":"POST","url":"` + chat + `","body":{}}`, "missing_required_parameter", "custom_id", 1},
		{good + "\n" + strings.Repeat("a", 3000) + "\n", "line_too_large", "", 2},
		{input(numbered(31)...), "too_many_requests", "input_file_id", 31},
	} {
		files := newMemoryFiles()
		q := openQueue(t, Options{Dir: t.TempDir(), Files: files, MaxLine: 2000, MaxLines: 30})
		q.Start(func(context.Context, Request) Answer {
			t.Error("a line was asked")
			return Answer{Status: 200, Body: []byte("{}")}
		})
		b := await(t, q, create(t, q, Spec{}, c.text).ID, c.code, ended(Failed))
		if len(b.Faults) != 1 || b.Faults[0].Code != c.code || b.Faults[0].Param != c.param || b.Faults[0].Line != c.line {
			t.Errorf("%.60q: %+v, want %s of %q in line %d", c.text, b.Faults, c.code, c.param, c.line)
		}
		if b.OutputFile+b.ErrorFile != "" || b.Finished.IsZero() || files.puts > 0 {
			t.Errorf("%.60q: %+v", c.text, b)
		}
		q.Close()
	}
}

func TestCancel(t *testing.T) {
	files := newMemoryFiles()
	q := openQueue(t, Options{Dir: t.TempDir(), Files: files, Concurrent: 1})
	q.Start(func(ctx context.Context, r Request) Answer {
		if bytes.Contains(r.Body, []byte("line 3")) {
			<-ctx.Done()
			return Answer{Status: 499}
		}
		return echo(ctx, r)
	})
	b := create(t, q, Spec{}, input(numbered(10)...))
	await(t, q, b.ID, "three lines", func(b Batch) bool { return b.Counts.Completed == 3 })
	if b, err := q.Cancel(b.ID); err != nil || b.Status != Cancelling || b.Cancelling.IsZero() {
		t.Errorf("%+v, %v", b, err)
	}
	b = await(t, q, b.ID, "ends", ended(Cancelled))
	if b.Counts != (Counts{10, 3, 0}) || len(files.results(t, b.OutputFile)) != 3 || b.ErrorFile != "" {
		t.Errorf("%+v", b)
	}
	waiting := openQueue(t, Options{Dir: t.TempDir(), Files: files})
	b = create(t, waiting, Spec{}, input("a"))
	if b, err := waiting.Cancel(b.ID); err != nil || b.Status != Cancelling {
		t.Errorf("%+v, %v", b, err)
	}
	waiting.Start(echo)
	if b = await(t, waiting, b.ID, "ends", ended(Cancelled)); b.OutputFile != "" || b.Counts.Completed != 0 {
		t.Errorf("%+v", b)
	}
	if _, err := q.Cancel("batch_none"); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown batch: %v", err)
	}
}

func TestExpiry(t *testing.T) {
	files := newMemoryFiles()
	q := openQueue(t, Options{Dir: t.TempDir(), Files: files, Concurrent: 2})
	q.Start(func(ctx context.Context, r Request) Answer {
		if !bytes.Contains(r.Body, []byte("line 1\"")) {
			<-ctx.Done()
		}
		return echo(ctx, r)
	})
	b := await(t, q, create(t, q, Spec{Window: 2 * time.Second}, input(numbered(250)...)).ID, "ends", ended(Expired))
	late := files.results(t, b.ErrorFile)
	if b.Counts != (Counts{250, 1, 249}) || len(late) != 249 || len(files.results(t, b.OutputFile)) != 1 {
		t.Fatalf("%+v, %d results of late lines", b, len(late))
	}
	if r := late[0]; r.Response != nil || r.Error == nil || r.Error.Code != "batch_expired" {
		t.Errorf("a late line has %+v", r)
	}
}

// Batches of several owners take turns, the oldest first, and no more are under way than may be.
func TestOwnersTakeTurns(t *testing.T) {
	q := openQueue(t, Options{Dir: t.TempDir(), Files: newMemoryFiles(), Concurrent: 8})
	var ids []string
	for i := range 6 {
		ids = append(ids, create(t, q, Spec{Owner: "busy", Metadata: map[string]string{"n": fmt.Sprint(i)}}, input("a")).ID)
	}
	other := create(t, q, Spec{Owner: "other"}, input("a"))
	release := make(chan struct{})
	var asked sync.Map
	q.Start(func(ctx context.Context, r Request) Answer {
		n, _ := asked.LoadOrStore(r.Owner, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
		<-release
		return echo(ctx, r)
	})
	await(t, q, other.ID, "runs", ended(InProgress))
	await(t, q, other.ID, "all that may run do", func(Batch) bool {
		n, _ := q.Stats()
		return n[InProgress] == maxRunning && n[Validating] == 7-maxRunning
	})
	close(release)
	for _, id := range append(ids, other.ID) {
		await(t, q, id, "ends", ended(Completed))
	}
}

// TestWaitingLinesKeepNobodyFromGoingOn has batches whose owner is beyond a quota, more of them and with more lines than are
// under way at once: another owner's are answered meanwhile.
func TestWaitingLinesKeepNobodyFromGoingOn(t *testing.T) {
	q := openQueue(t, Options{Dir: t.TempDir(), Files: newMemoryFiles(), Concurrent: 2})
	var poor []string
	for range maxRunning + 2 {
		poor = append(poor, create(t, q, Spec{Owner: "poor"}, input(numbered(10)...)).ID)
	}
	var refused atomic.Int64
	q.Start(func(ctx context.Context, r Request) Answer {
		if r.Owner == "poor" {
			refused.Add(1)
			return Answer{Again: true, After: time.Hour}
		}
		return echo(ctx, r)
	})
	await(t, q, poor[0], "waits", func(Batch) bool { return refused.Load() >= 2*maxRunning })
	rich := create(t, q, Spec{Owner: "rich"}, input(numbered(20)...))
	if b := await(t, q, rich.ID, "ends", ended(Completed)); b.Counts.Completed != 20 {
		t.Errorf("%+v", b.Counts)
	}
	if n := refused.Load(); n != 2*maxRunning {
		t.Errorf("%d lines of the one without quota were asked, want %d", n, 2*maxRunning)
	}
}

func TestBoundsAndLists(t *testing.T) {
	q := openQueue(t, Options{Dir: t.TempDir(), Files: newMemoryFiles(), MaxBatches: 3, MaxBytes: 200})
	if _, err := q.Create(Spec{}, strings.NewReader(strings.Repeat("a", 201))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large file: %v", err)
	}
	broken := errors.New("broken")
	if _, err := q.Create(Spec{}, io.MultiReader(strings.NewReader("a"), errReader{broken})); !errors.Is(err, broken) {
		t.Errorf("a file that cannot be read: %v", err)
	}
	var ids []string
	for range 3 {
		ids = append(ids, create(t, q, Spec{}, input("a")).ID)
	}
	if _, err := q.Create(Spec{}, strings.NewReader("a")); !errors.Is(err, ErrTooMany) {
		t.Errorf("a fourth batch: %v", err)
	}
	q.Start(echo)
	for _, id := range ids {
		await(t, q, id, "ends", ended(Completed))
	}
	last := await(t, q, create(t, q, Spec{Owner: "b"}, input("a")).ID, "ends", ended(Completed))
	all := func(*Batch) bool { return true }
	list, more, err := q.List(all, "", 2)
	if err != nil || len(list) != 2 || !more {
		t.Fatalf("%d of the list, %v, %v", len(list), more, err)
	}
	rest, more, err := q.List(all, list[1].ID, 2)
	if err != nil || len(rest) != 1 || more {
		t.Errorf("%d further ones, %v, %v", len(rest), more, err)
	}
	if mine, _, _ := q.List(func(b *Batch) bool { return b.Owner == "b" }, "", 9); len(mine) != 1 || mine[0].ID != last.ID {
		t.Errorf("of an owner there are %v", mine)
	}
	if _, _, err := q.List(all, "batch_none", 2); !errors.Is(err, ErrUnknown) {
		t.Errorf("after an unknown one: %v", err)
	}
	if entries, _ := os.ReadDir(q.o.Dir); len(entries) != 3+2 { // lock and tmp
		t.Errorf("the folder has %v", entries)
	}
	q.Close()
	if _, err := q.Create(Spec{}, strings.NewReader("a")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
