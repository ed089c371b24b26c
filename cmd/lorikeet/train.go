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
	fields                 map[string]string // hyperparameters under the API's names
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
			"instruction and output, conversations. --set takes every hyperparameter that POST /adapters/train has.",
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
	return t.client.check()
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
	if err := t.follow(ctx, job.ID, progress); err != nil {
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
	_, err = fmt.Fprintf(out, "%s@%s: %d steps in %.1fs, last loss %.4f\n",
		job.Result.Name, job.Result.Version, job.Progress.Steps, job.Progress.Seconds, job.Progress.Loss)
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
	return job, err
}

func (t *trainFlags) write(form *multipart.Writer) error {
	t.fields["name"] = t.name
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
	} `json:"data"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// follow shows the events of a job until the last.
func (t *trainFlags) follow(ctx context.Context, id string, w io.Writer) error {
	address := strings.TrimRight(t.url, "/") + "/adapters/train/" + id + "/events"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	t.authorize(req)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refused(resp)
	}
	show := display{w: w}
	lines := bufio.NewReader(resp.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return fmt.Errorf("the server ended the connection: %w", err)
		}
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if data == "[DONE]" {
			return nil
		}
		if !ok {
			continue
		}
		var e trainEvent
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return err
		}
		if e.Error != nil {
			return errors.New(e.Error.Message)
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
}

func (d *display) event(e *trainEvent) {
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
		fmt.Fprintf(d.w, "step %d of %d: loss %.4f\n", e.Data.Step, e.Data.Steps, e.Data.Loss)
	}
}

// draw moves the bar to a step.
func (d *display) draw(e *trainEvent) {
	if d.bar == nil {
		d.bar = progressbar.NewOptions(e.Data.Steps, progressbar.OptionSetWriter(d.w), progressbar.OptionSetWidth(30),
			progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
	}
	d.bar.Describe(fmt.Sprintf("loss %.4f", e.Data.Loss))
	_ = d.bar.Set(e.Data.Step) // as above
}
