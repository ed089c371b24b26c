// Package grammartest has the JSON schemas that tests and measurements of package grammar are made with.
package grammartest

import (
	"fmt"
	"strings"
)

// Schemas returns schemas of every keyword, alone, together, and of the sizes that applications come to, by name.
func Schemas() map[string]string {
	set := map[string]string{}
	for group, list := range map[string][]string{
		"types": {
			`true`, `{}`, `{"type":"string"}`, `{"type":"integer"}`, `{"type":"number"}`, `{"type":"boolean"}`, `{"type":"null"}`,
			`{"type":"object"}`, `{"type":"array"}`, `{"type":["integer","null"]}`, `{"type":["string","number","boolean"]}`,
			`{"type":["array","object","null"],"maxItems":2,"maxProperties":2}`, `{"not":{"type":"object"}}`,
			`{"not":{"type":["string","array","object"]}}`, `{"not":{"type":"integer"},"type":"number"}`,
		},
		"values": {
			`{"const":"a\"b\\\n"}`, `{"const":12.50}`, `{"const":null}`, `{"const":{"a":[1,{"b":null}],"c":"é☕"}}`, `{"enum":[1,"1",true,null,[1],{"a":1}]}`,
			`{"enum":["red","green","blue"],"type":"string"}`, `{"type":"integer","enum":[1,2.5,3]}`, `{"enum":["a","bb","ccc"],"maxLength":2}`,
			`{"not":{"enum":["a","b"]},"type":"string","maxLength":2}`, `{"not":{"const":3},"type":"integer","minimum":2,"maximum":4}`,
			`{"not":{"enum":[1,"a",null,true]}}`, `{"enum":[1,2,3,4],"not":{"enum":[2,3]}}`, `{"type":"boolean","not":{"const":true}}`,
			`{"enum":[{"a":1},{"a":2}],"properties":{"a":{"minimum":2}}}`, `{"enum":[[1,2],[3]],"minItems":2}`,
			`{"type":"object","not":{"const":{"a":1}},"properties":{"a":{"enum":[1]},"b":{"enum":[2]}}}`,
		},
		"numbers": {
			`{"type":"integer","minimum":0}`, `{"type":"integer","minimum":-9007199254740991,"maximum":9007199254740991}`,
			`{"type":"integer","exclusiveMinimum":0,"maximum":100}`, `{"type":"number","minimum":0,"maximum":1}`, `{"type":"number","exclusiveMinimum":-0.5,"exclusiveMaximum":0.5}`,
			`{"type":"number","minimum":12.345,"maximum":12.3451}`, `{"type":"integer","multipleOf":7}`, `{"type":"number","multipleOf":0.01,"minimum":0,"maximum":999.99}`,
			`{"type":"number","multipleOf":2.5}`, `{"type":"integer","multipleOf":10,"minimum":55,"maximum":1234}`, `{"minimum":5}`, `{"type":"number","maximum":-1000000}`,
			`{"type":"integer","minimum":1e3,"maximum":1.5e3}`, `{"type":"integer","minimum":2.2,"maximum":4.9}`, `{"type":"number","multipleOf":3,"not":{"multipleOf":2}}`,
			`{"type":"integer","allOf":[{"minimum":3},{"maximum":9},{"multipleOf":2},{"multipleOf":3}]}`, `{"type":"integer","anyOf":[{"maximum":-5},{"minimum":5}]}`,
			`{"type":"integer","not":{"minimum":0,"maximum":10}}`, `{"type":"integer","minimum":0,"maximum":255}`, `{"type":"number","minimum":-273.15}`,
			`{"type":"integer","minimum":0,"maximum":4294967295}`, `{"type":"number","maximum":1.7976931348623157e308,"minimum":-1.7976931348623157e308}`,
			`{"type":"integer","minimum":0,"exclusiveMaximum":true,"maximum":3}`,
		},
		"strings": {
			`{"type":"string","minLength":3,"maxLength":5}`, `{"type":"string","maxLength":0}`, `{"type":"string","minLength":200}`, `{"type":"string","maxLength":65536}`,
			`{"type":"string","minLength":60,"maxLength":70}`, `{"type":"string","pattern":"^[a-z]+$"}`, `{"type":"string","pattern":"foo"}`, `{"type":"string","pattern":"^(ab|c){2,4}$"}`,
			`{"type":"string","pattern":"^\\d{3}-\\d{4}$"}`, `{"type":"string","pattern":"^[A-Z][a-z]*( [A-Z][a-z]*)*$","maxLength":30}`, `{"type":"string","pattern":"^#[0-9a-fA-F]{6}$"}`,
			`{"type":"string","pattern":"^[^\"\\\\]*$","minLength":2}`, `{"type":"string","pattern":"\\.txt$","maxLength":12}`, `{"type":"string","pattern":"^(?!admin)[a-z]{3,8}$"}`,
			`{"type":"string","pattern":"^\\p{Lu}\\w*$"}`, `{"type":"string","pattern":"^[é-ü☕]{1,3}$"}`, `{"type":"string","pattern":"^a*$","minLength":3,"maxLength":3}`,
			`{"type":"string","pattern":"^(ab)*$","minLength":3,"maxLength":9}`, `{"type":"string","pattern":"^[a-z]+$","maxLength":30000,"minLength":5}`,
			`{"type":"string","not":{"pattern":"a"},"maxLength":4}`, `{"type":"string","not":{"maxLength":3},"maxLength":6}`, `{"type":"string","allOf":[{"pattern":"a"},{"pattern":"b"},{"maxLength":8}]}`,
			`{"type":"string","anyOf":[{"pattern":"^x"},{"minLength":5}],"maxLength":8}`, `{"type":"string","pattern":"^[\\s\\S]{2}$"}`, `{"pattern":"^a"}`, `{"type":"string","pattern":"^(?:[0-9]{1,3}\\.){3}[0-9]{1,3}$"}`,
			`{"type":"string","pattern":"^[\\x00-\\x1f]{3}$"}`, `{"type":"string","pattern":"^[a-z-]{2,9}(?<!-)$"}`, `{"type":"string","pattern":"^(?:[a-c ](?<!  ))+$","maxLength":9}`,
			`{"type":"string","pattern":"^[\\p{L}\\p{N} .'-]{1,200}$"}`, `{"type":"string","pattern":"^x-(?:ab|cd)[a-z]{20,40}$"}`, `{"type":"string","pattern":"^[0-7][0-9A-HJKMNP-TV-Z]{25}$"}`,
			`{"type":"string","pattern":"^[\\u{1F600}-\\u{1F64F}]{17,20}$"}`, `{"type":"string","pattern":"^[☕-☗\\u{1F600}]{17,20}$"}`, `{"type":"string","pattern":"^[a-z]{2,}$","minLength":30,"maxLength":33}`, `{"type":"string","pattern":"^[a-z]{1,40}$","not":{"pattern":"^[a-z]{2,30}$"}}`,
			`{"anyOf":[{"type":"string","pattern":"^a[a-f]{16,30}$"},{"type":"string","pattern":"^[a-z]{40,50}$"},{"type":"string","pattern":"^\\d{2}$"}]}`, `{"type":"string","pattern":"^\\p{Lu}[\\p{Ll}]*(?: \\p{Lu}\\p{Ll}+){0,5}$","minLength":6,"maxLength":40}`,
			`{"type":"string","minLength":8,"maxLength":64,"allOf":[{"pattern":"[A-Z]"},{"pattern":"[a-z]"},{"pattern":"[0-9]"},{"pattern":"[^A-Za-z0-9]"}]}`,
			`{"type":"string","pattern":"^[\\p{L}][\\p{L}\\p{M}' -]{0,98}[\\p{L}]$"}`, `{"type":"string","pattern":"^[^ ][^x]{20,60}x$"}`, `{"type":"string","pattern":"^[\\p{L}]{2,90}[\\u{1F600}-\\u{1F64F}]$"}`, `{"type":"string","pattern":"^(?:[\\p{Ll}]\\p{Lu})*$","minLength":30,"maxLength":41}`,
			`{"type":"string","pattern":"^[a-c]{16,20}$","allOf":[{"pattern":"b"}]}`, `{"type":"array","uniqueItems":true,"minItems":3,"maxItems":4,"items":{"type":"string","pattern":"^[ab]{16,17}$"}}`, `{"type":"object","propertyNames":{"pattern":"^[a-z]{16,20}$"},"additionalProperties":{"const":1},"minProperties":1,"maxProperties":2}`,
			`{"type":"string","pattern":"(?<=^|,)x[!-~]*$","maxLength":12}`, `{"type":"string","pattern":"^[ -~]{0,5}\\bfoo\\b[ -~]{0,5}$"}`, `{"type":"string","pattern":"^(?!a)[a-z]+\\b[!-/]\\B[!-/]$","maxLength":6}`,
		},
		"formats": {
			`{"type":"string","format":"date-time"}`, `{"type":"string","format":"date"}`, `{"type":"string","format":"time"}`, `{"type":"string","format":"duration"}`,
			`{"type":"string","format":"email"}`, `{"type":"string","format":"uuid"}`, `{"type":"string","format":"uuid4"}`, `{"type":"string","format":"ipv4"}`, `{"type":"string","format":"ipv6"}`,
			`{"type":"string","format":"uri"}`, `{"type":"string","format":"hostname"}`, `{"type":"string","format":"uri","minLength":1,"maxLength":2083}`, `{"type":"string","format":"json-pointer","maxLength":20}`,
			`{"type":"string","format":"binary"}`, `{"type":"string","format":"date","pattern":"^20"}`, `{"type":"string","format":"email","maxLength":12}`, `{"type":"string","format":"relative-json-pointer","maxLength":9}`,
			`{"anyOf":[{"type":"string","format":"date"},{"type":"string","format":"date-time"},{"type":"null"}]}`, `{"type":"string","format":"uri-reference","maxLength":30}`,
		},
		"arrays": {
			`{"type":"array","items":{"type":"integer"}}`, `{"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3}`, `{"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}]}`,
			`{"type":"array","prefixItems":[{"type":"integer"},{"type":"null"}],"items":{"type":"boolean"},"maxItems":4}`, `{"type":"array","prefixItems":[{"type":"integer"},{"type":"null"}],"minItems":2,"items":false}`,
			`{"type":"array","maxItems":0}`, `{"type":"array","items":{"type":"array","items":{"type":"integer"},"maxItems":2},"maxItems":3}`, `{"type":"array","items":[{"type":"integer"},{"type":"string"}],"additionalItems":false}`,
			`{"type":"array","items":{"enum":["a","b","c"]},"uniqueItems":true}`, `{"type":"array","items":{"enum":["a","b","c"]},"uniqueItems":true,"minItems":3}`, `{"type":"array","items":{"type":"string","maxLength":1},"uniqueItems":true,"maxItems":20}`,
			`{"type":"array","items":{"type":"integer","minimum":0,"maximum":11},"uniqueItems":true,"minItems":8,"maxItems":12}`, `{"type":"array","items":{"type":"number"},"uniqueItems":true,"minItems":3,"maxItems":6}`,
			`{"type":"array","uniqueItems":true,"minItems":2,"maxItems":6}`, `{"type":"array","items":{"type":["boolean","null"]},"uniqueItems":true,"minItems":3}`, `{"type":"array","contains":{"type":"integer"},"maxItems":4}`,
			`{"type":"array","contains":{"const":1},"minContains":2,"maxContains":3,"maxItems":5,"items":{"type":"integer"}}`, `{"type":"array","prefixItems":[{"type":"string"}],"contains":{"type":"integer"},"items":true,"maxItems":4}`,
			`{"type":"array","items":{"type":"integer"},"not":{"contains":{"const":5}},"minItems":1}`, `{"type":"array","allOf":[{"items":{"minimum":3}},{"items":{"type":"integer"}},{"maxItems":3}],"minItems":1}`,
			`{"type":"array","not":{"minItems":2},"items":{"type":"integer"}}`, `{"type":"array","items":{"type":"string","format":"uuid"},"uniqueItems":true,"minItems":2,"maxItems":3}`, `{"type":"array","uniqueItems":true,"items":{"type":"object","properties":{"a":{"enum":["x","xy"]},"b":{"type":"boolean"}},"required":["a"],"additionalProperties":false},"minItems":6,"maxItems":9}`, `{"type":"array","uniqueItems":true,"items":{"type":"array","items":{"type":"integer","minimum":0,"maximum":2},"maxItems":2},"minItems":9,"maxItems":12}`,
			`{"type":"array","uniqueItems":true,"items":{"type":"object","properties":{"name":{"type":"string","maxLength":3},"tags":{"type":"array","items":{"enum":["p","q"]},"maxItems":2},"in":{"type":"object","properties":{"n":{"type":"number"}}}},"required":["name"]},"minItems":3,"maxItems":7}`, `{"type":"array","uniqueItems":true,"items":{"anyOf":[{"type":"object","properties":{"k":{"const":1}},"required":["k"]},{"type":"object","properties":{"k":{"enum":[1,2]},"z":{"const":null}},"required":["k"]},{"enum":["a",1]}]},"minItems":5,"maxItems":6}`,
			`{"type":"array","items":false}`, `{"type":"array","prefixItems":[{"type":"integer"}],"unevaluatedItems":{"type":"boolean"},"maxItems":4}`,
			`{"type":"array","allOf":[{"prefixItems":[{"type":"integer"},{"type":"null"}]}],"unevaluatedItems":false}`, `{"type":"array","anyOf":[{"prefixItems":[{"const":1},{"const":2}],"minItems":2},{"prefixItems":[{"const":3}]}],"unevaluatedItems":false}`,
			`{"type":"array","contains":{"const":"x"},"minContains":2,"unevaluatedItems":{"type":"integer"},"maxItems":5}`, `{"$schema":"https://json-schema.org/draft/2019-09/schema","type":"array","contains":{"type":"string","maxLength":2},"unevaluatedItems":{"type":["integer","string"],"maxLength":3},"maxItems":4}`,
			`{"type":"array","allOf":[{"items":{"type":"integer"}}],"unevaluatedItems":false,"maxItems":3}`, `{"type":"array","not":{"not":{"prefixItems":[{"const":1}]}},"unevaluatedItems":{"type":"integer"},"maxItems":3}`,
			`{"type":"array","unevaluatedItems":{"type":"null"},"maxItems":3}`, `{"type":"array","not":{"prefixItems":[{"type":"integer"}],"unevaluatedItems":{"type":"string"}},"maxItems":3}`, `{"type":"array","not":{"items":{"type":"integer"},"unevaluatedItems":false},"maxItems":3}`,
			`{"type":"array","minItems":300,"items":{"type":"boolean"},"maxItems":310}`, `{"type":"array","prefixItems":[{"type":"integer"}],"uniqueItems":true,"items":{"type":"integer"},"minItems":2,"maxItems":4}`, `{"type":"array","minContains":0,"contains":{"type":"integer"},"maxContains":1,"items":{"type":["integer","boolean"]},"maxItems":5}`,
		},
		"objects": {
			`{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a"]}`, `{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a","b"],"additionalProperties":false}`,
			`{"type":"object","properties":{"b":{"type":"integer"},"a":{}},"required":["a","c"]}`, `{"type":"object","properties":{}}`, `{"type":"object","additionalProperties":{"type":"integer"},"maxProperties":4}`,
			`{"type":"object","additionalProperties":false}`, `{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":{"type":"boolean"},"maxProperties":5}`,
			`{"type":"object","propertyNames":{"pattern":"^[a-z]{1,3}$"},"additionalProperties":{"type":"integer"},"minProperties":2,"maxProperties":6}`, `{"type":"object","propertyNames":{"enum":["x","y","z"]},"additionalProperties":{"type":"null"},"minProperties":2}`,
			`{"type":"object","patternProperties":{"^n_":{"type":"integer"},"_s$":{"type":"string"}},"additionalProperties":false,"maxProperties":4}`, `{"type":"object","patternProperties":{"^a":{"minimum":3},"b$":{"type":"integer"}},"additionalProperties":{"type":"null"},"minProperties":1,"maxProperties":3}`,
			`{"type":"object","properties":{"ab":{"maximum":9}},"patternProperties":{"^a":{"type":"integer","minimum":3}},"required":["ab"],"additionalProperties":false}`,
			`{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"},"c":{"type":"integer"}},"minProperties":2,"maxProperties":2}`, `{"type":"object","minProperties":3,"maxProperties":3,"additionalProperties":{"enum":[1]}}`,
			`{"type":"object","properties":{"a":{"type":"integer"}},"minProperties":3,"maxProperties":4}`, `{"type":"object","properties":{"card":{"type":"integer"},"zip":{"type":"integer"}},"dependentRequired":{"card":["zip"]}}`,
			`{"type":"object","properties":{"zip":{"type":"integer"},"card":{"type":"integer"}},"dependentRequired":{"card":["zip","name"]}}`, `{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"dependentSchemas":{"a":{"properties":{"b":{"minimum":5}},"required":["b"]}}}`,
			`{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"dependencies":{"a":["b"]}}`, `{"type":"object","properties":{"a":{"const":1},"b":{"const":2}},"not":{"required":["a","b"]}}`,
			`{"type":"object","properties":{"a\"b\\":{"type":"null"},"é\n":{"type":"null"}},"required":["a\"b\\","é\n"]}`, `{"type":"object","properties":{"a":false,"b":{"type":"integer"}}}`,
			`{"type":"object","properties":{"a":{"type":"integer"}},"unevaluatedProperties":false}`, `{"properties":{"a":{"type":"integer"}}}`,
			`{"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}],"properties":{"b":{"type":"boolean"}},"unevaluatedProperties":false}`,
			`{"$ref":"#/$defs/base","properties":{"b":{"type":"boolean"}},"unevaluatedProperties":{"enum":["x"]},"maxProperties":4,"$defs":{"base":{"type":"object","properties":{"a":{"type":"integer"}},"patternProperties":{"^p":{"type":"null"}},"required":["a"]}}}`,
			`{"type":"object","properties":{"kind":{"enum":["a","b"]}},"required":["kind"],"if":{"properties":{"kind":{"const":"a"}}},"then":{"properties":{"x":{"type":"integer"}}},"else":{"properties":{"y":{"type":"integer"}},"required":["y"]},"unevaluatedProperties":false}`,
			`{"type":"object","oneOf":[{"properties":{"k":{"const":1},"x":{"type":"null"}},"required":["k"]},{"properties":{"k":{"const":2},"y":{"type":"null"}},"required":["k","y"]}],"unevaluatedProperties":false}`,
			`{"type":"object","not":{"not":{"properties":{"a":{"const":1}},"required":["b"]}},"properties":{"b":{"const":2}},"unevaluatedProperties":false}`,
			`{"type":"object","dependentSchemas":{"a":{"properties":{"b":{"const":1}},"required":["b"]}},"properties":{"a":{"const":2}},"unevaluatedProperties":false}`,
			`{"type":"object","allOf":[{"additionalProperties":{"type":"integer"}}],"unevaluatedProperties":false,"maxProperties":3}`,
			`{"type":"object","allOf":[{"properties":{"a":{"const":1}},"unevaluatedProperties":{"type":"boolean"}},{"properties":{"b":{"const":true}}}],"maxProperties":3}`,
			`{"type":"object","anyOf":[{"properties":{"a":{"const":1}},"required":["a"]},{"properties":{"b":{"const":2}},"required":["b"]}],"properties":{"c":{"type":"object","properties":{"d":{"const":3}},"unevaluatedProperties":false}},"unevaluatedProperties":false}`,
			`{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"object","properties":{"c":{"type":"integer"}},"required":["c"]}},"required":["b"]}},"required":["a"]}`,
			`{"type":"object","not":{"properties":{"a":{"type":"integer"}},"required":["a"]},"properties":{"a":{"type":["integer","string"]}}}`,
			`{"type":"object","properties":{"a":{"type":"integer"}},"not":{"additionalProperties":{"type":"string"}},"maxProperties":2}`, `{"type":"object","not":{"patternProperties":{"^x":{"type":"string"}}},"maxProperties":2,"additionalProperties":{"type":["string","null"]}}`,
			`{"type":"object","not":{"minProperties":1}}`, `{"type":"object","not":{"propertyNames":{"maxLength":2}},"maxProperties":2}`, `{"type":"object","additionalProperties":{"type":"string","maxLength":3},"minProperties":4,"maxProperties":9}`,
		},
		"together": {
			`{"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"b":{"type":"string"},"a":{"minimum":3}},"required":["b"]}]}`,
			`{"anyOf":[{"type":"integer"},{"type":"boolean"},{"type":"array","items":{"type":"null"}}]}`, `{"oneOf":[{"type":"integer"},{"type":"string"}]}`, `{"oneOf":[{"type":"integer","minimum":0},{"type":"integer","maximum":10}]}`,
			`{"oneOf":[{"type":"number","multipleOf":3},{"type":"number","multipleOf":5}],"minimum":0,"maximum":40}`, `{"oneOf":[{"type":"object","properties":{"k":{"const":"a"},"x":{"type":"integer"}},"required":["k","x"]},{"type":"object","properties":{"k":{"const":"b"},"y":{"type":"string"}},"required":["k","y"]}]}`,
			`{"oneOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},{"type":"object","properties":{"b":{"type":"integer"}},"required":["b"]}]}`, `{"anyOf":[{"required":["a"]},{"required":["b"]}],"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}}}`,
			`{"type":"object","properties":{"kind":{"enum":["a","b"]},"n":{"type":"integer"}},"required":["kind"],"if":{"properties":{"kind":{"const":"a"}}},"then":{"required":["n"]},"else":{"properties":{"n":false}}}`,
			`{"type":"object","properties":{"country":{"enum":["US","CA","NL"]},"code":{"type":"string"}},"required":["country","code"],"allOf":[{"if":{"properties":{"country":{"const":"US"}},"required":["country"]},"then":{"properties":{"code":{"pattern":"^[0-9]{5}$"}}}},{"if":{"properties":{"country":{"const":"CA"}},"required":["country"]},"then":{"properties":{"code":{"pattern":"^[A-Z][0-9][A-Z]$"}}}},{"if":{"properties":{"country":{"const":"NL"}},"required":["country"]},"then":{"properties":{"code":{"pattern":"^[0-9]{4}[A-Z]{2}$"}}}}]}`,
			`{"if":{"type":"integer"},"then":{"minimum":5},"else":{"type":"string"}}`, `{"type":"integer","if":{"minimum":10},"then":{"multipleOf":10},"else":{"multipleOf":3}}`, `{"not":{"anyOf":[{"type":"string"},{"type":"number"},{"type":"object"},{"type":"array"}]}}`,
			`{"not":{"allOf":[{"type":"integer"},{"minimum":3}]},"type":"integer","minimum":0}`, `{"not":{"not":{"type":"integer"}}}`, `{"not":{"oneOf":[{"type":"integer","minimum":2},{"type":"integer","maximum":5}]},"type":"integer","minimum":0,"maximum":9}`,
			`{"$ref":"#/$defs/a~1b","$defs":{"a/b":{"type":"array","items":{"$ref":"#/$defs/a~1b"},"maxItems":2}}}`, `{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["v","next"]}`,
			`{"$defs":{"tree":{"type":"object","properties":{"l":{"$ref":"#/$defs/tree"},"r":{"$ref":"#/$defs/tree"},"x":{"type":"boolean"}},"required":["x"],"additionalProperties":false}},"$ref":"#/$defs/tree"}`,
			`{"$id":"https://example.com/s","$ref":"https://example.com/s#/$defs/x","$defs":{"x":{"type":"integer"}}}`,
			`{"$id":"https://example.com/s","properties":{"a":{"$ref":"item"},"b":{"$ref":"/other#part"}},"required":["a","b"],"$defs":{"i":{"$id":"item","type":"object","properties":{"n":{"$ref":"#/$defs/n"}},"required":["n"],"$defs":{"n":{"type":"integer"}}},"o":{"$id":"/other","$defs":{"p":{"$anchor":"part","const":1}}}}}`,
			`{"$ref":"urn:uuid:deadbeef-1234-00ff-ff00-4321feebdaed#/$defs/x%25y","$id":"urn:uuid:deadbeef-1234-00ff-ff00-4321feebdaed","$defs":{"v":{"$anchor":"v","type":["null","integer"]},"x%y":{"$ref":"#v"}}}`,
			`{"$schema":"https://json-schema.org/draft/2020-12/schema","$dynamicAnchor":"tree","type":"object","properties":{"n":{"type":"integer"},"next":{"type":"array","items":{"$dynamicRef":"#tree"},"maxItems":1}},"required":["n"],"additionalProperties":false}`,
			`{"$schema":"https://json-schema.org/draft/2019-09/schema","type":"object","properties":{"n":{"type":"integer"},"in":{"$recursiveRef":"#"}},"required":["n"],"additionalProperties":false}`,
			`{"$dynamicRef":"#/$defs/a%20b","$defs":{"a b":{"type":"boolean"}}}`,
			`{"$ref":"#item","$defs":{"i":{"$anchor":"item","type":"boolean"}}}`, `{"$ref":"#/$defs/n","$defs":{"n":{"type":"integer"}},"minimum":4,"maximum":8}`,
			`{"allOf":[{"$ref":"#/$defs/n"},{"$ref":"#/$defs/m"}],"$defs":{"n":{"type":"integer"},"m":{"multipleOf":4,"minimum":1}}}`, `{"$defs":{"json":{"anyOf":[{"type":"null"},{"type":"boolean"},{"type":"array","items":{"$ref":"#/$defs/json"},"maxItems":2},{"type":"object","additionalProperties":{"$ref":"#/$defs/json"},"maxProperties":2}]}},"$ref":"#/$defs/json"}`,
			`{"type":"array","items":{"anyOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false},{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"required":["a","b"],"additionalProperties":false}]},"maxItems":3}`,
			`{"$defs":{"e":{"anyOf":[{"type":"integer"},{"type":"object","properties":{"op":{"enum":["+","-"]},"l":{"$ref":"#/$defs/e"},"r":{"$ref":"#/$defs/e"}},"required":["op","l","r"]}]}},"$ref":"#/$defs/e"}`,
			`{"type":"object","properties":{"p":{"anyOf":[{"type":"string","minLength":3},{"type":"string","maxLength":1}]}},"required":["p"]}`, `{"allOf":[{"anyOf":[{"minimum":1},{"type":"string"}]},{"anyOf":[{"maximum":7},{"maxLength":3}]}],"type":["integer","string"]}`,
			`{"type":"object","properties":{"a":{"type":"integer"}},"anyOf":[{"properties":{"a":{"minimum":5}},"required":["a"]},{"properties":{"b":{"const":1}},"required":["b"]}]}`, `{"type":["object","array"],"properties":{"a":{"const":1}},"items":{"const":2},"required":["a"],"maxItems":2}`,
		},
	} {
		for i, s := range list {
			set[fmt.Sprintf("%s/%02d", group, i)] = s
		}
	}
	for name, s := range largeSchemas() {
		set["large/"+name] = s
	}
	return set
}

