package batches

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// result is a line of the output or error file, in OpenAI's shape.
type result struct {
	ID       string    `json:"id"` // "batch_req_..."
	CustomID string    `json:"custom_id"`
	Response *response `json:"response"`
	Error    *failure  `json:"error"`
}

type response struct {
	Status    int             `json:"status_code"`
	RequestID string          `json:"request_id"`
	Body      json.RawMessage `json:"body"`
}

type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// answered returns the result of a line that was asked.
func answered(customID string, a Answer) result {
	body := json.RawMessage(a.Body)
	var compact bytes.Buffer
	if err := json.Compact(&compact, body); err == nil {
		body = compact.Bytes()
	} else {
		body, _ = json.Marshal(string(a.Body)) // a string can always be written
	}
	return result{ID: newID("batch_req_"), CustomID: customID, Response: &response{a.Status, a.RequestID, body}}
}

// unanswered returns the result of a line that was not asked in time.
func unanswered(customID string) result {
	return result{ID: newID("batch_req_"), CustomID: customID, Error: &failure{
		"batch_expired", "This request could not be executed before the completion window expired.",
	}}
}

// resultFile is a file of results, one in each line. What write returns without an error is on the disk.
type resultFile struct {
	path string
	f    *os.File
	size int64 // of the whole lines
	torn bool  // there may be more in the file than whole lines
}

// openResults opens a file of results, or makes it. What a crash has left of a line that was not written to its end is cut
// off. seen is called with the custom_id of each line.
func openResults(path string, seen func(customID string)) (*resultFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, disk.NoSpace(err)
	}
	r := &resultFile{path: path, f: f}
	for in := bufio.NewReaderSize(f, 64<<10); ; {
		text, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			f.Close()
			return nil, err
		}
		if err != nil {
			break // without a line feed: it was not written to its end
		}
		var l struct {
			CustomID string `json:"custom_id"`
		}
		if json.Unmarshal(text, &l) != nil || l.CustomID == "" {
			break // a power cut has left what was never written whole
		}
		r.size += int64(len(text))
		seen(l.CustomID)
	}
	if err := r.rewind(); err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

// rewind cuts off what is not a whole line.
func (r *resultFile) rewind() error {
	r.torn = true
	if err := r.f.Truncate(r.size); err != nil {
		return disk.NoSpace(err)
	}
	_, err := r.f.Seek(r.size, io.SeekStart)
	r.torn = err != nil
	return err
}

// write appends results. After an error none of them is in the file.
func (r *resultFile) write(results ...result) error {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	for i := range results {
		if err := out.Encode(&results[i]); err != nil {
			return err
		}
	}
	if r.torn {
		if err := r.rewind(); err != nil {
			return err
		}
	}
	_, err := r.f.Write(b.Bytes())
	if err == nil {
		err = r.f.Sync()
	}
	if err != nil {
		return disk.NoSpace(errors.Join(err, r.rewind()))
	}
	r.size += int64(b.Len())
	return nil
}

func (r *resultFile) close() error { return r.f.Close() }
