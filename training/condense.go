package training

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// This file keeps a job's log within its bounds. Of the older part, every two steps become one event with their mean
// loss, every two evaluations the later one, and of the other events the oldest are left out, with one in their place that
// says how many they were.

// maxOldMessages is how many bytes of events that are no metrics are kept of the older part.
const maxOldMessages = maxLogBytes / 8

// storedEvent is an event and the bytes of its line.
type storedEvent struct {
	Event
	bytes int
}

// condense replaces the file by a shorter one. Followers see that by the generation. l.mu is held.
func (l *eventLog) condense() error {
	list, err := l.readAll()
	if err != nil {
		return err
	}
	list = condensed(list)
	var size int64
	err = l.disk.put(l.name, func(w io.Writer) error {
		size = 0
		for _, e := range list {
			line, err := json.Marshal(e.Event)
			if err != nil {
				return err
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return err
			}
			size += int64(len(line)) + 1
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.size, l.count = size, len(list)
	l.generation++
	l.wake()
	return nil
}

// readAll reads the events of the file. l.mu is held.
func (l *eventLog) readAll() (list []storedEvent, err error) {
	f, err := os.Open(l.disk.path(l.name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.NewSectionReader(f, 0, l.size))
	lines.Buffer(nil, 2<<20) // logs of earlier versions have lines of up to 1 MiB
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, err
		}
		list = append(list, storedEvent{e, len(lines.Bytes()) + 1})
	}
	return list, lines.Err()
}

// condensed returns a list of events whose older part is put together. The newer part, of at most half of the bounds,
// stays as it is.
func condensed(list []storedEvent) []storedEvent {
	at, bytes := len(list), 0
	for at > 0 && len(list)-at < maxLogCount/2 && bytes+list[at-1].bytes <= maxLogBytes/2 {
		at--
		bytes += list[at].bytes
	}
	return append(condenseOlder(list[:at]), list[at:]...)
}

func condenseOlder(older []storedEvent) []storedEvent {
	var out []storedEvent // the newest first
	kept, notice := 0, -1 // notice: where in out the event is that stands for what was left out
	for i := len(older) - 1; i >= 0; i-- {
		e := older[i]
		pair := i > 0 && e.kind() == older[i-1].kind()
		switch {
		case e.kind() == otherEvent && kept+e.bytes > maxOldMessages:
			if notice < 0 {
				notice = len(out)
				out = append(out, storedEvent{Event: Event{Seq: e.Seq, Created: e.Created, Level: LevelInfo, Kind: KindMessage}})
			}
			out[notice].Merged += max(1, e.Merged)
			kept = maxOldMessages // and none that is older
			continue
		case e.kind() == otherEvent:
			kept += e.bytes
		case pair && e.kind() == stepEvent:
			i--
			e.Event = joinSteps(&older[i].Event, &e.Event)
		case pair: // of two evaluations the later
			i--
		}
		out = append(out, e)
	}
	if notice >= 0 {
		out[notice].Message = fmt.Sprintf("%d older messages are no longer kept.", out[notice].Merged)
	}
	slices.Reverse(out)
	return out
}

// The kinds of events that condense tells apart.
const (
	otherEvent = iota
	stepEvent
	evaluationEvent
)

func (e *Event) kind() int {
	switch {
	case e.Metrics == nil:
		return otherEvent
	case e.Metrics.EvalLoss != nil:
		return evaluationEvent
	}
	return stepEvent
}

// joinSteps makes one event of two: the later one, with the mean loss and accuracy of all the steps that they stand for.
func joinSteps(a, b *Event) Event {
	na, nb := float64(max(1, a.Merged)), float64(max(1, b.Merged))
	mean := func(x, y float64) float64 { return (x*na + y*nb) / (na + nb) }
	m := *b.Metrics
	m.Loss, m.Accuracy = mean(a.Metrics.Loss, m.Loss), mean(a.Metrics.Accuracy, m.Accuracy)
	if len(m.Measures) > 0 {
		m.Measures = maps.Clone(m.Measures)
		for name, y := range m.Measures {
			if x, ok := a.Metrics.Measures[name]; ok {
				m.Measures[name] = mean(x, y)
			}
		}
	}
	joined := *b
	joined.Metrics, joined.Merged = &m, int(na+nb)
	joined.Message = fmt.Sprintf("Step %d/%d: training loss %.4f, the mean of %d steps", m.Step, m.Steps, m.Loss, joined.Merged)
	return joined
}
