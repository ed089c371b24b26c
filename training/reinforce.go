package training

import (
	"context"
	"fmt"
	"slices"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/graders"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/loss"
)

// This file is the method reinforcement: GRPO. Each step samples a group of answers to each of its prompts from the
// adapter as it stands, grades them, and learns from how much better than its group each answer is (learn.go).

// maxEvalPrompts is how many prompts an evaluation has at most.
const maxEvalPrompts = 256

// reinforcement is what a run has besides others for this method. It belongs to the worker's goroutine.
type reinforcement struct {
	r       *run
	grader  *graders.Grader
	sampler sampler
	loss    loss.GRPOOptions
	failing int // steps in a row that the grader failed in
}

// newReinforcement reads the grader of a job and what its answers are held to.
func newReinforcement(r *run) (*reinforcement, error) {
	c, o := &r.job.Config, &r.q.o
	m := &reinforcement{r: r}
	var err error
	if m.grader, err = r.q.parseGrader(c, r.job.Owner); err != nil {
		return nil, err
	}
	constraint, err := c.answerFormat()
	if err != nil {
		return nil, err
	}
	m.loss = c.grpo()
	m.sampler = sampler{submit: o.Submit, atOnce: o.Rollouts, read: r.q.readAnswer, shown: o.Template.Markers, common: runtime.Request{
		Tenant: r.job.Owner, MaxTokens: c.MaxCompletion,
		Sampling: runtime.Sampling{Temperature: float32(c.Temperature), TopP: float32(c.TopP), Constraint: constraint},
	}}
	return m, nil
}

// rolloutPrompt is a prompt with the line that it is of.
type rolloutPrompt struct {
	tokens []runtime.Token
	item   map[string]any
	tools  *calls.Set // nil: none
}

// prompts reads examples from the disk.
func prompts(set *exampleSet, list []int) ([]rolloutPrompt, error) {
	examples, err := set.read(list)
	if err != nil {
		return nil, err
	}
	out := make([]rolloutPrompt, len(examples))
	for i := range examples {
		item, err := graders.ReadItem(examples[i].Line)
		if err != nil {
			return nil, fmt.Errorf("%w: its lines: %w", ErrDamaged, err)
		}
		tools, err := toolsOf(examples[i].Line)
		if err != nil {
			return nil, fmt.Errorf("%w: the tools of its lines: %w", ErrDamaged, err)
		}
		out[i] = rolloutPrompt{examples[i].Tokens, item, tools}
	}
	return out, nil
}

// mostTokens is those of the longest prompt and its answer, or as many as fill a micro-batch.
func (m *reinforcement) mostTokens() int {
	r := m.r
	return r.job.Config.rolloutTokens(slices.Concat(r.set.train.lengths, r.set.eval.lengths), r.q.o.MicroBatchTokens)
}

func (m *reinforcement) begin(context.Context) error { return nil }

// step samples, grades, and updates the adapter num_iterations times. n counts from 0.
func (m *reinforcement) step(ctx context.Context, n int) (*stepResult, error) {
	c := &m.r.job.Config
	list, err := prompts(&m.r.set.train, slices.Concat(m.r.order.Step(n)...))
	if err != nil {
		return nil, err
	}
	answers, err := m.sampleAndGrade(ctx, list, c.Generations, c.Temperature, n)
	if err != nil {
		return nil, err
	}
	if err := m.countFailures(answers, n); err != nil {
		return nil, err
	}
	stats := newRolloutStats(answers, c.Generations)
	learned := m.trajectories(list, answers)
	out := &stepResult{}
	for range c.Iterations {
		if err := m.update(ctx, n, learned, stats, out); err != nil {
			return nil, err
		}
	}
	out.measures = stats.measures()
	return out, nil
}

