package grammar

// JSONObject holds an answer to one JSON object. White space is bounded, and no two rules for it are
// adjacent: a model could otherwise write spaces without end, and the matcher would follow every way
// of splitting them.
const JSONObject = "root ::= object\n" + jsonRules

// jsonRules are the rules of JSON, and of the formats of strings that schemas name.
const jsonRules = `object  ::= "{" space ( member ( "," space member )* )? "}"
member  ::= string space ":" space value space
array   ::= "[" space ( element ( "," space element )* )? "]"
element ::= value space
value   ::= object | array | string | number | "true" | "false" | "null"
string  ::= "\"" char* "\""
char    ::= [^"\\\x00-\x1F\x7F] | "\\" escape
escape  ::= ["\\/bfnrt] | "u" hex hex hex hex
hex     ::= [0-9a-fA-F]
number  ::= "-"? whole ( "." [0-9]{1,15} )? ( [eE] [-+]? [0-9]{1,3} )?
whole   ::= "0" | [1-9] [0-9]{0,15}
integer ::= "-"? whole
boolean ::= "true" | "false"
null    ::= "null"
date    ::= [0-9]{4} "-" ( "0" [1-9] | "1" [0-2] ) "-" ( "0" [1-9] | [1-2] [0-9] | "3" [0-1] )
hour    ::= [0-1] [0-9] | "2" [0-3]
time    ::= hour ":" [0-5] [0-9] ":" [0-5] [0-9] ( "." [0-9]{1,6} )? ( "Z" | [-+] hour ":" [0-5] [0-9] )
date-time ::= date "T" time
uuid    ::= hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12}
space   ::= [ \t\n]{0,12}
`