// ManyParts writes n parts, with commas between them, made from a format that has their number where it has @.
func ManyParts(n int, format string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strings.ReplaceAll(format, "@", fmt.Sprint(i))
	}
	return strings.Join(parts, ",")
}

// largeSchemas are of the sizes that applications come to.
func largeSchemas() map[string]string {
	order := `{"type":"object","properties":{"id":{"type":"string","format":"uuid"},"email":{"type":"string","format":"email"},"created":{"type":"string","format":"date-time"},"lines":{"type":"array","items":{"type":"object","properties":{"sku":{"type":"string","pattern":"^[A-Z]{3}-\\d{4}$"},"quantity":{"type":"integer","minimum":1,"maximum":99},"price":{"type":"number","minimum":0,"multipleOf":0.01}},"required":["sku","quantity","price"],"additionalProperties":false},"minItems":1,"maxItems":2},"status":{"enum":["new","paid","sent"]}},"required":["id","email","created","lines","status"],"additionalProperties":false}`
	nested := `{"type":"string","maxLength":3}`
	for i := range 12 {
		nested = fmt.Sprintf(`{"type":"object","properties":{"level%d":%s,"note":{"type":"string","maxLength":5}},"required":["level%d"],"additionalProperties":false}`, i, nested, i)
	}
	return map[string]string{
		"alike":           `{"type":"object","properties":{` + ManyParts(1500, `"a@":{"type":["string","number","object"],"maxProperties":1}`) + `},"maxProperties":3}`,
		"enum words":      `{"enum":[` + ManyParts(5000, `"word number @ of many"`) + `]}`,
		"enum numbers":    `{"enum":[` + ManyParts(3000, `1@`) + `]}`,
		"optional":        `{"type":"object","properties":{` + ManyParts(400, `"property @":{"type":"integer"}`) + `},"additionalProperties":false,"maxProperties":20}`,
		"required":        `{"type":"object","properties":{` + ManyParts(150, `"p@":{"type":"boolean"}`) + `},"required":[` + ManyParts(150, `"p@"`) + `]}`,
		"half required":   `{"type":"object","properties":{` + ManyParts(200, `"q@":{"enum":[@]}`) + `},"required":[` + ManyParts(60, `"q@0"`) + `],"additionalProperties":{"type":"null"},"maxProperties":210}`,
		"tuple":           `{"type":"array","prefixItems":[` + ManyParts(100, `{"const":@}`) + `],"minItems":100}`,
		"choice of types": `{"oneOf":[` + ManyParts(120, `{"type":"object","properties":{"type":{"const":"event_@"},"v@":{"type":"integer"}},"required":["type","v@"],"additionalProperties":false}`) + `]}`,
		"definitions":     `{"type":"object","properties":{` + ManyParts(60, `"r@":{"$ref":"#/$defs/d@"}`) + `},"required":["r3"],"maxProperties":6,"$defs":{` + ManyParts(60, `"d@":{"type":"object","properties":{"x":{"type":"integer","minimum":@},"y":{"type":"string","maxLength":9}},"required":["x"]}`) + `}}`,
		"order":           order,
		"orders":          `{"type":"array","items":` + order + `,"maxItems":2}`,
		"nested":          nested,
		"patterns":        `{"type":"object","properties":{` + ManyParts(40, `"c@":{"type":"string","pattern":"^K@-[A-Z]{2,5}(-\\d+)?$"}`) + `},"required":["c1","c2"],"maxProperties":5}`,
		"formats":         `{"type":"object","properties":{"a":{"type":"string","format":"date-time"},"b":{"type":"string","format":"uri"},"c":{"type":"string","format":"hostname"},"d":{"type":"string","format":"ipv6"},"e":{"type":"string","format":"duration"},"f":{"type":"string","format":"uuid"}},"required":["a","b","c","d","e","f"]}`,
		"conditions":      `{"type":"object","properties":{"kind":{"enum":[` + ManyParts(12, `"k@"`) + `]},"value":{"type":"integer"}},"required":["kind","value"],"allOf":[` + ManyParts(12, `{"if":{"properties":{"kind":{"const":"k@"}},"required":["kind"]},"then":{"properties":{"value":{"minimum":@,"maximum":1@}}}}`) + `]}`,
		"unique words":    `{"type":"array","uniqueItems":true,"items":{"enum":[` + ManyParts(300, `"w@"`) + `]},"minItems":30,"maxItems":40}`,
		"dictionary":      `{"type":"object","additionalProperties":{"type":"object","additionalProperties":{"type":"array","items":{"type":"integer"},"maxItems":2},"maxProperties":3},"maxProperties":3}`,
		"long text":       `{"type":"object","properties":{"text":{"type":"string","maxLength":20000},"summary":{"type":"string","minLength":10,"maxLength":500}},"required":["text","summary"]}`,
		"dependent":       `{"type":"object","properties":{` + ManyParts(12, `"p@":{"type":"boolean"}`) + `},"dependentRequired":{"p0":["p1"],"p2":["p3","p4"],"p5":["p6"]},"minProperties":2}`,
	}
}
