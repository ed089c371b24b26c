package chat

import (
	"errors"
	"fmt"
	"time"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// A template is a program that comes with the model's file, and clients' messages and tools are its input. gonja has no
// limits for endless loops or for texts that grow without bound. So everything that can repeat work or produce text goes
// through our own code, which spends from a budget: loops and macros (control.go), the operators that produce texts or
// lists (operators.go), filters, tests, methods and functions (builtins.go), and what is printed.

// The limits of rendering one conversation. Published templates use about a thousandth of them.
const (
	maxTime   = 5 * time.Second // checked at steps
	maxDepth  = 200             // macros and recursive loops inside one another; Python's own limit is near
	maxNested = 128             // lists and dicts inside one another
	maxTree   = 200_000         // values in one list or dict that a template makes

	baseSteps    = 500_000  // loops, calls, filters, and elements looked at; besides,
	bytesPerStep = 16       // one for so many bytes of the conversation
	baseText     = 32 << 20 // bytes of text that may be made; besides,
	textPerByte  = 32       // so many for each byte of the conversation
)

// overBudget ends a rendering, as a panic: gonja has no other way out of a filter or test in the middle of its work.
type overBudget string

func (o overBudget) Error() string { return "the chat template was stopped: " + string(o) }

// budget is what one rendering may still spend. It belongs to one goroutine.
type budget struct {
	steps, text, depth   int
	stepLimit, textLimit int
	deadline             time.Time
	sinceClock           int                // steps since the time was looked at
	input                map[*exec.Dict]int // values in each object of the conversation, whose nesting is bounded
}

// newBudget is for a conversation of so many bytes.
func newBudget(input int) *budget {
	steps, text := baseSteps+input/bytesPerStep, baseText+textPerByte*input
	return &budget{
		steps: steps, stepLimit: steps, text: text, textLimit: text,
		deadline: time.Now().Add(maxTime), input: map[*exec.Dict]int{},
	}
}

// step spends n steps, and checks the time.
func (b *budget) step(n int) {
	if b.steps -= max(n, 1); b.steps < 0 {
		panic(overBudget(fmt.Sprintf("it took more than %d steps", b.stepLimit)))
	}
	if b.sinceClock += max(n, 1); b.sinceClock >= 16 {
		b.sinceClock = 0
		if time.Now().After(b.deadline) {
			panic(overBudget(fmt.Sprintf("it took longer than %v", maxTime)))
		}
	}
}

// grow spends the bytes of a text before the text is allocated.
func (b *budget) grow(bytes int) {
	if bytes < 0 || bytes > b.text {
		panic(overBudget(fmt.Sprintf("it made more than %d bytes of text", b.textLimit)))
	}
	b.text -= bytes
}

// repeat spends a text of so many bytes, so many times.
func (b *budget) repeat(bytes, times int) {
	if bytes > 0 && times > 0 {
		if times > b.text/bytes {
			b.grow(b.text + 1)
		}
		b.grow(bytes * times)
	}
}

// enter begins a call inside of another; leave ends it.
func (b *budget) enter() {
	b.step(1)
	if b.depth++; b.depth > maxDepth {
		panic(overBudget(fmt.Sprintf("its macros and recursive loops are more than %d deep", maxDepth)))
	}
}

func (b *budget) leave() { b.depth-- }

// chargeTraversal spends the cost of going through all of a value once.
func (b *budget) chargeTraversal(v *exec.Value) {
	switch {
	case v == nil || v.IsNil() || v.IsError():
	case v.IsString():
		b.step(1 + len(v.String())/1024)
	case v.IsList() || v.IsDict():
		n, known := 0, false
		if dict, ok := v.Interface().(*exec.Dict); ok {
			n, known = b.input[dict]
		}
		if !known {
			n = v.Len()
		}
		b.step(1 + n/16)
	}
}

// chargeResult spends the cost of a value that a builtin has returned.
func (b *budget) chargeResult(v *exec.Value) *exec.Value {
	switch {
	case v == nil || v.IsNil() || v.IsError():
	case v.IsString():
		b.grow(len(v.String()))
	case v.IsList():
		b.step(1 + v.Len()/16)
	}
	return v
}

// checkTree returns an error where a value that the template made is nested too deeply or has too many values. A value
// that it contains twice counts twice: gonja walks values recursively, and a list of [x, x] that is nested forty times
// would make it visit 2^40 values.
func (b *budget) checkTree(v *exec.Value) error {
	left := maxTree
	return b.walkTree(v, 0, &left)
}

func (b *budget) walkTree(v *exec.Value, depth int, left *int) error {
	if v == nil || v.IsNil() || v.IsError() || !v.IsList() && !v.IsDict() {
		return nil
	}
	switch x := v.Interface().(type) {
	case namespace:
		return errors.New("a namespace cannot be put into a list, a dict or a namespace")
	case *exec.Dict:
		if _, known := b.input[x]; known {
			return nil
		}
	}
	var inner []*exec.Value
	if v.IsDict() {
		for _, p := range items(v) {
			inner = append(inner, p.Value)
		}
	} else {
		inner = elements(v)
	}
	b.step(1 + len(inner)/16)
	switch *left -= len(inner); {
	case depth == maxNested:
		return fmt.Errorf("lists and dicts can be nested %d deep", maxNested)
	case *left < 0:
		return fmt.Errorf("a list or dict can have %d values", maxTree)
	}
	for _, e := range inner {
		if err := b.walkTree(e, depth+1, left); err != nil {
			return err
		}
	}
	return nil
}
