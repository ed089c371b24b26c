package graders

import (
	"strings"
	"unicode/utf8"
)

// This file compares two texts by what they have in common. bleu.go and rouge.go have the metrics that are made of n-grams.

// fuzzyMatch is the normalized InDel similarity of two texts, in [0, 1]: 1 - (insertions + deletions) / (sum of lengths),
// over code points. Source: RapidFuzz, fuzz.ratio.
func fuzzyMatch(a, b string) float64 {
	x, y := []rune(a), []rune(b)
	if len(x)+len(y) == 0 {
		return 1
	}
	return 2 * float64(commonSubsequence(x, y)) / float64(len(x)+len(y))
}

// commonSubsequence returns the length of the longest common subsequence, 64 elements of a at a time. Source: Hyyrö 2004,
// "Bit-parallel LCS-length computation revisited". It takes time of len(a) len(b) / 64, and memory of len(a) + len(b).
func commonSubsequence[T comparable](a, b []T) int {
	places := placesOf(a)
	words := (len(a) + 63) / 64
	free := make([]uint64, words) // a bit that is 0 is one of the subsequence
	for i := range free {
		free[i] = ^uint64(0)
	}
	drawn := make([]uint64, words) // the bits of an element that has none of its own; else 0
	for _, y := range b {
		of := places[y]
		if of == nil {
			continue
		}
		at := of.bits
		if at == nil {
			at = drawn
			for _, i := range of.list {
				drawn[i/64] |= 1 << (i % 64)
			}
		}
		carry := uint64(0)
		for i, v := range free {
			u := v & at[i]
			sum := v + u + carry
			carry = ((v & u) | ((v | u) &^ sum)) >> 63
			free[i] = sum | (v &^ u)
		}
		if of.bits == nil {
			for _, i := range of.list {
				drawn[i/64] = 0
			}
		}
	}
	count := 0
	for i := range a {
		if free[i/64]>>(i%64)&1 == 0 {
			count++
		}
	}
	return count
}

// places is where an element stands in a list.
type places struct {
	list []int
	bits []uint64 // the same as bits; nil where the list is shorter than that
}

// placesOf returns where each element of a list stands. Those that are more frequent than a list of bits has words have one: they are
// 64 at most, so that a list of many different elements takes no more memory than any other.
func placesOf[T comparable](a []T) map[T]*places {
	all := make(map[T]*places)
	for i, x := range a {
		if all[x] == nil {
			all[x] = &places{}
		}
		all[x].list = append(all[x].list, i)
	}
	words := (len(a) + 63) / 64
	for _, p := range all {
		if len(p.list) <= words {
			continue
		}
		p.bits = make([]uint64, words)
		for _, i := range p.list {
			p.bits[i/64] |= 1 << (i % 64)
		}
	}
	return all
}

// grams counts the n-grams of a list of words.
func grams(words []string, n int) map[string]int {
	counts := make(map[string]int)
	for i := 0; i+n <= len(words); i++ {
		counts[strings.Join(words[i:i+n], "\x00")]++
	}
	return counts
}

// overlap returns how many n-grams are in both, each as often as in the one that has fewer of it.
func overlap(a, b map[string]int) (common int) {
	for gram, n := range a {
		common += min(n, b[gram])
	}
	return common
}

// count returns how many n-grams there are.
func count(words []string, n int) int { return max(0, len(words)-n+1) }

// googleBLEU is GLEU of two texts' words, in [0, 1]: the smaller of precision and recall over all n-grams of one to four
// words, which are what blanks part. Source: Wu et al. 2016, "Google's Neural Machine Translation System"; NLTK,
// sentence_gleu.
func googleBLEU(input, reference string) float64 {
	const order = 4
	hypothesis, target := strings.Fields(input), strings.Fields(reference)
	common, ofHypothesis, ofTarget := 0, 0, 0
	for n := 1; n <= order; n++ {
		common += overlap(grams(hypothesis, n), grams(target, n))
		ofHypothesis += count(hypothesis, n)
		ofTarget += count(target, n)
	}
	if common == 0 {
		return 0
	}
	return float64(common) / float64(max(ofHypothesis, ofTarget))
}

// contains reports whether input contains reference; folded: whatever the case of letters.
func contains(input, reference string, folded bool) bool {
	if folded {
		input, reference = strings.ToLower(input), strings.ToLower(reference)
	}
	return strings.Contains(input, reference)
}

// tooLong reports whether a text has more characters than are compared.
func tooLong(s string) bool { return len(s) > maxCompared && utf8.RuneCountInString(s) > maxCompared }
