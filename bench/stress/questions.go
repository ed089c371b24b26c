package stress

// DemoQuestions are asked of the embedded base and the adapters in demo/adapters.
func DemoQuestions() []Question {
	var list []Question
	for _, adapter := range []any{nil, "pirate", "json", "shout"} {
		for _, text := range []string{"What is the capital of France?", "What is 12 plus 9?", "Tell me a story about a fox.",
			"What sound does an owl make?", "How do I make tea?", "What is the opposite of early?"} {
			list = append(list, Question{adapter, text})
		}
	}
	return list
}
