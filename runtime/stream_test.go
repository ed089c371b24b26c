package runtime

import (
	"context"
	"errors"
	"io"
	"testing"
)

func TestStream(t *testing.T) {
	ctx := context.Background()
	s, w := NewStream(nil)
	w.Send(Event{Text: "a"})
	w.Send(Event{Text: "b", Finish: FinishStop})
	w.Finish(nil)
	for _, want := range []string{"a", "b"} {
		if ev, err := s.Next(ctx); err != nil || ev.Text != want {
			t.Fatalf("Next returns %+v, %v", ev, err)
		}
	}
	for range 2 {
		if _, err := s.Next(ctx); !errors.Is(err, io.EOF) {
			t.Fatalf("after the last event Next returns %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(ctx); !errors.Is(err, io.EOF) {
		t.Fatalf("a stream that was read to its end stays so: %v", err)
	}
}

func TestStreamClose(t *testing.T) {
	told := 0
	s, w := NewStream(func() { told++ })
	w.Send(Event{Text: "a"})
	done := make(chan error)
	s2, _ := NewStream(nil)
	go func() {
		_, err := s2.Next(context.Background())
		done <- err
	}()
	for range 2 {
		s.Close()
		s2.Close()
	}
	if _, err := s.Next(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close Next returns %v", err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("a Next that waits returns %v on Close", err)
	}
	if told != 1 {
		t.Errorf("the Engine was told %d times", told)
	}
	w.Send(Event{Text: "late"})
	w.Finish(nil)
	if _, err := s.Next(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("what comes after Close is read: %v", err)
	}
	if err := (*Stream)(nil).Close(); err != nil {
		t.Errorf("closing no stream: %v", err)
	}
}

func TestStreamNextContext(t *testing.T) {
	s, w := NewStream(nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next returns %v", err)
	}
	w.Send(Event{Text: "a"})
	if ev, err := s.Next(ctx); err != nil || ev.Text != "a" {
		t.Errorf("what is there is read even so: %+v, %v", ev, err)
	}
}
