package fetch

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// This file selects the files of a listing that make up the model or the adapter that was asked for. Its functions read
// and change nothing else.

// entry is one file of a repository or bucket.
type entry struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"` // bytes; -1 where the listing does not say
	SHA256 string `json:"sha256,omitempty"`
	Blob   string `json:"blob,omitempty"` // git's name of the content, for small files
}

// The files of an adapter as PEFT writes it.
const (
	peftConfig  = "adapter_config.json"
	peftTensors = "adapter_model.safetensors"
	peftPickle  = "adapter_model.bin"
)

// selection is a set of files that belong together.
type selection struct {
	files    []entry
	main     string // the path that the caller is given: of the file, of the first of its parts, or of their folder; "." for the top
	isFolder bool   // main is a folder
}

// chooseModel picks the GGUF file, in all its parts, or the folder of safetensors that src names.
func chooseModel(files []entry, src Source) (selection, error) {
	folder := src.Path
	if i := index(files, src.Path); i >= 0 {
		switch base := path.Base(src.Path); {
		case strings.HasSuffix(strings.ToLower(base), ".gguf"):
			return chooseGGUF(files, src.Path)
		case strings.HasSuffix(base, ".safetensors"), strings.HasSuffix(base, ".safetensors.index.json"), base == "config.json":
			return chooseFolder(files, src, path.Dir(src.Path))
		}
		return selection{}, fmt.Errorf("%w: %s is neither a GGUF file nor one of safetensors", ErrContent, src)
	}
	if folder == "" {
		folder = "."
	}
	if folder != "." && !hasFolder(files, folder) {
		return selection{}, fmt.Errorf("%w: %s has no %q", ErrNotFound, repoOf(src), src.Path)
	}
	switch models := ggufFiles(files, folder, src.Quant); {
	case len(models) == 1:
		return chooseGGUF(files, models[0])
	case len(models) > 1:
		return selection{}, fmt.Errorf("%w: %s has %d GGUF files; name one of them as %s: %s", ErrContent, src, len(models),
			hubScheme+src.Repo+"/FILE", firstNames(models))
	case src.Quant != "":
		return selection{}, fmt.Errorf("%w: %s has no GGUF file of type %s; it has %s", ErrContent, repoOf(src), src.Quant,
			firstNames(ggufFiles(files, folder, "")))
	}
	return chooseFolder(files, src, folder)
}

// modelFile are the files of a model in a folder of Hugging Face's form that are not weights.
var modelFile = regexp.MustCompile(`^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|` +
	`chat_template|model\.safetensors\.index)\.json$|^(tokenizer|spiece)\.model$|^merges\.txt$|^chat_template\.jinja$`)

// shard is a file of weights. Some repositories hold them twice, the second time as consolidated.*.
var shard = regexp.MustCompile(`^model.*\.safetensors$`)

// chooseFolder picks the configuration, the tokenizer and the weights in a folder.
func chooseFolder(files []entry, src Source, folder string) (selection, error) {
	c := selection{main: folder, isFolder: true}
	config, weights, other := false, false, []string{}
	for _, f := range files {
		dir, base := path.Dir(f.Path), path.Base(f.Path)
		if dir != folder {
			continue
		}
		switch {
		case shard.MatchString(base):
			weights = true
		case modelFile.MatchString(base):
			config = config || base == "config.json"
		default:
			other = append(other, base)
			continue
		}
		c.files = append(c.files, f)
	}
	switch {
	case !weights && slices.ContainsFunc(other, func(s string) bool { return strings.HasPrefix(s, "pytorch_model") }):
		return c, fmt.Errorf("%w: %s has its weights as Python pickles only, which can run code when they are read; "+
			"safetensors and GGUF are read", ErrContent, src)
	case !weights && slices.Contains(other, peftConfig):
		return c, fmt.Errorf("%w: %s is an adapter, not a base model", ErrContent, src)
	case !weights:
		return c, fmt.Errorf("%w: %s has neither a GGUF file nor model*.safetensors; it has %s", ErrContent, src, firstNames(other))
	case !config:
		return c, fmt.Errorf("%w: %s has no config.json beside its safetensors", ErrContent, src)
	}
	return c, nil
}

