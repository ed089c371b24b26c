package quant

import "iter"

// Metadata is a file's key-value pairs in the file's order. The zero Metadata is empty and ready.
//
// A value has the Go type of its GGUF type: uint8, int8, uint16, int16, uint32, int32, uint64, int64,
// float32, float64, bool, string, or a slice of one of these. Values must not be changed in place.
type Metadata struct {
	pairs []pair
	index map[string]int
}

type pair struct {
	key   string
	value any
}

// Len returns the number of pairs.
func (m *Metadata) Len() int { return len(m.pairs) }

// All yields the pairs in order.
func (m *Metadata) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for _, p := range m.pairs {
			if !yield(p.key, p.value) {
				return
			}
		}
	}
}

// Set gives key a value; a key that is there keeps its place, a new one comes last.
func (m *Metadata) Set(key string, value any) {
	if i, ok := m.index[key]; ok {
		m.pairs[i].value = value
		return
	}
	if m.index == nil {
		m.index = make(map[string]int)
	}
	m.index[key] = len(m.pairs)
	m.pairs = append(m.pairs, pair{key, value})
}

// Delete takes key away, if it is there.
func (m *Metadata) Delete(key string) {
	at, ok := m.index[key]
	if !ok {
		return
	}
	m.pairs = append(m.pairs[:at:at], m.pairs[at+1:]...)
	delete(m.index, key)
	for k, i := range m.index {
		if i > at {
			m.index[k] = i - 1
		}
	}
}

// Clone returns a copy whose pairs can be set without changing m's.
func (m *Metadata) Clone() Metadata {
	var c Metadata
	for k, v := range m.All() {
		c.Set(k, v)
	}
	return c
}

// Get returns the value of key.
func (m *Metadata) Get(key string) (value any, ok bool) {
	i, ok := m.index[key]
	if !ok {
		return nil, false
	}
	return m.pairs[i].value, true
}

// String returns the value of key if it is a string.
func (m *Metadata) String(key string) (string, bool) { return typed[string](m, key) }

// Bool returns the value of key if it is a bool.
func (m *Metadata) Bool(key string) (bool, bool) { return typed[bool](m, key) }

// Strings returns the value of key if it is an array of strings.
func (m *Metadata) Strings(key string) ([]string, bool) { return typed[[]string](m, key) }

func typed[T any](m *Metadata, key string) (T, bool) {
	v, _ := m.Get(key)
	t, ok := v.(T)
	return t, ok
}

// Uint returns the value of key if it is an integer of any width and not negative.
func (m *Metadata) Uint(key string) (uint64, bool) {
	v, _ := m.Get(key)
	if u, ok := v.(uint64); ok {
		return u, true
	}
	i, ok := integer(v)
	return uint64(i), ok && i >= 0
}

// Int returns the value of key if it is an integer of any width that fits int64.
func (m *Metadata) Int(key string) (int64, bool) {
	v, _ := m.Get(key)
	return integer(v)
}

// Float returns the value of key if it is a float of either width.
func (m *Metadata) Float(key string) (float64, bool) {
	v, _ := m.Get(key)
	switch f := v.(type) {
	case float32:
		return float64(f), true
	case float64:
		return f, true
	}
	return 0, false
}

// Ints returns the value of key if it is an array of integers that fit int64.
func (m *Metadata) Ints(key string) ([]int64, bool) {
	v, _ := m.Get(key)
	switch a := v.(type) {
	case []uint8:
		return widen(a), true
	case []int8:
		return widen(a), true
	case []uint16:
		return widen(a), true
	case []int16:
		return widen(a), true
	case []uint32:
		return widen(a), true
	case []int32:
		return widen(a), true
	case []int64:
		return a, true
	}
	return nil, false
}

func widen[T uint8 | int8 | uint16 | int16 | uint32 | int32](a []T) []int64 {
	out := make([]int64, len(a))
	for i, x := range a {
		out[i] = int64(x)
	}
	return out
}

func integer(v any) (int64, bool) {
	switch i := v.(type) {
	case uint8:
		return int64(i), true
	case int8:
		return int64(i), true
	case uint16:
		return int64(i), true
	case int16:
		return int64(i), true
	case uint32:
		return int64(i), true
	case int32:
		return int64(i), true
	case int64:
		return i, true
	case uint64:
		return int64(i), i <= 1<<63-1
	}
	return 0, false
}
