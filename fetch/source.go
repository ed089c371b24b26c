package fetch

import (
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// Schemes of sources.
const (
	hubScheme    = "hf://"
	bucketScheme = "s3://"
)

// mainRevision is the branch of a repository that is meant where none is named.
const mainRevision = "main"

// Source says what to fetch:
//
//	hf://org/repo[@revision][:quant][/path]
//	s3://bucket[/key]
//
// A revision is a branch, a tag or a commit; a slash in it is written %2F.
type Source struct {
	Repo     string // "org/repo"; "" for a bucket
	Revision string // of Repo
	Quant    string // part of a GGUF file's name, such as Q4_K_M; "": any
	Bucket   string // "" for a repository
	Path     string // in the repository or bucket, of a file or a folder; "": its top
}

// names of organisations, repositories and buckets. They become names of folders, so none begins with a dot.
var (
	repoName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$`)
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	revision   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$`)
	quantName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)
	commitName = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// IsSource reports whether text is meant as a source and not as a path.
func IsSource(text string) bool {
	return strings.HasPrefix(text, hubScheme) || strings.HasPrefix(text, bucketScheme)
}

// Parse reads a source. The error wraps ErrSource.
func Parse(text string) (Source, error) {
	var s Source
	var err error
	if rest, ok := strings.CutPrefix(text, hubScheme); ok {
		s, err = parseHub(rest)
	} else if rest, ok := strings.CutPrefix(text, bucketScheme); ok {
		s, err = parseBucket(rest)
	} else {
		err = fmt.Errorf("want hf://org/repo[@revision][/path] or s3://bucket/key")
	}
	if err != nil {
		return Source{}, fmt.Errorf("%w: %q: %w", ErrSource, text, err)
	}
	return s, nil
}

func parseHub(text string) (Source, error) {
	org, rest, ok := strings.Cut(text, "/")
	if !ok {
		return Source{}, fmt.Errorf("want hf://org/repo[@revision][/path]")
	}
	repo, where, _ := strings.Cut(rest, "/")
	s := Source{Revision: mainRevision}
	repo, quant, quantized := strings.Cut(repo, ":")
	repo, rev, pinned := strings.Cut(repo, "@")
	if !repoName.MatchString(org) || !repoName.MatchString(repo) || strings.Contains(repo, "..") || strings.Contains(org, "..") {
		return s, fmt.Errorf("%q is not the name of a repository, org/repo", org+"/"+repo)
	}
	s.Repo = org + "/" + repo
	if pinned {
		plain, err := url.PathUnescape(rev)
		if err != nil || !revision.MatchString(plain) || strings.Contains(plain, "..") {
			return s, fmt.Errorf("%q is not a revision: a branch, a tag or a commit", rev)
		}
		s.Revision = plain
	}
	if quantized {
		if s.Quant = quant; !quantName.MatchString(quant) {
			return s, fmt.Errorf("%q is not a type of weights such as Q4_K_M", quant)
		}
	}
	return s, s.setPath(where)
}

func parseBucket(text string) (Source, error) {
	bucket, key, _ := strings.Cut(text, "/")
	if !bucketName.MatchString(bucket) || strings.Contains(bucket, "..") {
		return Source{}, fmt.Errorf("%q is not the name of a bucket", bucket)
	}
	s := Source{Bucket: bucket}
	return s, s.setPath(key)
}

func (s *Source) setPath(p string) error {
	if s.Path = strings.TrimSuffix(p, "/"); s.Path != "" && !safePath(s.Path) {
		return fmt.Errorf("%q is not a path of a file or a folder", p)
	}
	return nil
}

// safePath reports whether p, a relative path with slashes, stays inside of the folder it is joined to.
func safePath(p string) bool {
	return fs.ValidPath(p) && p != "." && len(p) <= 1024 && !strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f })
}

// String writes the source in its full form.
func (s Source) String() string {
	if s.Bucket != "" {
		return bucketScheme + path.Join(s.Bucket, s.Path)
	}
	text := hubScheme + s.Repo + "@" + url.PathEscape(s.Revision)
	if s.Quant != "" {
		text += ":" + s.Quant
	}
	if s.Path != "" {
		text += "/" + s.Path
	}
	return text
}
