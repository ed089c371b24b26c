package training

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/graders"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Options are the Queue's settings. The zero value of a field is its default where one is stated.
type Options struct {
	Dir      string // made where it does not exist
	Model    runtime.Model
	Template *chat.Template  // the one that serves
	Store    *adapters.Store // where adapters go

	// NewTrainer makes the Trainer of a run, which closes it. It returns an error wrapping runtime.ErrTrain for
	// what it cannot train, and runtime.ErrTrainBusy where others have the memory: then the run waits. It is called from the
	// worker's goroutine.
	NewTrainer func(runtime.TrainSpec) (runtime.Trainer, error)
	// Estimate returns what a Trainer would take, or the error that NewTrainer would return, and takes no memory for it. It may
	// be called from any goroutine. It may be nil: then what does not fit fails when it runs.
	Estimate func(runtime.TrainSpec) (runtime.TrainMemory, error)
	// Work runs slices until there are no more, and returns their error, ctx's, or runtime.ErrClosed or
	// runtime.ErrDraining, which end the run but not the job: it goes on when the Queue is opened again.
	Work func(context.Context, runtime.Slicer) error
	// Answer asks an adapter ("" for the base, else name@version) to continue a conversation, for the report.
	// It may be nil.
	Answer func(ctx context.Context, adapter string, messages []runtime.Message) (string, error)

	// Of the method reinforcement. Submit hands a request to the running engine; Cache lends it the adapter as it stands.
	// Graders returns what the graders of an owner may use besides themselves; it may be nil.
	Submit   func(context.Context, runtime.Request) (*runtime.Stream, error)
	Cache    *adapters.Cache
	Graders  func(owner string) graders.Tools
	Rollouts int // answers that are sampled at once; 0: 1

	// NoOriginal says why an adapter cannot begin with LoftQ, which needs the base's weights as they were before quantization; nil: it can.
	NoOriginal error

	Files *Files // where the result files of jobs go; nil: there are none. It is closed after the Queue

	Memory           int64         // bytes that a Trainer may allocate; 0: no bound
	MicroBatchTokens int           // tokens that a micro-batch has where its step has as many; 0: 512
	MaxDataset       int64         // bytes of a dataset; 0: 256 MiB
	MaxWaiting       int           // jobs that may wait; Create and Resume return ErrQueueFull beyond that; 0: 100
	SaveEvery        time.Duration // how much training a kill may cost at most, besides save_steps; 0: a minute
	Warn             func(string)  // called with warnings for the operator, from any goroutine; may be nil

	// Of the jobs that have ended, the oldest are removed with their data where more than MaxJobs are kept in all, or more
	// than MaxJobBytes. 0: 1000 jobs and 16 GiB.
	MaxJobs     int
	MaxJobBytes int64

	roomRetry time.Duration // how long to wait at most on a full disk before trying again; 0: as the constant says

	at func(op string) error // called before every change on disk; tests end the process or have it fail there
}

// CreateRequest asks for a job.
type CreateRequest struct {
	Name       string // of the adapter to make
	Config     Config
	Training   Input
	Validation *Input            // nil: Config.ValidationSplit says
	From       *adapters.Ref     // the adapter to train on from; nil: none
	Owner      string            // tenant that the job is of; "": of none
	Metadata   map[string]string // kept with the job
	Request    json.RawMessage   // of the client, kept with the job
	// Lasting keeps the job's adapter and its checkpoints whatever later jobs of the same name make, as OpenAI does it: the
	// version is pinned.
	Lasting bool
	Notices []string // that the job's events begin with
	// ValidateLater makes a bad dataset fail the job, as OpenAI does it, and not Create.
	ValidateLater bool
}

// Input is a dataset to copy.
type Input struct {
	Body io.Reader
	File string // an id or name that the job shows; "" for inline examples
	Name string // the name of the file, whose ending tells what it is written in; "" is JSON Lines, a JSON array or Parquet
}

// Queue keeps jobs and runs one at a time. It is durable: see the package's documentation. Its methods may be
// called from any goroutine.
type Queue struct {
	o    Options
	disk folder
	lock *os.File
	ctx  context.Context // ends with Close
	stop context.CancelFunc
	done sync.WaitGroup // the preparer and the worker

	close func() error // shut, once

	preparer, worker chan struct{} // wake them when there is work; of capacity 1

	checking chan struct{} // of capacity 1: held by the Create that looks at a dataset

	commit sync.Mutex // held while a job changes on disk; taken before mu

	mu     sync.RWMutex // guards what follows; never held during I/O
	closed bool
	jobs   map[string]*job
	serial int64 // of the last record made
}

