package training

import (
	"context"
	"fmt"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
)

// answerTime bounds what the answers of a report may take, all together.
const answerTime = time.Minute

// publish stores the adapter, so that its name moves to it, and asks for the report's answers. It may be called
// again after a kill: the same adapter makes no second version.
func (r *run) publish(ctx context.Context) (outcome, error) {
	note := r.note()
	var info adapters.Info
	err := r.q.retryWhileFull(ctx, r.j, func() (err error) {
		info, err = r.q.o.Store.PutLoRA(r.job.Name, r.trainer, note)
		return err
	})
	if err != nil {
		return outcome{}, fmt.Errorf("storing the adapter: %w", err)
	}
	r.trainer.Close() // the answers may need its memory
	r.answer(ctx, info)
	message := fmt.Sprintf("The job succeeded: %s is version %s.", r.job.Name, info.Version)
	return outcome{signal: finished, message: message, edit: func(rec *record) {
		rec.Result = &Result{Name: r.job.Name, Version: info.Version, Digest: info.Digest, Metrics: note.Metrics}
	}}, nil
}

// answer asks the base and the adapter the questions of the report. What fails is logged as an event, and the report does
// without.
func (r *run) answer(ctx context.Context, info adapters.Info) {
	samples, err := r.q.readSamples(r.job.ID)
	if r.q.o.Answer == nil || err != nil || len(samples) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for i := range samples {
		s := &samples[i]
		if err == nil {
			s.Base, err = r.ask(ctx, "", s)
		}
		if err == nil {
			s.Adapter, err = r.ask(ctx, info.Name+"@"+info.Version, s)
		}
	}
	if err == nil {
		err = r.q.disk.putJSON(r.q.inJob(r.job.ID, samplesFile), samples)
	}
	if err != nil {
		r.q.tell(r.j, LevelWarn, fmt.Sprintf("The report lacks some of its sample answers: %v", err))
	}
}

func (r *run) ask(ctx context.Context, adapter string, s *Sample) (*string, error) {
	text, err := r.q.o.Answer(ctx, adapter, s.conversation())
	if err != nil {
		return nil, err
	}
	return &text, nil
}
