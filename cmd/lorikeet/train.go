package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// trainFlags are what `lorikeet train` was asked for.
type trainFlags struct {
	client
	data, validation, name string
	from                   string            // adapter to train on from; "": none
	fields                 map[string]string // hyperparameters under the API's names
	method, reward         string            // of the job; a file with a grader
	quiet                  bool
}

// trainCommand posts a dataset to a running server and follows the job to its end.
func trainCommand(env lookup) *cobra.Command {
	t := trainFlags{fields: map[string]string{}}
	server := pflag.NewFlagSet("server", pflag.ContinueOnError)
	t.client.bind(server)
	cmd := &cobra.Command{
		Use:   "train --data FILE --name NAME",
		Short: "Train an adapter on a running server",
		Long: "Train an adapter on a running server, which keeps serving meanwhile, and follow the job to its end.\n\n" +
			"FILE has an example in every line, in any of the usual formats: messages, prompt and completion, text,\n" +
			"instruction and output, conversations. --set takes every hyperparameter that POST /adapters/train has.\n\n" +
			"With --method grpo answers to the prompts of FILE are sampled while it trains, and the grader of --reward, a file\n" +
			"with the JSON that OpenAI's reinforcement jobs have, says how good they are.",
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := readEnv(server, env); err != nil {
				return err
			}
			if err := t.check(); err != nil {
				return err
			}
			return t.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	describeEnv(server)
	t.bind(cmd.Flags())
	cmd.Flags().AddFlagSet(server)
	return cmd
}

// field is a flag that sets one hyperparameter.
type field struct {
	fields map[string]string
	name   string // "": the value is key=value
}

func (f field) String() string { return "" }

func (f field) Type() string {
	if f.name == "" {
		return "key=value"
	}
	return "number"
}

func (f field) Set(s string) error {
	key, value := f.name, s
	if key == "" {
		var ok bool
		if key, value, ok = strings.Cut(s, "="); !ok || key == "" {
			return errors.New("want key=value")
		}
	} else if _, err := strconv.ParseFloat(s, 64); err != nil {
		return errors.New("want a number")
	}
	f.fields[key] = value
	return nil
}

func (t *trainFlags) bind(flags *pflag.FlagSet) {
	flags.StringVar(&t.data, "data", "", "file of examples")
	flags.StringVar(&t.validation, "validation", "", "file of examples to measure on")
	flags.StringVar(&t.name, "name", "", "adapter to make")
	flags.StringVar(&t.method, "method", "", "how the adapter learns: supervised, dpo, grpo, ...; empty: supervised")
	flags.StringVar(&t.reward, "reward", "", "file with the grader of --method grpo, in JSON")
	flags.StringVar(&t.from, "from", "", "adapter or checkpoint to train on from: NAME, NAME@VERSION")
	flags.Var(field{t.fields, "num_train_epochs"}, "epochs", "passes over the examples")
	flags.Var(field{t.fields, "learning_rate"}, "lr", "learning rate")
	flags.Var(field{t.fields, "r"}, "r", "rank of the adapter")
	flags.Var(field{t.fields, ""}, "set", "any other hyperparameter; repeatable")
	flags.BoolVarP(&t.quiet, "quiet", "q", false, "print the result only")
}

func (t *trainFlags) check() error {
	switch {
	case t.data == "":
		return fmt.Errorf("%w: --data is missing: a file of examples", errUsage)
	case t.name == "":
		return fmt.Errorf("%w: --name is missing: the adapter to make", errUsage)
	}
	if t.method != "" {
		t.fields["method"] = t.method
	}
	if t.reward != "" {
		grader, err := readGrader(t.reward)
		if err != nil {
			return fmt.Errorf("%w: --reward: %w", errUsage, err)
		}
		t.fields["reward"] = grader
	}
	return t.client.check()
}

// maxGrader bounds the file of --reward: a field of the form takes no more.
const maxGrader = 64 << 10

// readGrader reads the file of --reward.
func readGrader(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Size() > maxGrader {
		return "", fmt.Errorf("%s has %d bytes, at most %d are read", path, info.Size(), maxGrader)
	}
	text, err := os.ReadFile(path)
	if err == nil && !json.Valid(text) {
		err = fmt.Errorf("%s is not JSON", path)
	}
	return string(text), err
}

// trainJob is what the command reads of the API's TrainingJob.
type trainJob struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Result *struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	} `json:"result"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
	Progress struct {
		Steps   int     `json:"steps"`
		Loss    float64 `json:"loss"`
		Seconds float64 `json:"seconds"`
	} `json:"progress"`
}

// run posts the job, shows it, and returns an error unless it succeeds.
func (t *trainFlags) run(ctx context.Context, out, progress io.Writer) error {
	job, err := t.post(ctx)
	if err != nil {
		return err
	}
	if t.quiet {
		progress = io.Discard
	}
	reward, err := t.follow(ctx, job.ID, progress)
	if err != nil {
		return fmt.Errorf("job %s goes on without being followed: %w", job.ID, err)
	}
	if err := t.get(ctx, &job, "adapters", "train", job.ID); err != nil {
		return err
	}
	switch {
	case job.Error != nil:
		return fmt.Errorf("job %s %s: %s", job.ID, job.Status, job.Error.Message)
	case job.Result == nil:
		return fmt.Errorf("job %s is %s", job.ID, job.Status)
	}
	last := fmt.Sprintf("last loss %.4f", job.Progress.Loss)
	if reward != nil {
		last = fmt.Sprintf("last mean reward %.3f", *reward)
	}
	_, err = fmt.Fprintf(out, "%s@%s: %d steps in %.1fs, %s\n", job.Result.Name, job.Result.Version, job.Progress.Steps, job.Progress.Seconds, last)
	return err
}

// post sends the files as a form, reading them as they go out.
func (t *trainFlags) post(ctx context.Context) (job trainJob, err error) {
	for _, path := range []string{t.data, t.validation} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			return job, fmt.Errorf("%w: %w", errUsage, err)
		}
	}
	r, w := io.Pipe()
	defer r.Close() // ends the writer where the server answers before it has read all
	form := multipart.NewWriter(w)
	go func() { w.CloseWithError(t.write(form)) }()
	err = t.do(ctx, http.MethodPost, form.FormDataContentType(), r, &job, "adapters", "train")
	return job, t.nameFlag(err)
}

// trainFlagOf are the flags that set fields of the request.
var trainFlagOf = map[string]string{
	"name": "--name", "from": "--from", "file": "--data", "training_file": "--data", "validation_file": "--validation", "method": "--method",
	"reward": "--reward", "num_train_epochs": "--epochs", "learning_rate": "--lr", "r": "--r",
}

// nameFlag says at which flag the field stands that a server refuses: a field that was given with --set has no other.
func (t *trainFlags) nameFlag(err error) error {
	var r *refusal
	if !errors.As(err, &r) || r.Param == "" {
		return err
	}
	field, _, _ := strings.Cut(strings.ReplaceAll(r.Param, "[", "."), ".") // "reward.operation" is within reward
	flag := trainFlagOf[field]
	_, set := t.fields[field]
	switch {
	case flag == "" && set:
		return fmt.Errorf("--set %s: %w", field, err)
	case flag == "":
		return err
	}
	return fmt.Errorf("%s: %w", flag, err)
}

func (t *trainFlags) write(form *multipart.Writer) error {
	t.fields["name"] = t.name
	if t.from != "" {
		t.fields["from"] = t.from
	}
	for key, value := range t.fields {
		if err := form.WriteField(key, value); err != nil {
			return err
		}
	}
	if t.validation != "" {
		if err := writePart(form, "validation_file", t.validation); err != nil {
			return err
		}
	}
	if err := writePart(form, "file", t.data); err != nil {
		return err
	}
	return form.Close()
}

func writePart(form *multipart.Writer, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	part, err := form.CreateFormFile(name, filepath.Base(path))
	if err != nil {
		return err
	}
	_, err = io.Copy(part, f)
	return err
}

// trainEvent is what the command reads of the API's TrainingEvent.
type trainEvent struct {
	Type    string `json:"type"`
	Message string `json:"message"`
	Data    *struct {
		Step      int      `json:"step"`
		Steps     int      `json:"total_steps"`
		Loss      float64  `json:"train_loss"`
		ValidLoss *float64 `json:"valid_loss"`
		Reward    *float64 `json:"reward"` // of --method grpo: the mean
	} `json:"data"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// follow shows the events of a job until the last, and returns the mean reward of its last step, nil where it has none.
