package e2e

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// methodJobs are jobs of the methods that do more in a step than one pass: with checkpoints, a validation, and at their end the
// result of every step before.
var methodJobs = map[string]func() map[string]any{
	"dpo": preferringJob,
	"kto": func() map[string]any {
		var examples []any
		for i := range 24 {
			examples = append(examples, map[string]any{
				"prompt": fmt.Sprint("What is ", i, "?"), "completion": strings.Repeat("It is so. ", 1+i%3), "label": i%2 == 0,
			})
		}
		return map[string]any{"method": "kto", "examples": examples, "max_steps": 30, "save_steps": 4}
	},
	"reinforcement": rewardedJob,
	"activated reinforcement": func() map[string]any { // of an activated LoRA, which is sampled from as it is trained
		job := rewardedJob()
		job["invocation_string"] = "<|im_start|>assistant\n"
		return job
	},
	"normed reinforcement": func() map[string]any { // which trains norms, too
		job := rewardedJob()
		job["modules_to_save"] = []string{"input_layernorm", "norm"}
		return job
	},
	"normed dpo": func() map[string]any {
		job := preferringJob()
		job["modules_to_save"] = []string{"post_attention_layernorm"}
		return job
	},
}

// preferringJob is a job of pairs.
func preferringJob() map[string]any {
	var examples []any
	for i := range 24 {
		examples = append(examples, map[string]any{
			"prompt": fmt.Sprint("What is ", i, "?"), "chosen": strings.Repeat("It is so. ", 1+i%3), "rejected": fmt.Sprint("Never ", i),
		})
	}
	return map[string]any{"method": "dpo", "examples": examples, "max_steps": 30, "save_steps": 4}
}

// rewardedJob is a job of rewards, whose answers differ from step to step.
func rewardedJob() map[string]any {
	var examples []any
	for i := range 24 {
		examples = append(examples, map[string]any{"prompt": fmt.Sprint("What is ", i, "?"), "answer": fmt.Sprint("It is ", i)})
	}
	return map[string]any{
		"method": "reinforcement", "examples": examples, "max_steps": 12, "save_steps": 3, "num_generations": 4, "max_completion_length": 10,
		"learning_rate": 0.002, "eval_strategy": "steps", "eval_steps": 6,
		"reward": map[string]any{"type": "text_similarity", "name": "near", "input": "{{ sample.output_text }}", "reference": "{{ item.answer }}", "evaluation_metric": "fuzzy_match"},
	}
}

// methodJob is one of them, small enough to be run several times.
func methodJob(method string) map[string]any {
	job := methodJobs[method]()
	job["name"], job["r"], job["seed"], job["per_device_train_batch_size"], job["validation_split"] = "pupil-"+strings.Fields(method)[0], 4, 7, 8, 0.2
	return job
}

// TestKillOfEveryMethod kills the server three times while a job of preferences or of rewards runs, each time behind another
// checkpoint. The next server goes on from there, and the job ends with the adapter, and the table of numbers, of a run that nothing
// disturbed. What a reinforcement job had sampled since its checkpoint it samples again: from the same weights with the same
// seeds, and so the same answers with the same rewards.
func TestKillOfEveryMethod(t *testing.T) {
	undisturbed := startProcess(t, "--threads", "1")
	for method := range methodJobs {
		t.Run(method, func(t *testing.T) {
			want := until(t, undisturbed.url(), teach(t, undisturbed.url(), methodJob(method)), succeeded)
			data, rng, id := t.TempDir(), rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1)), ""
			saves := methodJob(method)["save_steps"].(int)
			for kill := range 3 {
				p := startProcess(t, "--threads", "1", "--data", data)
				if id == "" {
					id = teach(t, p.url(), methodJob(method))
				}
				resumeCrashed(t, p.url())
				until(t, p.url(), id, func(j *taught) bool { return j.Progress.Step > saves*(kill+1) || j.Status == "succeeded" })
				time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
				p.kill(t)
			}
			p := startProcess(t, "--threads", "1", "--data", data)
			resumeCrashed(t, p.url())
			got := until(t, p.url(), id, succeeded)
			if got.Result.Digest != want.Result.Digest {
				t.Errorf("the adapter is %s, undisturbed %s", got.Result.Digest, want.Result.Digest)
			}
			if a, b := resultsOf(t, p.url(), id), resultsOf(t, undisturbed.url(), want.ID); a != b {
				t.Errorf("the results are\n%s\nundisturbed\n%s", a, b)
			}
			if strings.Contains(method, "reinforcement") {
				checkRatios(t, resultsOf(t, p.url(), id))
			}
			if again, resumed := checkSteps(t, p.url(), id); resumed < 2 {
				t.Errorf("it went on from a checkpoint %d times, and did %d steps again", resumed, again)
			} else {
				t.Logf("it went on from a checkpoint %d times, and did %d steps again", resumed, again)
			}
		})
	}
}

