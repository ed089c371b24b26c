package fetch

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		text string
		want Source
	}{
		{"hf://org/repo", Source{Repo: "org/repo", Revision: "main"}},
		{"hf://org/repo/", Source{Repo: "org/repo", Revision: "main"}},
		{"hf://org/repo-1.5_x@v1.0", Source{Repo: "org/repo-1.5_x", Revision: "v1.0"}},
		{"hf://org/repo@refs%2Fpr%2F1/sub/m.gguf", Source{Repo: "org/repo", Revision: "refs/pr/1", Path: "sub/m.gguf"}},
		{"hf://org/repo:Q4_K_M", Source{Repo: "org/repo", Revision: "main", Quant: "Q4_K_M"}},
		{"hf://org/repo@abc:q8_0/sub", Source{Repo: "org/repo", Revision: "abc", Quant: "q8_0", Path: "sub"}},
		{"s3://bucket", Source{Bucket: "bucket"}},
		{"s3://my.bucket-1/a/b c.gguf", Source{Bucket: "my.bucket-1", Path: "a/b c.gguf"}},
		{"s3://bucket/folder/", Source{Bucket: "bucket", Path: "folder"}},
	} {
		got, err := Parse(test.text)
		if err != nil || got != test.want {
			t.Errorf("%s: %+v, %v", test.text, got, err)
		}
		if back, err := Parse(got.String()); err != nil || back != got {
			t.Errorf("%s is written as %s, which is %+v, %v", test.text, got, back, err)
		}
	}
	for _, text := range []string{
		"", "org/repo", "http://host/x", "hf:/org/repo", "hf://", "hf://org", "hf://org/", "hf:///repo", "hf://../repo", "hf://org/..",
		"hf://org/a..b", "hf://.org/repo", "hf://org/repo@", "hf://org/repo@../x", "hf://org/repo@a%2F..%2Fb", "hf://org/repo@%zz",
		"hf://org/repo:", "hf://org/repo:a b", "hf://org/repo/../x", "hf://org/repo//x", "hf://org/repo/a\\b", "hf://org/repo/a\x00",
		"hf://user:pass@host/x", "hf://org/re?po", "s3://", "s3://a", "s3://BUCKET/x", "s3://bucket/../x", "s3://bucket//x", "s3://user@host/x", "s3://a..b/x",
	} {
		if s, err := Parse(text); !errors.Is(err, ErrSource) {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"hf://org/repo@main:Q4/x/y.gguf", "s3://bucket/key", "hf://a/b@refs%2Fpr%2F1", "hf://%2e%2e/x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrSource) {
				t.Error(err)
			}
			return
		}
		if strings.Contains(s.Repo+s.Revision+s.Bucket, "..") || s.Path != "" && !safePath(s.Path) {
			t.Errorf("%q leads out: %+v", text, s)
		}
		if back, err := Parse(s.String()); err != nil || back != s {
			t.Errorf("%q is written as %q, which is %+v, %v", text, s, back, err)
		}
	})
}

func FuzzListing(f *testing.F) {
	f.Add([]byte(`{"sha":"0123456789012345678901234567890123456789","siblings":[{"rfilename":"a/b","size":3,"blobId":"0123456789012345678901234567890123456789","lfs":null}]}`))
	f.Add([]byte(`{"siblings":[{"rfilename":"../a"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		l, err := parseListing(body)
		if err != nil {
			return
		}
		for _, e := range l.Files {
			if !safePath(e.Path) || e.Size < -1 || !commitName.MatchString(l.Commit) {
				t.Errorf("%+v of %s", e, l.Commit)
			}
		}
		for _, src := range []Source{{Repo: "o/r"}, {Repo: "o/r", Quant: "q4_0"}} {
			for _, choose := range []func([]entry, Source) (selection, error){chooseModel, chooseAdapter} {
				if c, err := choose(l.Files, src); err == nil && len(c.files) == 0 {
					t.Error("nothing is selection and nothing said")
				}
			}
		}
	})
}
