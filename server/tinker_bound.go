package server

import (
	"net/http"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxWireFields bounds the fields of a protobuf body, with those of messages in it and the numbers of packed lists: an empty message
// takes two bytes in a body and about a hundred in memory.
const maxWireFields = 1 << 18

// boundWire returns a refusal where a body has more fields than that, or is no such message. It takes no memory.
func boundWire(body []byte, m proto.Message) error {
	left := maxWireFields
	if countWire(body, m.ProtoReflect().Descriptor(), &left) {
		return nil
	}
	if left < 0 {
		return &refusal{status: http.StatusRequestEntityTooLarge, code: codeTooLarge, message: "the body has too many fields: send fewer sequences in one call"}
	}
	return &refusal{status: http.StatusBadRequest, code: codeProtobuf, message: "the body is not a " + string(m.ProtoReflect().Descriptor().Name()) + " in protobuf"}
}

// countWire takes the fields of a message from left, and reports whether they could be read and were not too many. The depth is
// that of the message's type, which does not contain itself.
func countWire(b []byte, d protoreflect.MessageDescriptor, left *int) bool {
	for len(b) > 0 {
		if *left--; *left < 0 {
			return false
		}
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		value := b[n:]
		size := protowire.ConsumeFieldValue(number, kind, value)
		if size < 0 {
			return false
		}
		b = value[size:]
		f := d.Fields().ByNumber(number)
		if f == nil || kind != protowire.BytesType {
			continue
		}
		content, _ := protowire.ConsumeBytes(value)
		switch {
		case f.Message() != nil:
			if !countWire(content, f.Message(), left) {
				return false
			}
		case f.IsList() && f.Kind() != protoreflect.BytesKind && f.Kind() != protoreflect.StringKind: // packed numbers
			if *left -= len(content); *left < 0 {
				return false
			}
		}
	}
	return true
}
