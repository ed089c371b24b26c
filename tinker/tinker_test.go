package tinker

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Of the results of calls, those that ended last are kept, for a time; what has not ended is kept whatever comes.
func TestFuturesAreBounded(t *testing.T) {
	now := time.Unix(0, 0)
	f := newFutures(func() time.Time { return now })
	waits, _, err := f.add(&Future{ID: "waits"}, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxEnded + 10 {
		one, made, err := f.add(&Future{ID: fmt.Sprint(i)}, false)
		if err != nil || !made {
			t.Fatal(i, made, err)
		}
		f.end(one, i, nil, 1)
	}
	if f.find("9") != nil || f.find("10") == nil || f.all.endedCount != maxEnded || len(f.account("").ended) != maxEnded {
		t.Errorf("%d results are kept", f.all.endedCount)
	}
	large, _, _ := f.add(&Future{ID: "large"}, false)
	f.end(large, nil, nil, maxEndedSize+1)
	if f.all.endedCount != 1 || f.find("large") == nil {
		t.Errorf("%d results are kept beside a large one", f.all.endedCount-1)
	}
	now = now.Add(keepEnded + time.Second)
	last, _, _ := f.add(&Future{ID: "last"}, false)
	f.end(last, nil, nil, 1)
	if f.find("large") != nil || f.find("waits") != waits {
		t.Error("an old result is kept, or a call that has not ended is not")
	}
	if _, _, err := f.add(&Future{ID: "too large", size: maxPendingSize + 1}, false); !errors.Is(err, ErrTooMany) {
		t.Errorf("a call beyond the bound: %v", err)
	}
	if _, made, err := f.add(&Future{ID: "awaited", size: maxPendingSize + 1}, true); err != nil || !made {
		t.Errorf("a call that others wait for: %v", err)
	}
}

// An owner that floods the service takes neither the room of the others' calls nor their results.
func TestOwnersHaveTheirParts(t *testing.T) {
	f := newFutures(func() time.Time { return time.Unix(0, 0) })
	kept, _, err := f.add(&Future{ID: "kept", owner: "victim"}, false)
	if err != nil {
		t.Fatal(err)
	}
	f.end(kept, "result", nil, 1000)
	for i := range 2 * maxEnded {
		one, _, err := f.add(&Future{ID: fmt.Sprint("small ", i), owner: "flood"}, false)
		if err != nil {
			t.Fatal(err)
		}
		f.end(one, nil, nil, 0)
	}
	for i := range 20 {
		one, _, err := f.add(&Future{ID: fmt.Sprint("large ", i), owner: "flood"}, false)
		if err != nil {
			t.Fatal(err)
		}
		f.end(one, nil, nil, maxEndedSize/4)
	}
	if f.find("kept") == nil {
		t.Error("another's result made room for those of a flood")
	}
	if f.all.endedSize > maxEndedSize || f.all.endedCount > maxEnded {
		t.Errorf("%d results with %d bytes are kept", f.all.endedCount, f.all.endedSize)
	}
	waiting := 0
	for ; waiting <= maxPending; waiting++ {
		if _, _, err = f.add(&Future{ID: fmt.Sprint("waits ", waiting), owner: "flood"}, false); err != nil {
			break
		}
	}
	if waiting != maxPending/ownerPart || !errors.Is(err, ErrTooMany) {
		t.Errorf("one owner has %d calls, then %v", waiting, err)
	}
	if _, _, err := f.add(&Future{ID: "another's", owner: "victim"}, false); err != nil {
		t.Errorf("another's call beside a flood: %v", err)
	}
}

// What belongs to another is not seen, unless it was published; and then it is not changed.
func TestOwners(t *testing.T) {
	kept, err := openCheckpoints(t.TempDir(), func(s string) { t.Error(s) })
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{o: Options{Now: time.Now}, checkpoints: kept, futures: newFutures(time.Now)}
	c := &Checkpoint{Run: "r", Kind: KindSampler, Name: "x", Owner: "a", Created: time.Unix(1, 0)}
	if err := kept.put(c); err != nil {
		t.Fatal(err)
	}
	a, b, all := &Caller{Owner: "a"}, &Caller{Owner: "b"}, &Caller{}
	path := c.Path().String()
	for who, sees := range map[*Caller]bool{a: true, b: false, all: true} {
		if _, err := s.Checkpoint(who, "path", path); (err == nil) != sees {
			t.Errorf("%q sees the checkpoint: %v", who.Owner, err)
		}
	}
	if err := s.Publish(b, c.Path(), true); !errors.Is(err, ErrUnknown) {
		t.Errorf("publishing another's checkpoint: %v", err)
	}
	if err := s.Publish(a, c.Path(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Checkpoint(b, "path", path); err != nil {
		t.Errorf("a public checkpoint: %v", err)
	}
	if err := s.Delete(b, c.Path()); !errors.Is(err, ErrUnknown) || len(s.Checkpoints(b, "")) != 0 {
		t.Errorf("deleting another's public checkpoint: %v", err)
	}
	if _, _, err := s.futures.add(&Future{ID: "f", owner: "a"}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Future(b, "f"); !errors.Is(err, ErrExpired) {
		t.Errorf("another's future: %v", err)
	}
	again, err := openCheckpoints(kept.dir, func(s string) { t.Error(s) })
	if err != nil || again.find(c.Path()) == nil || !again.find(c.Path()).Public {
		t.Errorf("after a restart: %v", err)
	}
}

// A stop text may begin and end anywhere in tokens; the token that completes it is the last.
func TestStops(t *testing.T) {
	pieces := map[runtime.Token][]byte{1: []byte("ab"), 2: []byte("c"), 3: []byte("dab"), 4: []byte("x")}
	for _, c := range []struct {
		texts  []string
		tokens []runtime.Token
		said   []runtime.Token
		end    int // index of the last token; -1: nothing ends it
	}{
		{[]string{"bc"}, nil, []runtime.Token{1, 2, 4}, 1},
		{[]string{"cdabc"}, nil, []runtime.Token{1, 2, 3, 2}, 3},
		{[]string{"zz", "bd"}, nil, []runtime.Token{1, 3}, 1},
		{[]string{"zz"}, []runtime.Token{4}, []runtime.Token{1, 4}, 1},
		{[]string{"ca"}, nil, []runtime.Token{1, 2, 3}, -1},
	} {
		p := &stop{tokens: c.tokens, piece: func(t runtime.Token) []byte { return pieces[t] }}
		for _, text := range c.texts {
			p.texts, p.longest = append(p.texts, []byte(text)), max(p.longest, len(text))
		}
		m := p.matcher()
		end := slices.IndexFunc(c.said, func(token runtime.Token) bool { return m.ends(runtime.TokenText{Token: token}) })
		if end != c.end {
			t.Errorf("%q and %v in %v end at %d, not at %d", c.texts, c.tokens, c.said, end, c.end)
		}
	}
}

// Micro-batches hold whole sequences, and together all of them in their order.
func TestMicroBatches(t *testing.T) {
	var data []Datum
	for _, n := range []int{3, 4, 8, 1, 1, 1} {
		data = append(data, Datum{Tokens: make([]runtime.Token, n)})
	}
	if got := microBatches(data, 8); !slices.Equal(got, []int{0, 2, 3, 6}) {
		t.Errorf("they begin at %v", got)
	}
}

func TestPaths(t *testing.T) {
	p, err := ParsePath("path", "tinker://s:train:0/weights/x")
	if err != nil || p != (Path{"s:train:0", KindTraining, "x"}) || p.String() != "tinker://s:train:0/weights/x" {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"", "x", "tinker://a/b", "tinker://a/other/c", "tinker://a/weights/b/c", "tinker://../weights/../x", "tinker://a/weights/"} {
		if _, err := ParsePath("path", bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q is read: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "../x", "a/b", ".x", "a b"} {
		if checkName("path", bad) == nil {
			t.Errorf("the name %q is taken", bad)
		}
	}
}