// job is a job in memory. Its fields are guarded by Queue.mu, but for log, which guards itself.
type job struct {
	record
	log    *eventLog
	bytes  int64     // of its folder, when it was last measured
	active *activity // what the preparer or the worker does with it, nil where nothing
}

// Open opens the queue in o.Dir, queues again what was running, and begins to work.
func Open(o Options) (*Queue, error) {
	o.MicroBatchTokens = cmp.Or(o.MicroBatchTokens, 512)
	o.MaxDataset = cmp.Or(o.MaxDataset, 256<<20)
	o.MaxWaiting = cmp.Or(o.MaxWaiting, 100)
	o.SaveEvery = cmp.Or(o.SaveEvery, time.Minute)
	o.roomRetry = cmp.Or(o.roomRetry, roomRetry)
	o.MaxJobs = cmp.Or(o.MaxJobs, 1000)
	o.MaxJobBytes = cmp.Or(o.MaxJobBytes, 16<<30)
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	q := &Queue{o: o, jobs: make(map[string]*job), preparer: make(chan struct{}, 1), worker: make(chan struct{}, 1), checking: make(chan struct{}, 1)}
	q.close = sync.OnceValue(q.shut)
	var err error
	if q.disk, q.lock, err = openFolder(o.Dir, o.at, "jobs", "tmp"); err == nil {
		err = q.recover()
	}
	if err != nil {
		if q.lock != nil {
			q.lock.Close()
		}
		return nil, fmt.Errorf("training queue: %w", err)
	}
	q.ctx, q.stop = context.WithCancel(context.Background())
	q.done.Go(q.prepareLoop)
	q.done.Go(q.trainLoop)
	return q, nil
}

// recover reads all jobs. A job that cannot be read is reported to the operator and stays on disk.
func (q *Queue) recover() error {
	entries, err := os.ReadDir(q.disk.path("jobs"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !isID(e.Name(), jobPrefix) {
			continue // not ours
		}
		j, err := q.readJob(e.Name())
		if err != nil {
			q.o.Warn(fmt.Sprintf("training queue: %v", err))
			continue
		}
		q.jobs[j.ID] = j
		q.measure(j)
		q.serial = max(q.serial, j.Serial, j.Order)
	}
	for _, id := range q.order() {
		if err := q.requeue(id); err != nil {
			return err
		}
	}
	q.commit.Lock()
	defer q.commit.Unlock()
	q.retain()
	return nil
}

func (q *Queue) readJob(id string) (*job, error) {
	j := &job{}
	if err := q.disk.readJSON(filepath.Join("jobs", id, jobFile), &j.record); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, id, err)
	}
	if _, known := transitions[j.Status]; j.ID != id || !known && j.Status != Succeeded {
		return nil, fmt.Errorf("%w: %s: its file is of %q, %s", ErrDamaged, id, j.ID, j.Status)
	}
	j.Config.Method = cmp.Or(j.Config.Method, Supervised) // earlier versions had no other
	if j.Start != nil {
		j.Config.start = j.Start
	}
	j.Config.SaveStrategy = cmp.Or(j.Config.SaveStrategy, EverySteps)
	var err error
	if j.log, err = openLog(q.disk, filepath.Join("jobs", id, eventsFile)); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, id, err)
	}
	return j, nil
}

// maxCrashes is how many times in a row, without a checkpoint in between, the server may crash while it works on a job
// before the job fails: what is wrong with it would end every server that follows.
const maxCrashes = 2

// requeue queues a job again that was running, and tells what a kill kept from being told. A job that was active at
// maxCrashes crashes in a row fails.
func (q *Queue) requeue(id string) error {
	j := q.jobs[id]
	crashed := j.Active
	if crashed && j.Crashes+1 >= maxCrashes {
		return q.failCrashed(j)
	}
	count := func(r *record) {
		if crashed {
			r.Crashes++
		}
	}
	if j.Status == Running {
		err := q.change(id, interrupted, "The server stopped while the job was running: it is queued again.", count)
		return err
	}
	if crashed {
		r := j.record
		r.Active = false
		count(&r)
		if err := q.save(j, r); err != nil {
			return err
		}
	}
	if j.log.lastStatus() != j.Status {
		if err := j.log.append(newEvent(j.Status, fmt.Sprintf("The job is %s.", j.Status)), true); err != nil {
			return err
		}
	}
	if j.Status.Ended() {
		j.log.finish()
	}
	if j.Status == Succeeded {
		q.removeWorkFiles(id)
	}
	return nil
}