func (t *trainFlags) follow(ctx context.Context, id string, w io.Writer) (reward *float64, err error) {
	address := strings.TrimRight(t.url, "/") + "/adapters/train/" + id + "/events"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	t.authorize(req)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, refused(resp)
	}
	show := display{w: w}
	lines := bufio.NewReader(resp.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("the server ended the connection: %w", err)
		}
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if data == "[DONE]" {
			return show.reward, nil
		}
		if !ok {
			continue
		}
		var e trainEvent
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return nil, err
		}
		if e.Error != nil {
			return nil, errors.New(e.Error.Message)
		}
		show.event(&e)
	}
}

// display shows events: messages as lines; steps as a bar on a terminal, elsewhere as a line every few seconds and for the
// last one.
type display struct {
	w    io.Writer
	bar  *progressbar.ProgressBar
	told time.Time

	reward *float64 // of the last step
}

func (d *display) event(e *trainEvent) {
	if e.Data != nil && e.Data.ValidLoss == nil {
		d.reward = e.Data.Reward
	}
	switch {
	case e.Data == nil || e.Data.ValidLoss != nil:
		if d.bar != nil {
			_ = d.bar.Clear() // a bar that cannot be drawn is not worth failing for
		}
		fmt.Fprintln(d.w, e.Message)
	case isTerminal(d.w):
		d.draw(e)
	case e.Data.Step == e.Data.Steps || time.Since(d.told) >= lineEvery:
		d.told = time.Now()
		fmt.Fprintf(d.w, "step %d of %d: %s\n", e.Data.Step, e.Data.Steps, d.number(e))
	}
}

// number is what says how well it goes.
func (d *display) number(e *trainEvent) string {
	if e.Data.Reward != nil {
		return fmt.Sprintf("mean reward %.3f", *e.Data.Reward)
	}
	return fmt.Sprintf("loss %.4f", e.Data.Loss)
}

// draw moves the bar to a step.
func (d *display) draw(e *trainEvent) {
	if d.bar == nil {
		d.bar = progressbar.NewOptions(e.Data.Steps, progressbar.OptionSetWriter(d.w), progressbar.OptionSetWidth(30),
			progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
	}
	d.bar.Describe(d.number(e))
	_ = d.bar.Set(e.Data.Step) // as above
}
