package fetch

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// bucket is a client of one S3 service.
type bucket struct {
	core minio.Core
	host string
}

const (
	amazon = "https://s3.amazonaws.com"
	// maxObjects bounds how many objects of a prefix are looked at.
	maxObjects = 10000
)

// newBucket makes no connection. The bucket is in the path of an address, except at Amazon.
func newBucket(o Bucket, stall time.Duration) (*bucket, error) {
	lookup := minio.BucketLookupPath
	if o.Endpoint == "" {
		o.Endpoint, lookup = amazon, minio.BucketLookupAuto
	} else if o.Region == "" {
		o.Region = "us-east-1"
	}
	u, err := endpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	if strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("%q has a path: want an address such as https://host", o.Endpoint)
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(o.Key, o.Secret, o.Session),
		Secure: u.Scheme == "https", Region: o.Region, BucketLookup: lookup,
		Transport:  newTransport(stall),
		MaxRetries: 1, // retry does it
	})
	if err != nil {
		return nil, err
	}
	client.SetAppInfo(userAgent, "1")
	return &bucket{core: minio.Core{Client: client}, host: u.Host}, nil
}

// object describes a file of a bucket at the time of the request.
type object struct {
	entry
	tag string // ETag
	sum sum
}

// stat returns the description of an object.
func (b *bucket) stat(ctx context.Context, name, key string) (object, error) {
	info, err := b.core.StatObject(ctx, name, key, minio.StatObjectOptions{Checksum: true})
	if err != nil {
		return object{}, b.failed(ctx, bucketScheme+path.Join(name, key), err)
	}
	return object{entry{Path: key, Size: info.Size}, info.ETag, sumOfObject(info)}, nil
}

// sumOfObject returns the best checksum over all of an object's bytes that the server states.
func sumOfObject(info minio.ObjectInfo) sum {
	for _, s := range []struct {
		kind, text string
		size       int
	}{{sha256Sum, info.ChecksumSHA256, 32}, {crc64Sum, info.ChecksumCRC64NVME, 8}, {crc32cSum, info.ChecksumCRC32C, 4}} {
		// Checksums over the checksums of an upload's parts end in "-3" and are not base64.
		raw, err := base64.StdEncoding.DecodeString(s.text)
		if err == nil && len(raw) == s.size && !strings.EqualFold(info.ChecksumMode, "COMPOSITE") {
			return sum{s.kind, hex.EncodeToString(raw)}
		}
	}
	// The ETag of an object that was uploaded in one part is its MD5, unless it is encrypted with keys of its own.
	encrypted := info.Metadata.Get("X-Amz-Server-Side-Encryption") == "aws:kms" || info.Metadata.Get("X-Amz-Server-Side-Encryption-Customer-Algorithm") != ""
	if raw, err := hex.DecodeString(info.ETag); err == nil && len(raw) == 16 && !encrypted {
		return sum{md5Sum, strings.ToLower(info.ETag)}
	}
	return sum{}
}

// list returns the objects right below a folder.
func (b *bucket) list(ctx context.Context, name, folder string) ([]entry, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	prefix := folder + "/"
	if folder == "" {
		prefix = ""
	}
	var files []entry
	for o := range b.core.ListObjectsIter(ctx, name, minio.ListObjectsOptions{Prefix: prefix}) {
		if o.Err != nil {
			return nil, b.failed(ctx, bucketScheme+path.Join(name, folder), o.Err)
		}
		if len(files) == maxObjects {
			return nil, fmt.Errorf("%w: %s has more than %d objects; name the folder or file of the adapter", ErrContent,
				bucketScheme+path.Join(name, folder), maxObjects)
		}
		if safePath(o.Key) {
			files = append(files, entry{Path: o.Key, Size: o.Size})
		}
	}
	return files, nil
}

// open opens an object in the version that stat has seen: a bucket has no commits.
func (b *bucket) open(name string, o object) opener {
	return func(ctx context.Context, offset int64, _ string) (*transfer, error) {
		var opts minio.GetObjectOptions
		if err := errors.Join(opts.SetMatchETag(o.tag), setOffset(&opts, offset)); err != nil {
			return nil, err
		}
		what := bucketScheme + path.Join(name, o.Path)
		body, info, header, err := b.core.GetObject(ctx, name, o.Path, opts)
		if err != nil {
			return nil, b.failed(ctx, what, err)
		}
		t, total := &transfer{body: body, tag: o.tag}, info.Size
		if text := header.Get("Content-Range"); text != "" {
			var ok bool
			if t.offset, total, ok = contentRange(text); !ok {
				body.Close()
				return nil, retryable(fmt.Errorf("%w: %s: the range in its answer is %q, which has no position", ErrCut, what, clean(text)))
			}
		}
		if total >= 0 && total != o.Size {
			body.Close()
			return nil, fmt.Errorf("%w: %s has %d bytes, not %d", ErrChecksum, what, total, o.Size)
		}
		return t, nil
	}
}

func setOffset(o *minio.GetObjectOptions, offset int64) error {
	if offset == 0 {
		return nil
	}
	return o.SetRange(offset, 0)
}

// failed translates an error of the client.
func (b *bucket) failed(ctx context.Context, what string, err error) error {
	var r minio.ErrorResponse
	if !errors.As(err, &r) {
		if err = withoutURL(ctx, err); ctx.Err() != nil && !errors.Is(err, errStalled) {
			return err
		}
		return retryable(fmt.Errorf("%w: %s: %w", ErrUnreachable, b.host, err))
	}
	fail := func(is error, hint string) error {
		return fmt.Errorf("%w: %s: %s answers %d %s%s", is, what, b.host, r.StatusCode, clean(r.Code), hint)
	}
	switch s := r.StatusCode; {
	case r.Code == minio.NoSuchBucket, r.Code == minio.NoSuchKey, s == http.StatusNotFound:
		return fail(ErrNotFound, "")
	case s == http.StatusPreconditionFailed:
		return fail(ErrCut, ": the object was changed during the download")
	case s == http.StatusRequestedRangeNotSatisfiable:
		return retryable(fmt.Errorf("%w: %s: %w", ErrCut, what, errRange))
	case r.Code == "SlowDown", s == http.StatusTooManyRequests:
		return retryable(fail(ErrBusy, ""))
	case s >= 500:
		return retryable(fail(ErrUnreachable, ""))
	case s == http.StatusForbidden, s == http.StatusUnauthorized:
		return fail(ErrDenied, "; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are the credentials, AWS_REGION and AWS_ENDPOINT_URL the service")
	}
	return fail(ErrUnreachable, ": "+clean(r.Message))
}