// checkRatios wants no ratio of a step to be clipped: the trainer gives answers the probabilities that they were sampled with, so the
// adapter acts where it acted then.
func checkRatios(t *testing.T, results string) {
	t.Helper()
	lines, err := csv.NewReader(strings.NewReader(results)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column, steps := slices.Index(lines[0], "clip_ratio/region_mean"), 0
	if column < 0 {
		t.Fatalf("the columns are %q", lines[0])
	}
	for _, line := range lines[1:] {
		if line[column] == "" { // all answers were as good as their groups
			continue
		}
		if steps++; line[column] != "0" {
			t.Errorf("step %s has the share %s of clipped ratios", line[0], line[column])
		}
	}
	if steps < 5 {
		t.Errorf("%d steps have ratios", steps)
	}
}

// resultsOf is the content of a job's result file.
func resultsOf(t *testing.T, url, id string) string {
	t.Helper()
	var job struct {
		ResultFiles []string `json:"result_files"`
	}
	getJSON(t, url+"/v1/fine_tuning/jobs/"+id, &job)
	if len(job.ResultFiles) != 1 {
		t.Fatalf("the result files are %q", job.ResultFiles)
	}
	return string(getBody(t, url+"/v1/files/"+job.ResultFiles[0]+"/content"))
}

// getBody is what a server answers with.
func getBody(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v %s", url, resp.Status, err, body)
	}
	return body
}

// getJSON decodes what a server answers with.
func getJSON(t *testing.T, url string, answer any) {
	t.Helper()
	if err := json.Unmarshal(getBody(t, url), answer); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
}

// checkSteps wants steps that a job did again to have the numbers of the first time, and counts them and how often it went on.
func checkSteps(t *testing.T, url, id string) (again, resumed int) {
	t.Helper()
	seen := map[float64]string{}
	after := ""
	for more := true; more; {
		var page struct {
			Data []struct {
				ID, Message string
				Data        map[string]any
			}
			HasMore bool `json:"has_more"`
		}
		getJSON(t, url+"/v1/fine_tuning/jobs/"+id+"/events?limit=100&after="+after, &page)
		for _, e := range page.Data {
			after = e.ID
			if strings.HasPrefix(e.Message, "Going on from the checkpoint") {
				resumed++
			}
			if e.Data == nil || e.Data["valid_loss"] != nil {
				continue
			}
			for _, name := range []string{"tokens_per_second", "eta_seconds"} { // which depend on the clock
				delete(e.Data, name)
			}
			numbers, err := json.Marshal(e.Data)
			if err != nil {
				t.Fatal(err)
			}
			step := e.Data["step"].(float64)
			if first, ok := seen[step]; ok {
				if again++; first != string(numbers) {
					t.Errorf("step %v gave %s, and another time %s", step, first, numbers)
				}
			}
			seen[step] = string(numbers)
		}
		more = page.HasMore
	}
	return again, resumed
}