// sampleAndGrade returns count answers to each prompt from the adapter as it stands, those to one prompt behind each other.
func (m *reinforcement) sampleAndGrade(ctx context.Context, list []rolloutPrompt, count int, temperature float64, n int) ([]graded, error) {
	live, err := m.place(ctx)
	if err != nil {
		return nil, fmt.Errorf("placing the adapter as it stands: %w", err)
	}
	defer live.Close()
	selection := live.Select(1)
	defer selection.Release()
	var questions []question
	var items []map[string]any
	for i, p := range list {
		for g := range count {
			questions = append(questions, question{p.tokens, seedOf(m.r.job.Config.Seed, n, i, g), p.tools})
			items = append(items, p.item)
		}
	}
	s := m.sampler
	s.common.Sampling.Temperature = float32(temperature)
	answers, err := s.sample(ctx, questions, selection)
	if err != nil {
		return nil, err
	}
	return grade(ctx, m.grader, answers, items)
}

// place lends the adapter as it stands to the engine.
func (m *reinforcement) place(ctx context.Context) (*adapters.Unstored, error) {
	lora := m.r.trainer.LoRA()
	defer m.r.q.freeCopies(4 * m.parameters())
	return m.r.q.o.Cache.AddUnstored(ctx, m.r.job.Name, lora)
}

// countFailures warns of answers that could not be graded, and ends the job where that goes on.
func (m *reinforcement) countFailures(list []graded, n int) error {
	count, first := failures(list)
	if 2*count <= len(list) {
		m.failing = 0
	}
	if count == 0 {
		return nil
	}
	m.r.q.tell(m.r.j, LevelWarn, fmt.Sprintf("Step %d: %d of %d answers could not be graded, and nothing is learned from them: %v", n+1, count, len(list), first))
	if 2*count <= len(list) {
		return nil
	}
	if m.failing++; m.failing >= maxFailing {
		return fmt.Errorf("%w: in each of the last %d steps more than half of the answers had no reward; in step %d: %w", ErrGrader, m.failing, n+1, first)
	}
	return nil
}

// evalPrompts are the prompts of an evaluation: those for validation, or some of the others.
func (m *reinforcement) evalPrompts() (*exampleSet, []int) {
	set, list := m.r.evalSet()
	return set, list[:min(len(list), maxEvalPrompts)]
}

// evaluate returns the mean reward of answers to the prompts for validation as the adapter stands. Minus that is the loss
// which early stopping looks at.
func (m *reinforcement) evaluate(ctx context.Context) (*score, error) {
	c := &m.r.job.Config
	list, err := prompts(m.evalPrompts())
	if err != nil {
		return nil, err
	}
	temperature := c.Temperature
	if c.EvalGenerations == 1 {
		temperature = 0
	}
	var answers []graded
	for try := 1; ; try++ {
		if answers, err = m.sampleAndGrade(ctx, list, c.EvalGenerations, temperature, evalSeed); err != nil {
			return nil, err
		}
		count, first := failures(answers)
		if count < len(answers) {
			break
		}
		if try == maxFailing {
			return nil, fmt.Errorf("%w: %d times none of the %d answers of an evaluation had a reward: %w", ErrGrader, try, count, first)
		}
	}
	stats := newRolloutStats(answers, c.EvalGenerations)
	m.r.q.tell(m.r.j, LevelInfo, "An answer of the evaluation: "+show(answers[0]))
	return &score{Step: m.r.state.Step, Loss: -stats.reward, Measures: map[string]float64{"reward": stats.reward, "completions/mean_length": stats.length}, Tokens: stats.answerTokens}, nil
}

// describe says the mean reward.
func (m *reinforcement) describe(s *score) string {
	return fmt.Sprintf("mean reward %.3f, %.1f tokens each answer", s.Measures["reward"], s.Measures["completions/mean_length"])
}

// evalSeed is the step number that the seeds of evaluations are made with.
const evalSeed = -1

// show describes an answer for an event.
func show(a graded) string {
	if a.failure != nil {
		return shown(a.text) + " (without a reward)"
	}
	return fmt.Sprintf("%s (reward %.3f)", shown(a.text), a.reward)
}

// parameters is how many numbers the adapter has.
func (m *reinforcement) parameters() int64 {
	c, f := &m.r.job.Config, m.r.q.o.Model.Facts()
	modules, err := c.modules(f)
	norms, e := c.norms(f)
	if err != nil || e != nil {
		return 0 // it was checked when the job was made
	}
	return m.r.q.parameters(modules, norms)
}
