package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// written writes lines to a file and returns its path.
func written(t *testing.T, name string, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTrainCommandMethods trains with every method by the command's flags.
func TestTrainCommandMethods(t *testing.T) {
	b := boot(t)
	var pairs, labels, prompts []string
	for i := range 8 {
		pairs = append(pairs, fmt.Sprintf(`{"prompt": "What is %d?", "chosen": "It is so.", "rejected": "Never."}`, i))
		labels = append(labels, fmt.Sprintf(`{"prompt": "What is %d?", "completion": "It is so.", "label": %t}`, i, i%2 == 0))
		prompts = append(prompts, fmt.Sprintf(`{"prompt": "What is %d?", "answer": "It is so."}`, i))
	}
	pairFile, labelFile, promptFile := written(t, "pairs.jsonl", pairs...), written(t, "labels.jsonl", labels...), written(t, "prompts.jsonl", prompts...)
	grader := written(t, "grader.json", `{"type": "text_similarity", "name": "near", "input": "{{ sample.output_text }}", "reference": "{{ item.answer }}", "evaluation_metric": "fuzzy_match"}`)
	train := func(args ...string) (status int, out, shown string) {
		return command(t, nil, append([]string{"train", "--server", b.url(), "--name", "pupil"}, args...)...)
	}
	short := []string{"--set", "max_steps=2", "--set", "per_device_train_batch_size=4", "--r", "4"}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--method", "supervised", "--data", "demo/data/shout.eval.jsonl", "--epochs", "1", "--lr", "0.001"}, "last loss "},
		{[]string{"--method", "sft", "--data", "demo/data/shout.eval.jsonl", "--validation", "demo/data/shout.eval.jsonl"}, "last loss "},
		{[]string{"--method", "dpo", "--data", pairFile, "--set", "beta=0.2"}, "last loss "},
		{[]string{"--method", "ipo", "--data", pairFile}, "last loss "},
		{[]string{"--method", "orpo", "--data", pairFile}, "last loss "},
		{[]string{"--method", "simpo", "--data", pairFile, "--set", "simpo_gamma=1"}, "last loss "},
		{[]string{"--method", "kto", "--data", labelFile, "--set", "desirable_weight=2"}, "last loss "},
		{[]string{"--method", "grpo", "--data", promptFile, "--reward", grader, "--set", "num_generations=4", "--set", "max_completion_length=8"}, "last mean reward "},
		{[]string{"--method", "reinforcement", "--data", promptFile, "--reward", grader, "--set", "num_generations=2", "--set", "max_completion_length=8", "--set", `response_format={"type":"json_object"}`}, "last mean reward "},
	} {
		if status, out, shown := train(append(c.args, short...)...); status != 0 || !strings.Contains(out, "pupil@") || !strings.Contains(out, c.want) || !strings.Contains(shown, "\nstep 2 of 2: ") {
			t.Errorf("%q: status %d, %q: %s", c.args, status, out, shown)
		}
	}
	bad := written(t, "bad.json", `{"type": "string_check", "input": "a", "reference": "b", "operation": "is"}`)
	for _, c := range []struct {
		status int
		flag   string // that the message begins with
		want   string // that it says besides
		args   []string
	}{
		{1, "lorikeet: --method: ", "method is \"ppo\"", []string{"--method", "ppo", "--data", pairFile}},
		{1, "lorikeet: --reward: ", "reward is missing", []string{"--method", "grpo", "--data", promptFile}},
		{1, "lorikeet: --reward: ", "reward is for the method reinforcement", []string{"--data", pairFile, "--reward", grader}},
		{1, "lorikeet: --reward: ", "reward.operation is \"is\"", []string{"--method", "grpo", "--data", promptFile, "--reward", bad}},
		{2, "lorikeet: --reward: ", "", []string{"--method", "grpo", "--data", promptFile, "--reward", bad + "x"}},
		{2, "lorikeet: --reward: ", "", []string{"--method", "grpo", "--data", promptFile, "--reward", promptFile}},
		{1, "lorikeet: --data: ", "", []string{"--method", "dpo", "--data", promptFile}},
		{1, "lorikeet: --validation: ", "", []string{"--method", "dpo", "--data", pairFile, "--validation", promptFile}},
		{1, "lorikeet: --lr: ", "learning_rate is 5", []string{"--data", pairFile, "--lr", "5"}},
		{1, "lorikeet: --epochs: ", "num_train_epochs is -1", []string{"--data", pairFile, "--epochs", "-1"}},
		{1, "lorikeet: --r: ", "r is 0", []string{"--data", pairFile, "--r", "0"}},
		{1, "lorikeet: --from: ", "", []string{"--data", pairFile, "--from", "nobody"}},
		{1, "lorikeet: --set simpo_gamma: ", "simpo_gamma is for the loss simpo", []string{"--method", "dpo", "--data", pairFile, "--set", "simpo_gamma=1"}},
		{1, "lorikeet: --set temperature: ", "temperature is for the method reinforcement", []string{"--data", pairFile, "--set", "temperature=0.5"}},
		{1, "lorikeet: --set colour: ", `colour is "blue"`, []string{"--data", pairFile, "--set", "colour=blue"}},
	} {
		if status, _, shown := train(c.args...); status != c.status || !strings.HasPrefix(shown, c.flag) || !strings.Contains(shown, c.want) {
			t.Errorf("%q: status %d, want %d, %q and %q: %s", c.args, status, c.status, c.flag, c.want, shown)
		}
	}
	if status, _, shown := command(t, nil, "train", "--server", b.url(), "--name", "a b", "--data", pairFile); status != 1 || !strings.HasPrefix(shown, "lorikeet: --name: ") {
		t.Errorf("a bad name: status %d: %s", status, shown)
	}
}
