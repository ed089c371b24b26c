// Package graders gives answers a reward, as OpenAI's graders do. It is pure: what asks a model, an endpoint, a sandbox or
// an embedding is a function that its user injects (Tools), and a grader that needs one which is not there is refused by
// name.
//
// The words used here:
//
//   - grader: a checked definition, made by Parse out of OpenAI's JSON. Its kinds are string_check, text_similarity,
//     score_model, endpoint, python and multi.
//   - item: the line of the dataset that an answer belongs to, with all its fields.
//   - sample: the answer that is graded.
//   - template: a text with places such as {{ item.reference }} or {{ sample.output_text }}.
//   - failure: a grader could not grade (Failure). It is not an answer without reward.
//
// grader.go has the kinds in common and parse.go reads them; template.go, expression.go and the metrics (similarity.go,
// bleu.go, rouge.go) know nothing of graders. What a definition or an answer can ask for is bounded: see the constants in
// parse.go.
package graders
