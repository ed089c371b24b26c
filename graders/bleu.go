package graders

import (
	"math"
	"regexp"
	"strings"
	"unicode"
)

// bleuOrder is the longest n-gram that BLEU counts.
const bleuOrder = 4

// bleu is the BLEU score of one text against one reference, in [0, 1], with mteval-13a's words, exponential smoothing and no
// higher order than the text has n-grams of. Source: Papineni et al. 2002; Post 2018, "A Call for Clarity in Reporting BLEU
// Scores" (SacreBLEU, sentence_bleu, whose score is 100 times as large).
func bleu(input, reference string) float64 {
	hypothesis, target := mtevalWords(input), mtevalWords(reference)
	var common, total [bleuOrder]int
	any := false
	for n := 1; n <= bleuOrder; n++ {
		common[n-1] = overlap(grams(hypothesis, n), grams(target, n))
		total[n-1] = count(hypothesis, n)
		any = any || common[n-1] > 0
	}
	if !any {
		return 0
	}
	brevity := 1.0
	if len(hypothesis) < len(target) {
		brevity = math.Exp(1 - float64(len(target))/float64(len(hypothesis)))
	}
	smooth, logs, order := 1.0, 0.0, 0
	for n := range bleuOrder {
		if total[n] == 0 {
			break
		}
		order++
		precision := float64(common[n]) / float64(total[n])
		if common[n] == 0 {
			smooth *= 2
			precision = 1 / (smooth * float64(total[n]))
		}
		logs += math.Log(precision)
	}
	return brevity * math.Exp(logs/float64(order))
}

// mtevalRules part words and punctuation as mteval-v13a.pl does, in this order.
var mtevalRules = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile("([{-~\\[-` -&(-+:-@/])"), " $1 "},
	{regexp.MustCompile(`([^0-9])([.,])`), "$1 $2 "},
	{regexp.MustCompile(`([.,])([^0-9])`), " $1 $2"},
	{regexp.MustCompile(`([0-9])(-)`), "$1 $2 "},
}

// mtevalWords returns the words of mteval-13a, whose punctuation stands alone.
func mtevalWords(s string) []string {
	s = strings.TrimRightFunc(s, unicode.IsSpace)
	for _, r := range [][2]string{{"<skipped>", ""}, {"-\n", ""}, {"\n", " "}, {"&quot;", `"`}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}} {
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	s = " " + s + " "
	for _, r := range mtevalRules {
		s = r.pattern.ReplaceAllString(s, r.with)
	}
	return strings.Fields(s)
}