// chooseAdapter picks PEFT's two files, with those that may hold a chat template, one GGUF file or one archive.
func chooseAdapter(files []entry, src Source) (selection, error) {
	folder := src.Path
	if i := index(files, src.Path); i >= 0 {
		if base := path.Base(src.Path); base != peftConfig && base != peftTensors {
			if !isAdapterFile(base) {
				return selection{}, fmt.Errorf("%w: %s is not an adapter: PEFT's two files, one .gguf, or one .zip or .tar of them are", ErrContent, src)
			}
			return selection{files: files[i : i+1], main: src.Path}, nil
		}
		folder = path.Dir(src.Path)
	}
	if folder == "" {
		folder = "."
	}
	if folder != "." && !hasFolder(files, folder) {
		return selection{}, fmt.Errorf("%w: %s has no %q", ErrNotFound, repoOf(src), src.Path)
	}
	c, t := index(files, path.Join(folder, peftConfig)), index(files, path.Join(folder, peftTensors))
	models := ggufFiles(files, folder, src.Quant)
	switch {
	case c >= 0 && t >= 0:
		s := selection{files: []entry{files[c], files[t]}, main: folder, isFolder: true}
		for _, name := range []string{"chat_template.jinja", "additional_chat_templates/tool_use.jinja", "tokenizer_config.json"} { // an adapter's own chat templates
			if i := index(files, path.Join(folder, name)); i >= 0 {
				s.files = append(s.files, files[i])
			}
		}
		return s, nil
	case c >= 0 && index(files, path.Join(folder, peftPickle)) >= 0:
		return selection{}, fmt.Errorf("%w: %s has its tensors as a Python pickle, which can run code when it is read: save the adapter again "+
			"with model.save_pretrained(folder), which writes %s", ErrContent, src, peftTensors)
	case c >= 0:
		return selection{}, fmt.Errorf("%w: %s has %s and no %s", ErrContent, src, peftConfig, peftTensors)
	case len(models) == 1:
		return selection{files: []entry{files[index(files, models[0])]}, main: models[0]}, nil
	case len(models) > 1:
		return selection{}, fmt.Errorf("%w: %s has %d GGUF files; name one of them: %s", ErrContent, src, len(models), firstNames(models))
	}
	return selection{}, fmt.Errorf("%w: %s has no adapter: neither %s nor a GGUF file%s", ErrContent, src, peftConfig, elsewhere(files))
}

// isAdapterFile reports whether a file's name is that of an adapter in one file.
func isAdapterFile(base string) bool {
	base = strings.ToLower(base)
	return slices.ContainsFunc([]string{".gguf", ".zip", ".tar", ".tar.gz", ".tgz"}, func(s string) bool { return strings.HasSuffix(base, s) })
}

// elsewhere says which folders do hold an adapter.
func elsewhere(files []entry) string {
	var folders []string
	for _, f := range files {
		if path.Base(f.Path) == peftConfig {
			folders = append(folders, path.Dir(f.Path))
		}
	}
	if len(folders) == 0 {
		return ""
	}
	slices.Sort(folders) // a bucket lists in order, a hub need not
	return "; there is one in " + firstNames(folders)
}

// part is the end of the name of a GGUF file that comes in several.
var part = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.gguf$`)

// ggufFiles are the models in a folder and, where the type of weights is named, in the folders below it; of one in
// several parts the first. Projectors of images and matrices of importance are not models.
func ggufFiles(files []entry, folder, quant string) []string {
	var found []string
	for _, f := range files {
		base := strings.ToLower(path.Base(f.Path))
		m := part.FindStringSubmatch(f.Path)
		switch {
		case !strings.HasSuffix(base, ".gguf"), m != nil && m[2] != "00001":
		case strings.HasPrefix(base, "mmproj"), strings.Contains(base, "imatrix"):
		case quant == "" && path.Dir(f.Path) != folder, !inside(f.Path, folder):
		case quant != "" && !hasType(f.Path, quant):
		default:
			found = append(found, f.Path)
		}
	}
	return found
}

// hasType reports whether a file's name has the type of weights as a word: q4_k does not name q4_k_m.
func hasType(p, quant string) bool {
	base := strings.TrimSuffix(strings.ToLower(path.Base(p)), ".gguf")
	quant = strings.ToLower(quant)
	isWordByte := func(b byte) bool { return b == '_' || 'a' <= b && b <= 'z' || '0' <= b && b <= '9' }
	for at := 0; ; {
		i := strings.Index(base[at:], quant)
		if i < 0 {
			return false
		}
		at += i
		end := at + len(quant)
		if (at == 0 || !isWordByte(base[at-1])) && (end == len(base) || !isWordByte(base[end])) {
			return true
		}
		at++
	}
}

// chooseGGUF picks a GGUF file, with the other parts where it is one of several.
func chooseGGUF(files []entry, name string) (selection, error) {
	m := part.FindStringSubmatch(name)
	if m == nil {
		return selection{files: files[index(files, name):][:1], main: name}, nil
	}
	var parts []entry
	for _, f := range files {
		if n := part.FindStringSubmatch(f.Path); n != nil && n[1] == m[1] && n[3] == m[3] {
			parts = append(parts, f)
		}
	}
	slices.SortFunc(parts, func(a, b entry) int { return strings.Compare(a.Path, b.Path) })
	if count, _ := strconv.Atoi(m[3]); len(parts) != count {
		return selection{}, fmt.Errorf("%w: %s is one of %d parts, and %d of them are there", ErrContent, name, count, len(parts))
	}
	return selection{files: parts, main: parts[0].Path}, nil
}

func index(files []entry, p string) int {
	return slices.IndexFunc(files, func(f entry) bool { return f.Path == p })
}

// hasFolder reports whether there is a file in folder or below it.
func hasFolder(files []entry, folder string) bool {
	return slices.ContainsFunc(files, func(f entry) bool { return inside(f.Path, folder) })
}

func inside(p, folder string) bool { return folder == "." || strings.HasPrefix(p, folder+"/") }

func repoOf(src Source) string {
	src.Path, src.Quant = "", ""
	return src.String()
}

// firstNames writes the first names of a list.
func firstNames(names []string) string {
	const most = 30
	if len(names) == 0 {
		return "none"
	}
	if rest := len(names) - most; rest > 0 {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", rest)
	}
	return strings.Join(names, ", ")
}
