package chat

import (
	"github.com/nikolalohinski/gonja/v2/builtins"
	controls "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
)

// budgetKey is the variable that holds the budget; no template can write its name.
const budgetKey = "\x00budget"

func budgetOf(r *exec.Renderer) *budget {
	v, _ := r.Environment.Context.Get(budgetKey)
	return v.(*budget)
}

// controlStructures are the blocks that a template may have. There is no way to reach files (include, import, extends).
func controlStructures() map[string]parser.ControlStructureParser {
	blocks := map[string]parser.ControlStructureParser{}
	for _, name := range []string{"for", "if", "set", "macro", "call", "with", "filter", "do", "break", "continue"} {
		if parse, ok := builtins.ControlStructures.Get(name); ok {
			blocks[name] = metered(parse)
		}
	}
	return blocks
}

// metered makes a block's parser one whose blocks spend from the budget.
func metered(parse parser.ControlStructureParser) parser.ControlStructureParser {
	return func(p, args *parser.Parser) (nodes.ControlStructure, error) {
		block, err := parse(p, args)
		if err != nil {
			return nil, err
		}
		switch b := block.(type) {
		case *controls.ForControlStructure:
			step := &nodes.ControlStructureBlock{Location: b.BodyWrapper.Location, ControlStructure: &loopStep{b}}
			b.BodyWrapper.Nodes = append([]nodes.Node{step}, b.BodyWrapper.Nodes...)
		case *controls.MacroControlStructure:
			return &macroBlock{b}, nil
		}
		if s, ok := block.(exec.ControlStructure); ok {
			return &steppedBlock{s}, nil
		}
		return block, nil
	}
}

// steppedBlock spends a step each time that it is executed.
type steppedBlock struct{ exec.ControlStructure }

// Execute implements exec.ControlStructure.
func (s *steppedBlock) Execute(r *exec.Renderer, tag *nodes.ControlStructureBlock) error {
	budgetOf(r).step(1)
	return s.ControlStructure.Execute(r, tag)
}

// loopStep is the first thing in the body of a loop.
type loopStep struct{ *controls.ForControlStructure }

// Execute spends the step, and bounds how deep a recursive loop may call itself.
func (l *loopStep) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	b := budgetOf(r)
	b.step(1)
	if loop, _ := r.Environment.Context.Get("loop"); l.Recursive {
		if again, ok := loop.(func(*exec.VarArgs) *exec.Value); ok {
			r.Environment.Context.Set("loop", bounded(b, again))
		}
	}
	return nil
}

// macroBlock defines a macro whose calls are bounded.
type macroBlock struct {
	*controls.MacroControlStructure
}

// Execute implements exec.ControlStructure.
func (m *macroBlock) Execute(r *exec.Renderer, tag *nodes.ControlStructureBlock) error {
	if err := m.MacroControlStructure.Execute(r, tag); err != nil {
		return err
	}
	if defined, _ := r.Environment.Context.Get(m.Name); defined != nil {
		if macro, ok := defined.(exec.Macro); ok {
			r.Environment.Context.Set(m.Name, bounded(budgetOf(r), macro))
		}
	}
	return nil
}

// bounded is a function that spends a level of depth while it runs.
func bounded(b *budget, f func(*exec.VarArgs) *exec.Value) func(*exec.VarArgs) *exec.Value {
	return func(args *exec.VarArgs) *exec.Value {
		b.enter()
		defer b.leave()
		return f(args)
	}
}
