package training

import (
	"fmt"
	"strings"

	"github.com/lorikeet-ai/lorikeet/training/loss"
)

// rolloutStats are the numbers of answers that were sampled together, and of the update that learned from them.
type rolloutStats struct {
	reward, deviation float64 // of all graded answers; the deviation within their groups
	graded, failed    int
	length            float64 // mean tokens of an answer
	answerTokens      int     // of all answers
	cut               float64 // share of the answers that reached max_completion_length

	loss    float64      // of the last update
	metrics loss.Metrics // likewise: clip_ratio/..., kl
}

// newRolloutStats counts answers, whose groups have size members each.
func newRolloutStats(list []graded, size int) *rolloutStats {
	s := &rolloutStats{metrics: loss.Metrics{}}
	s.failed, _ = failures(list)
	s.graded = len(list) - s.failed
	s.reward, _ = rewardStats(list)
	groups := 0
	for at := 0; at+size <= len(list); at += size {
		_, d := rewardStats(list[at : at+size])
		s.deviation += d
		groups++
	}
	s.deviation /= float64(max(1, groups))
	for i := range list {
		s.length += float64(len(list[i].tokens)) / float64(len(list))
		s.answerTokens += len(list[i].tokens)
		if list[i].cut {
			s.cut += 1 / float64(len(list))
		}
	}
	return s
}

// begin forgets the numbers of the update before.
func (s *rolloutStats) begin() { s.loss, s.metrics = 0, loss.Metrics{} }

// measures are the numbers under TRL's names.
func (s *rolloutStats) measures() map[string]float64 {
	list := s.metrics.Values()
	list["reward"], list["reward_std"], list["completions/mean_length"] = s.reward, s.deviation, s.length
	list["completions/clipped_ratio"], list["graded"] = s.cut, float64(s.graded)
	return list
}

// shown is a text as an event shows it: one line, of bounded length.
func shown(text string) string {
	const most = 120
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "..."
	}
	return fmt.Sprintf("%q", text)
}
