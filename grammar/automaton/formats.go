package automaton

import "sync"

// This file has the formats of strings that JSON schemas name. Each is held as strictly as validators in use do, or more
// strictly: a URI has the scheme http or https, a host name has at most five labels of at most 50
// characters, without two hyphens side by side, and a leap second never comes. What a format means is said by RFC 3339 (dates and times, ISO 8601 durations), RFC 5321, RFC 1123,
// RFC 9562, RFC 3986 and RFC 6901.

const (
	dateText = `(?!0000)(` +
		`\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))|` +
		`(\d\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)`
	timeText     = `([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)`
	clockText    = `(\d{1,4}H(\d{1,4}M(\d{1,4}S)?)?|\d{1,4}M(\d{1,4}S)?|\d{1,4}S)`
	durationText = `P((\d{1,4}Y(\d{1,4}M(\d{1,4}D)?)?|\d{1,4}M(\d{1,4}D)?|\d{1,4}D)(T` + clockText + `)?|T` + clockText + `|\d{1,4}W)`
	labelsText   = `([A-Za-z0-9]{1,16}(-[A-Za-z0-9]{1,16}){0,2}\.){0,4}`
	lastLabel    = `[A-Za-z][A-Za-z0-9]{0,14}(-[A-Za-z0-9]{1,16}){0,2}`
	octetText    = `(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`
	ipv4Text     = octetText + `(\.` + octetText + `){3}`
	hex4         = `[0-9A-Fa-f]{1,4}`
	ipv6Text     = `((` + hex4 + `:){7}` + hex4 +
		`|(` + hex4 + `:){1,7}:|(` + hex4 + `:){1,6}:` + hex4 +
		`|(` + hex4 + `:){1,5}(:` + hex4 + `){1,2}|(` + hex4 + `:){1,4}(:` + hex4 + `){1,3}` +
		`|(` + hex4 + `:){1,3}(:` + hex4 + `){1,4}|(` + hex4 + `:){1,2}(:` + hex4 + `){1,5}` +
		`|` + hex4 + `:(:` + hex4 + `){1,6}|:((:` + hex4 + `){1,7}|:))`
	hex         = `[0-9a-fA-F]`
	pathText    = `([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*`
	uriText     = `https?://` + labelsText + lastLabel + `(:[1-9]\d{0,3})?(/` + pathText + `)?(\?` + pathText + `)?(#` + pathText + `)?`
	emailText   = `[A-Za-z0-9_+-]{1,20}(\.[A-Za-z0-9_+-]{1,20}){0,2}@([A-Za-z0-9]{1,20}(-[A-Za-z0-9]{1,20})?\.){1,4}[A-Za-z]{2,20}`
	hostText    = labelsText + lastLabel
	pointerText = `(/([^~/]|~[01])*)*`
)

func uuidText(version string) string {
	return hex + `{8}-` + hex + `{4}-` + version + hex + `{3}-[89abAB]` + hex + `{3}-` + hex + `{12}`
}

var formatTexts = map[string]string{
	"date": dateText, "time": timeText, "date-time": dateText + `T` + timeText, "duration": durationText,
	"email": emailText, "idn-email": emailText, "hostname": hostText, "idn-hostname": hostText,
	"ipv4": ipv4Text, "ipv6": ipv6Text,
	"uri": uriText, "url": uriText, "iri": uriText, "uri-reference": uriText, "iri-reference": uriText, "uri-template": uriText,
	"uuid": uuidText(`[1-8]`), "uuid1": uuidText(`1`), "uuid3": uuidText(`3`), "uuid4": uuidText(`4`), "uuid5": uuidText(`5`),
	"uuid6": uuidText(`6`), "uuid7": uuidText(`7`), "uuid8": uuidText(`8`),
	"json-pointer": pointerText, "relative-json-pointer": `(0|[1-9]\d{0,5})(#|` + pointerText + `)`,
}

var formats sync.Map // name -> *DFA

// Format returns the texts of a format; nil for one that is not known, which says nothing about a text.
func Format(name string) *DFA {
	text, known := formatTexts[name]
	if !known {
		return nil
	}
	if d, ok := formats.Load(name); ok {
		return d.(*DFA)
	}
	d, _ := formats.LoadOrStore(name, mustRegexp(text))
	return d.(*DFA)
}

// IsFormat reports whether an automaton is one that Format returns.
func IsFormat(d *DFA) bool {
	found := false
	formats.Range(func(_, v any) bool {
		found = v.(*DFA) == d
		return !found
	})
	return found
}
