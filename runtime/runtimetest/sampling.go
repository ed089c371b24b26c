package runtimetest

import (
	"errors"
	"math"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file has how the fake Device chooses tokens: as a function of the cells before a row, its adapters and its seed.

// choice returns what a row, the last of s, asks for.
func (d *Device) choice(s *sequence, r runtime.Row) runtime.Choice {
	var c runtime.Choice
	switch {
	case r.Sampler != nil:
		c = d.draw(s, r)
	case r.Scored:
		c = d.score(s, r)
	}
	if r.Hidden {
		c.Hidden = make([]float32, embedding)
		for i := range c.Hidden {
			c.Hidden[i] = float32(combine(s.cells[len(s.cells)-1].sum, uint64(i))%2001)/1000 - 1
		}
	}
	return c
}

// score returns the log-probabilities after the last cell of s. The greedy token's are those that draw gives.
func (d *Device) score(s *sequence, r runtime.Row) runtime.Choice {
	sum := s.cells[len(s.cells)-1].sum
	best := d.next(s, sum, true)
	c := runtime.Choice{Token: r.Next, Logprob: greedyLogprob(sum)}
	c.Top = alternatives(best, c.Logprob, r.Top)
	if r.Next != best {
		c.Logprob -= 1 + float32(combine(sum, uint64(r.Next))%1000)/1000
	}
	return c
}

// greedyLogprob is the log-probability of the token that is drawn after a cell.
func greedyLogprob(sum uint64) float32 { return -float32(sum%1000) / 1000 }

// alternatives are the most likely tokens, of which best is the first.
func alternatives(best runtime.Token, logprob float32, n int) []runtime.TokenLogprob {
	var top []runtime.TokenLogprob
	for i := range max(n, 0) {
		t := runtime.TokenLogprob{Token: best, Logprob: logprob}
		if i > 0 {
			t = runtime.TokenLogprob{Token: runtime.Token('a' + i), Logprob: logprob - float32(i)}
		}
		top = append(top, t)
	}
	return top
}

// draw chooses the token after the last cell of s.
func (d *Device) draw(s *sequence, r runtime.Row) runtime.Choice {
	sm := r.Sampler.(*sampler)
	sum := s.cells[len(s.cells)-1].sum
	if sm.sampling.Temperature > 0 {
		sum = combine(sum, combine(sm.sampling.Seed, uint64(sm.drawn)))
	}
	sm.drawn++
	token, scripted := d.scripted(s)
	if !scripted {
		token = d.hashed(s, sum, sm.sampling.IgnoreEOS)
	}
	choice := runtime.Choice{Token: token, Logprob: greedyLogprob(sum)}
	switch {
	case choice.Token < 0 || sm.matcher == nil:
	case scripted: // what a test has the model say, it says, also where the constraint would not have it
		if sm.matcher.Accept(token) != nil {
			sm.matcher = nil
		}
	default:
		choice.Token, choice.Err = sm.held(choice.Token, sum)
	}
	if choice.Token < 0 && choice.Err == nil {
		choice.Err = errors.New("none is possible")
	}
	if choice.Token < -1 {
		choice.Err = runtime.ErrLogits
	}
	choice.Top = alternatives(choice.Token, choice.Logprob, r.Top)
	return choice
}

// longAnswer is after how many tokens an answer under a constraint is brought to its end.
const longAnswer = 48

// held returns a token that the sampler's constraint admits: the given one, or another that the number chooses.
func (s *sampler) held(token runtime.Token, number uint64) (runtime.Token, error) {
	admitted, err := s.matcher.Admits(token)
	if err != nil {
		return -1, err
	}
	if !admitted {
		mask := make([]uint64, s.model.tokens.Words())
		if err := s.matcher.Mask(mask); err != nil {
			return -1, err
		}
		var list []runtime.Token
		closing := runtime.Token(-1)
		for t := range vocabSize {
			if mask[t/64]>>(t%64)&1 == 0 || s.sampling.IgnoreEOS && s.model.EndOfGeneration(t) {
				continue
			}
			list = append(list, t)
			if t == '"' || t == '}' || t == ']' || s.model.EndOfGeneration(t) {
				closing = t
			}
		}
		switch {
		case len(list) == 0:
			return -1, nil
		case closing >= 0 && s.drawn > longAnswer:
			token = closing
		default:
			token = list[number%uint64(len(list))]
		}
	}
	return token, s.matcher.Accept(token)
}

// scripted returns the token that Answer chooses after the last cell of s.
func (d *Device) scripted(s *sequence) (runtime.Token, bool) {
	if d.Answer == nil {
		return 0, false
	}
	var text []byte
	for _, c := range s.cells {
		text = append(text, d.model.Piece(c.token, true)...)
	}
	return d.Answer(string(text))
}

func (d *Device) next(s *sequence, sum uint64, ignoreEOS bool) runtime.Token {
	if t, ok := d.scripted(s); ok {
		return t
	}
	return d.hashed(s, sum, ignoreEOS)
}

// hashed returns the token that a hash chooses.
func (d *Device) hashed(s *sequence, sum uint64, ignoreEOS bool) runtime.Token {
	if s.cells[len(s.cells)-1].token == leadByte {
		return trailByte
	}
	n := sum % (uint64(len(letters)) * endEvery)
	switch {
	case n%endEvery == 0 && !ignoreEOS:
		return TurnEnd
	case n%endEvery == 1:
		return leadByte
	}
	return runtime.Token(letters[n/endEvery])
}

// mixSum is the same for two mixes if and only if they compute the same at the position.
func mixSum(mix []runtime.Term, pos int) uint64 {
	var sum uint64
	for _, t := range mix {
		if t.Scale != 0 && pos >= t.From {
			sum += combine(t.Packed.(*packed).sum, uint64(math.Float32bits(t.Scale)))
		}
	}
	return sum
}

// combine is the finalizer of SplitMix64 (Steele, Lea and Flood 2014) over both arguments.
func combine(a, b uint64) uint64 {
	x := a*0x9E3779B97F4A7C15 + b + 0x632BE59BD9B4E019
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// The letters an answer is made of: a byte each, and a lead byte that one other byte must follow.
const (
	letters   = "eeetttaaoinshrdlucmfwy   ,."
	leadByte  = 0xC3
	trailByte = 0xA9
	endEvery  = 40 // one token in so many ends the answer
)
