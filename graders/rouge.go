package graders

import "strings"

// rougeN is ROUGE-N's F-measure of two texts, in [0, 1]. Source: Lin 2004, "ROUGE"; the package rouge_score, without
// stemming.
func rougeN(input, reference string, n int) float64 {
	a, b := rougeWords(input), rougeWords(reference)
	return fMeasure(overlap(grams(a, n), grams(b, n)), count(a, n), count(b, n))
}

// rougeL is the same of the longest common subsequence of words.
func rougeL(input, reference string) float64 {
	a, b := rougeWords(input), rougeWords(reference)
	return fMeasure(commonSubsequence(a, b), len(a), len(b))
}

// fMeasure is the harmonic mean of precision and recall.
func fMeasure(common, ofInput, ofReference int) float64 {
	if common == 0 {
		return 0
	}
	p, r := float64(common)/float64(ofInput), float64(common)/float64(ofReference)
	return 2 * p * r / (p + r)
}

// rougeWords are the runs of letters a-z and digits, in lower case.
func rougeWords(s string) []string {
	s = strings.ToLower(strings.ReplaceAll(s, "\u0130", "i\u0307")) // Python writes this letter in lower case as two
	return strings.FieldsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
}
