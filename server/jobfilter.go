package server

import (
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/training"
)

// maxFilters bounds the conditions of one list: a job has no more entries of metadata.
const maxFilters = 16

// jobFilter is what the metadata parameters of a list of jobs ask for.
type jobFilter struct {
	want map[string]string
	none bool // metadata=null: jobs without metadata
}

// readJobFilter reads metadata[name]=value, any number of times, or metadata=null.
func readJobFilter(c *fiber.Ctx) (jobFilter, error) {
	f := jobFilter{want: map[string]string{}}
	var err error
	for k, v := range c.Context().QueryArgs().All() {
		name, ours := strings.CutPrefix(string(k), "metadata")
		switch {
		case !ours || err != nil:
		case name == "" && string(v) == "null":
			f.none = true
		case strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") && len(name) > 2:
			f.want[name[1:len(name)-1]] = string(v)
		case name == "" || strings.HasPrefix(name, "["):
			err = refuse(codeValue, "metadata", "is neither metadata[name]=value nor metadata=null")
		}
	}
	if err == nil && len(f.want) > maxFilters {
		err = refuse(codeValue, "metadata", "has %d conditions, at most %d are read", len(f.want), maxFilters)
	}
	return f, err
}

// matches reports whether a job has all that is asked for.
func (f *jobFilter) matches(j *training.Job) bool {
	if f.none && len(j.Metadata) > 0 {
		return false
	}
	for name, value := range f.want {
		if have, ok := j.Metadata[name]; !ok || have != value {
			return false
		}
	}
	return true
}