// failCrashed ends a job for which the server ended too often.
func (q *Queue) failCrashed(j *job) error {
	doing := "reading its files"
	if j.Status == Running {
		doing = fmt.Sprintf("training, last seen at step %d", j.Progress.Step)
	}
	e := &JobError{Code: CodeCrashed, Message: fmt.Sprintf("the server ended %d times while it worked on this job, the last time while %s: "+
		"the job is not tried again; resume it if the cause was something else", j.Crashes+1, doing)}
	q.o.Warn(fmt.Sprintf("training job %s: %s", j.ID, e.Message))
	err := q.change(j.ID, failed, e.Message, func(r *record) {
		r.Error = e
		r.Crashes++
	})
	return err
}

// order returns the ids of all jobs, in the order in which they run.
func (q *Queue) order() []string {
	q.mu.RLock()
	defer q.mu.RUnlock()
	list := make([]*job, 0, len(q.jobs))
	for _, j := range q.jobs {
		list = append(list, j)
	}
	slices.SortFunc(list, func(a, b *job) int { return cmp.Compare(a.Order, b.Order) })
	ids := make([]string, len(list))
	for i, j := range list {
		ids[i] = j.ID
	}
	return ids
}

// Close stops the run under way, if there is one, and waits. Its job goes on when the Queue is opened again.
// Close may be called twice: every call returns when the Queue is closed.
func (q *Queue) Close() error { return q.close() }

func (q *Queue) shut() error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.stop()
	q.done.Wait()
	q.commit.Lock() // a Create or Cancel under way
	defer q.commit.Unlock()
	return q.lock.Close()
}

// change gives a job its next state: on disk, then in memory, then in its events. edit may be nil.
func (q *Queue) change(id string, g signal, message string, edit func(*record)) error {
	q.commit.Lock()
	defer q.commit.Unlock()
	_, err := q.changeLocked(id, g, message, edit)
	return err
}

// changeLocked is change with q.commit held.
func (q *Queue) changeLocked(id string, g signal, message string, edit func(*record)) (Job, error) {
	j, r, err := q.record(id)
	if err != nil {
		return Job{}, err
	}
	to, err := next(r.Status, g)
	if err != nil {
		return r.Job, err
	}
	r.Status, r.Active = to, g == started
	r.Progress.ETA, r.Waits = time.Time{}, ""
	if to.Ended() {
		r.Finished = now()
	}
	if edit != nil {
		edit(&r)
	}
	if err := q.save(j, r); err != nil {
		return r.Job, err
	}
	if to == Succeeded {
		q.removeWorkFiles(id)
	}
	e := newEvent(to, message)
	if to == Failed {
		e.Level = LevelError
	}
	q.log(j, e, true) // the state is saved: where it cannot be told, the next Open does
	if to.Ended() {
		q.measure(j)
		q.retain()
	}
	return r.Job, nil
}

// record returns a job and a copy of its record. The error wraps ErrUnknown where it was deleted in this moment.
func (q *Queue) record(id string) (*job, record, error) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if j := q.jobs[id]; j != nil {
		return j, j.record, nil
	}
	return nil, record{}, fmt.Errorf("%w: %q", ErrUnknown, id)
}

// save replaces a job's record. q.commit is held.
func (q *Queue) save(j *job, r record) error {
	if err := q.disk.putJSON(filepath.Join("jobs", r.ID, jobFile), r); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	j.record = r
	return nil
}

// now is the time as it is kept.
func now() time.Time { return time.Now().UTC().Round(time.Millisecond) }

func newEvent(to Status, message string) Event {
	return Event{Created: now(), Level: LevelInfo, Kind: KindMessage, Message: message, Status: to}
}

// wake tells a goroutine that there is work.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// find returns a job. The error wraps ErrUnknown.
func (q *Queue) find(id string) (*job, error) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		return nil, ErrClosed
	}
	if j := q.jobs[id]; j != nil {
		return j, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrUnknown, id)
}

// isClosing reports whether an error means that the process ends, not that the work is at fault.
func isClosing(err error) bool {
	return errors.Is(err, runtime.ErrClosed) || errors.Is(err, runtime.ErrDraining)
}
