//! Actions, pipelines, variables, blocks and functions.

use hako_template::{Missing, Options};

use crate::{fails, refused, renders};

#[test]
fn fields_and_values() {
    for (template, expected) in [
        ("", ""),
        ("plain } text {", "plain } text {"),
        ("{{.ID}}", "4f2a"),
        ("{{ .ID }} {{.Name}}", "4f2a web"),
        ("{{.State.Status}}", "running"),
        ("{{.State.Pid}}", "42"),
        (
            "{{.Running}} {{.Ratio}} {{.Big}}",
            "true 0.5 1.073741824e+09",
        ),
        ("{{.Ports}}", "[80 443]"),
        ("{{.Mixed}}", "[1 a <nil> true [2]]"),
        ("{{.Labels}}", "map[a:1 b:2 com.example/x:dots]"),
        ("{{.State}}", "map[Health:<nil> Pid:42 Status:running]"),
        ("{{.Missing}}", "<no value>"),
        ("{{.Missing.Deeper}}", "<no value>"),
        ("{{.Null}}", "<no value>"),
        ("{{.Labels.c}}", "<no value>"),
        ("{{$.ID}}{{$.State.Pid}}", "4f2a42"),
        ("{{(.State).Pid}}", "42"),
        ("{{(index .Mounts 1).Source}}", "v"),
        (
            "{{true}} {{false}} {{1}} {{-2}} {{1.5}} {{1e3}} {{'a'}} {{0x10}}",
            "true false 1 -2 1.5 1000 97 16",
        ),
        ("{{\"q\\\"\\t\\u00e9\\x41\\101\"}}", "q\"\té\u{41}A"),
        ("{{`raw \\n \"x\"`}}", "raw \\n \"x\""),
        ("a\\tb\\nc", "a\tb\nc"),
        ("{{\"}}\"}}", "}}"),
        ("{{\n.ID\n}}", "4f2a"),
    ] {
        renders(template, expected);
    }
}

#[test]
fn trimming_and_comments() {
    for (template, expected) in [
        ("a  {{- .ID -}}  b", "a4f2ab"),
        ("a \n {{- 1}} b", "a1 b"),
        ("a {{1 -}} \n\t b", "a 1b"),
        ("{{- -3 -}}", "-3"),
        ("{{-3}}", "-3"),
        ("a{{/* comment {{.X}} */}}b", "ab"),
        ("a {{- /* x */ -}} b", "ab"),
        ("a {{/* x */ -}} b", "a b"),
        ("{{range .Ports -}} {{.}}, {{- end}}", "80,443,"),
    ] {
        renders(template, expected);
    }
    refused("{{/* x }}", "unclosed comment");
    refused("{{/* x */ 1}}", "comment ends before");
    refused("{{ /* x */}}", "unexpected '/'");
}

#[test]
fn pipelines() {
    for (template, expected) in [
        ("{{.ID | upper}}", "4F2A"),
        ("{{.Name | printf \"%s-%s\" .ID}}", "4f2a-web"),
        (
            "{{\"output\" | printf \"%s\" | printf \"%q\"}}",
            "\"output\"",
        ),
        ("{{printf \"%q\" (print \"out\" \"put\")}}", "\"output\""),
        ("{{print (len .Ports) (index .Ports 0)}}", "2 80"),
        ("{{(1 | print)}}", "1"),
        ("{{json .Ports}}", "[80,443]"),
        (
            "{{.State|json}}",
            "{\"Health\":null,\"Pid\":42,\"Status\":\"running\"}",
        ),
        ("{{json .Html}}", "\"<a href='x'>\\\"b\\\" & c</a>\""),
        ("{{json .Missing}}", "null"),
    ] {
        renders(template, expected);
    }
    refused("{{}}", "missing value for command");
    refused("{{.ID | }}", "missing command after |");
    refused("{{ | print}}", "missing command before |");
    refused("{{.ID || print}}", "missing command after |");
    refused("{{1 | 2}}", "non executable command in pipeline stage 2");
    refused("{{1 | .}}", "non executable command in pipeline stage 2");
    refused("{{\"a\"\"b\"}}", "unexpected \"b\" in operand");
    refused("{{(1}}", "unclosed left parenthesis");
    refused("{{1)}}", "unexpected right parenthesis");
    refused("{{len .X, 1}}", "unexpected , in operand");
    fails(
        "{{1 2}}",
        Options::default(),
        "can't give argument to non-function",
    );
    fails(
        "{{.ID 1}}",
        Options::default(),
        "ID has arguments but cannot be invoked as function",
    );
    fails("{{1 | .ID}}", Options::default(), "ID has arguments");
    fails("{{nil}}", Options::default(), "nil is not a command");
}

#[test]
fn conditions() {
    for (template, expected) in [
        ("{{if .Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Empty}}a{{else}}b{{end}}", "b"),
        (
            "{{if .Zero}}a{{else if .Null}}b{{else if .ID}}c{{else}}d{{end}}",
            "c",
        ),
        (
            "{{if .None}}a{{end}}{{if .Labels}}b{{end}}{{if 0.0}}c{{end}}{{if .Missing}}d{{end}}",
            "b",
        ),
        ("{{if and .Running (eq .State.Pid 42)}}y{{end}}", "y"),
        ("{{with .State}}{{.Pid}}{{end}}{{.ID}}", "424f2a"),
        ("{{with .Missing}}a{{else}}{{.ID}}{{end}}", "4f2a"),
        (
            "{{with .Empty}}a{{else with .Name}}{{.}}{{else}}b{{end}}",
            "web",
        ),
        ("{{with $x := .Name}}{{$x}}{{.}}{{end}}", "webweb"),
        ("{{if $x := .Zero}}{{$x}}{{else}}no {{$x}}{{end}}", "no 0"),
        ("{{with .State}}{{$.ID}}{{end}}", "4f2a"),
    ] {
        renders(template, expected);
    }
    refused("{{if}}{{end}}", "missing value for if");
    refused("{{if .A}}", "{{if}} has no {{end}}");
    refused("{{if .A}}{{else}}", "{{if}} has no {{end}}");
    refused("{{if .A}}{{else}}{{else}}{{end}}", "a second {{else}}");
    refused("{{end}}", "unexpected {{end}}");
    refused("{{else}}", "unexpected {{else}}");
    refused(
        "{{if .A}}{{else with .B}}{{end}}",
        "unexpected with in else",
    );
    refused("{{if .A}}{{end .B}}", "unexpected .B in end");
}

#[test]
fn loops() {
    for (template, expected) in [
        ("{{range .Ports}}{{.}};{{end}}", "80;443;"),
        (
            "{{range $i, $p := .Ports}}{{$i}}={{$p}} {{end}}",
            "0=80 1=443 ",
        ),
        ("{{range $p := .Ports}}{{$p}} {{end}}", "80 443 "),
        (
            "{{range $k, $v := .Labels}}{{$k}}={{$v}},{{end}}",
            "a=1,b=2,com.example/x=dots,",
        ),
        ("{{range .Labels}}{{.}}{{end}}", "12dots"),
        ("{{range .None}}a{{else}}none{{end}}", "none"),
        ("{{range .Missing}}a{{else}}none{{end}}", "none"),
        ("{{range .Null}}a{{else}}none{{end}}", "none"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range $i := 2}}{{$i}}{{end}}", "01"),
        (
            "{{range .Mounts}}{{.Type}}:{{.Source}} {{$.ID}} {{end}}",
            "bind:/a 4f2a volume:v 4f2a ",
        ),
        (
            "{{range .Ports}}{{if eq . 443}}{{break}}{{end}}{{.}}{{end}}",
            "80",
        ),
        (
            "{{range .Ports}}{{if eq . 80}}{{continue}}{{end}}{{.}}{{end}}",
            "443",
        ),
        (
            "{{range 3}}{{$o := .}}{{range 3}}{{if eq . 1}}{{break}}{{end}}{{$o}}{{.}} {{end}}{{end}}",
            "00 10 20 ",
        ),
        ("{{range split \"a,b\" \",\"}}<{{.}}>{{end}}", "<a><b>"),
        (
            "{{range $i, $e := .Names}}{{if $i}}, {{end}}{{$e}}{{end}}",
            "web, www",
        ),
        ("{{$n := 0}}{{range $n = .Ports}}{{end}}{{$n}}", "443"),
    ] {
        renders(template, expected);
    }
    fails(
        "{{range .ID}}{{end}}",
        Options::default(),
        "range can't iterate over string",
    );
    fails(
        "{{range 1.5}}{{end}}",
        Options::default(),
        "range can't iterate over float64",
    );
    refused("{{break}}", "{{break}} outside {{range}}");
    refused(
        "{{if .A}}{{continue}}{{end}}",
        "{{continue}} outside {{range}}",
    );
    refused("{{range .A}}{{else}}{{break}}{{end}}", "{{break}} outside");
    refused(
        "{{range $a, $b, $c := .A}}{{end}}",
        "expected a variable and :=",
    );
    refused("{{if $a, $b := .A}}{{end}}", "undefined variable");
    refused("{{range $a, .B}}{{end}}", "expected a variable");
}

#[test]
fn variables() {
    for (template, expected) in [
        ("{{$x := 1}}{{$x}}{{$x = 2}}{{$x}}", "12"),
        ("{{$x := .State}}{{$x.Pid}}", "42"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 0}}{{range .Ports}}{{$x = .}}{{end}}{{$x}}", "443"),
        ("{{$x := print \"a\" | printf \"%s%s\" \"b\"}}{{$x}}", "ba"),
        ("{{$x := .Missing}}{{$x}}", "<no value>"),
        ("{{ $x:=5 }}{{$x}}", "5"),
    ] {
        renders(template, expected);
    }
    refused("{{$x}}", "undefined variable \"$x\"");
    refused("{{$x = 1}}", "undefined variable \"$x\"");
    refused("{{if true}}{{$x := 1}}{{end}}{{$x}}", "undefined variable");
    refused("{{range $x := .A}}{{end}}{{$x}}", "undefined variable");
    refused("{{$ := 1}}", "$ cannot be set");
    refused("{{$x := }}", "missing value");
    refused("{{$x, $y := 1}}", "undefined variable \"$x\"");
}

#[test]
fn comparisons() {
    for (template, expected) in [
        ("{{eq .ID \"4f2a\"}} {{ne .ID \"x\"}}", "true true"),
        (
            "{{eq .Size 1024}} {{eq .Size 1 2 1024}} {{eq .Size 1 2}}",
            "true true false",
        ),
        (
            "{{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge 2 1}}",
            "true true false true",
        ),
        ("{{lt \"a\" \"b\"}} {{gt \"a\" \"b\"}}", "true false"),
        ("{{eq 1 1.0}} {{lt 1 1.5}}", "true true"),
        (
            "{{eq 18446744073709551615 -1}} {{gt 18446744073709551615 -1}}",
            "false true",
        ),
        (
            "{{eq .Missing nil}} {{eq .Missing \"x\"}} {{eq .Null nil}} {{ne .Missing 1}}",
            "true false true true",
        ),
        ("{{eq true .Running}}", "true"),
        ("{{not .Running}} {{not 0}} {{not \"\"}}", "false true true"),
        (
            "{{and 1 0 2}} {{and 1 2}} {{or 0 \"\" 3}} {{or 0 \"\"}} {{and 0}}",
            "0 2 3  0",
        ),
        ("{{or .Running (index .Ports 99)}}", "true"),
        ("{{and false (index .Ports 99)}}", "false"),
        ("{{1 | and 2}} {{0 | or 0}}", "1 0"),
    ] {
        renders(template, expected);
    }
    for (template, expected) in [
        ("{{eq 1}}", "missing argument for comparison"),
        ("{{eq}}", "missing argument for comparison"),
        ("{{lt 1 2 3}}", "wrong number of args: want 2 got 3"),
        (
            "{{eq \"1\" 1}}",
            "incompatible types for comparison: string and int",
        ),
        ("{{lt \"1\" 1}}", "incompatible types"),
        ("{{lt true false}}", "invalid type for comparison"),
        ("{{lt .Missing 1}}", "invalid type for comparison"),
        ("{{eq .Ports .Ports}}", "non-comparable type"),
        ("{{and}}", "want at least 1 got 0"),
        ("{{not}}", "want 1 got 0"),
        ("{{not 1 2}}", "want 1 got 2"),
    ] {
        fails(template, Options::default(), expected);
    }
}

#[test]
fn collections() {
    for (template, expected) in [
        (
            "{{len .Ports}} {{len .Labels}} {{len .Uni}} {{len \"\"}}",
            "2 3 13 0",
        ),
        (
            "{{index .Ports 1}} {{index .Labels \"com.example/x\"}} {{index .Mixed 4 0}}",
            "443 dots 2",
        ),
        (
            "{{index .Labels \"none\"}} {{index .Ports}} {{index \"abc\" 1}}",
            "<no value> [80 443] 98",
        ),
        ("{{index .Mounts 0 \"Type\"}}", "bind"),
        (
            "{{slice .ID 1}} {{slice .ID 1 3}} {{slice .ID}} {{slice .Ports 1 2}}",
            "f2a f2 4f2a [443]",
        ),
        ("{{slice .Mixed 0 1 2}}", "[1]"),
        (
            "{{join .Names \", \"}} {{join .Mixed \"-\"}} [{{join .Missing \",\"}}]",
            "web, www 1-a-<nil>-true-[2] []",
        ),
        ("{{join .Labels \",\"}}", "1,2,dots"),
        (
            "{{split \"a,b,c\" \",\"}} {{split \"abc\" \"\"}} {{len (split \"\" \",\")}}",
            "[a b c] [a b c] 1",
        ),
        ("{{index (split .ID \"f\") 0}}", "4"),
        ("{{json (split \"a,b\" \",\")}}", "[\"a\",\"b\"]"),
    ] {
        renders(template, expected);
    }
    for (template, expected) in [
        (
            "{{index .Ports 2}}",
            "error calling index: index out of range: 2",
        ),
        ("{{index .Ports -1}}", "out of range: -1"),
        (
            "{{index .Ports \"a\"}}",
            "cannot index slice/array with type string",
        ),
        (
            "{{index .Ports nil}}",
            "cannot index slice/array with type <nil>",
        ),
        (
            "{{index .Labels 1}}",
            "value has type int; should be string",
        ),
        ("{{index .Missing 1}}", "index of untyped nil"),
        ("{{index nil}}", "index of untyped nil"),
        ("{{index .Size 1}}", "can't index item of type int"),
        ("{{len .Size}}", "len of type int"),
        ("{{len .Null}}", "len of nil pointer"),
        ("{{slice .ID 3 2}}", "out of range"),
        ("{{slice .ID 0 9}}", "out of range"),
        ("{{slice .ID 0 1 2}}", "cannot 3-index slice a string"),
        ("{{slice .Uni 0 2}}", "cuts a character"),
        ("{{slice .Size}}", "can't slice item of type int"),
        ("{{join .ID \",\"}}", "expected slice, got string"),
        ("{{split 1 \",\"}}", "expected string; got int"),
    ] {
        fails(template, Options::default(), expected);
    }
}

#[test]
fn texts() {
    for (template, expected) in [
        (
            "{{lower \"ÄB\"}} {{upper .Uni}} {{title \"ab cd-ef g_h they're\"}}",
            "äb HÉLLO WÖRLD Ab Cd-Ef G_h They'Re",
        ),
        (
            "{{truncate .ID 2}} {{truncate .ID 9}} {{truncate .Uni 2}}",
            "4f 4f2a hé",
        ),
        ("[{{pad .ID 1 2}}] [{{pad \"\" 1 2}}]", "[ 4f2a  ] []"),
        (
            "{{html .Html}}",
            "&lt;a href=&#39;x&#39;&gt;&#34;b&#34; &amp; c&lt;/a&gt;",
        ),
        (
            "{{js .Html}}",
            "\\u003Ca href\\u003D\\'x\\'\\u003E\\\"b\\\" \\u0026 c\\u003C/a\\u003E",
        ),
        ("{{urlquery \"a b&c=d/é~\"}}", "a+b%26c%3Dd%2F%C3%A9~"),
        ("{{print 1 2 \"a\" \"b\" 3 4 true}}", "1 2ab3 4 true"),
        ("{{println 1 \"a\" nil}}", "1 a <nil>\n"),
        ("{{print nil .Missing}}", "<nil> <nil>"),
        (
            "{{html 1 2}} {{html nil}} {{urlquery .Missing}}",
            "1 2 &lt;no value&gt; %3Cno+value%3E",
        ),
        (
            "{{upper \"ß é\"}} {{js \"\\u200b\\u00ad😀\"}}",
            "ß É \\u200B\\u00AD😀",
        ),
        (
            "{{json 3.0}} {{json 1e20}} {{json 1e21}} {{json 1e-7}} {{json 0.5}}",
            "3 100000000000000000000 1e+21 1e-7 0.5",
        ),
        ("{{json \"\\u2028<&>\"}}", "\"\\u2028<&>\""),
    ] {
        renders(template, expected);
    }
    fails(
        "{{lower 1}}",
        Options::default(),
        "error calling lower: wrong type: expected string; got int",
    );
    fails(
        "{{lower .Missing}}",
        Options::default(),
        "expected string; got <nil>",
    );
    fails(
        "{{truncate .ID -1}}",
        Options::default(),
        "out of range: -1",
    );
    fails(
        "{{json}}",
        Options::default(),
        "wrong number of args: want 1 got 0",
    );
    refused("{{nope .ID}}", "function \"nope\" not defined");
    refused("{{call .ID}}", "function \"call\" not defined");
}

#[test]
fn wrong_fields() {
    fails(
        "{{.ID.X}}",
        Options::default(),
        "can't evaluate field X in type string",
    );
    fails(
        "{{.Ports.X}}",
        Options::default(),
        "can't evaluate field X in type []interface {}",
    );
    fails(
        "{{.State.Health.Status}}",
        Options::default(),
        "nil pointer evaluating .Status",
    );
    let strict = Options {
        missing: Missing::Error,
        maps: &["Labels"],
        ..Options::default()
    };
    fails(
        "a\n  {{.Nope}}",
        strict,
        "the format failed at 2:5: can't evaluate field Nope",
    );
    fails("{{.State.Nope}}", strict, "can't evaluate field Nope");
    fails("{{if .Nope}}{{end}}", strict, "can't evaluate field Nope");
    let template = hako_template::Template::parse_with(
        "{{.Labels.nope}} {{with .Labels}}{{.nope}}{{end}} [{{index .Labels \"nope\"}}] {{.Labels.a}}",
        strict,
    )
    .unwrap();
    let text = template.render_to_string(&crate::data()).unwrap();
    assert_eq!(text, "<no value> <no value> [] 1");
}

#[test]
fn methods() {
    fn methods(
        receiver: &serde_json::Value,
        name: &str,
        arguments: &[serde_json::Value],
    ) -> Option<Result<serde_json::Value, String>> {
        match (name, arguments) {
            ("Label", [key]) => Some(match key.as_str() {
                Some(key) => Ok(receiver["Labels"][key].clone()),
                None => Err("needs a name".into()),
            }),
            ("Upper", []) => Some(Ok(receiver["ID"].as_str()?.to_uppercase().into())),
            _ => None,
        }
    }
    let options = Options {
        methods: Some(methods),
        ..Options::default()
    };
    for (template, expected) in [
        (
            "{{.Label \"a\"}} {{\"b\" | .Label}} {{$.Label \"a\"}} {{.Upper}}",
            "1 2 1 4F2A",
        ),
        ("{{range .Ports}}{{$.Upper}}{{end}}", "4F2A4F2A"),
    ] {
        let read = hako_template::Template::parse_with(template, options).unwrap();
        assert_eq!(read.render_to_string(&crate::data()).unwrap(), expected);
    }
    fails("{{.Label 1}}", options, "error calling Label: needs a name");
    fails("{{.Other 1}}", options, "Other has arguments");
}

#[test]
fn what_is_not_a_template() {
    for (template, expected) in [
        ("{{", "at 1:1: unclosed action"),
        ("ab\ncd{{.ID", "at 2:3: unclosed action"),
        ("{{\"abc}}", "unterminated string"),
        ("{{\"a\nb\"}}", "unterminated string"),
        ("{{`abc}}", "unterminated raw string"),
        ("{{\"\\q\"}}", "unknown escape"),
        ("{{\"\\x4\"}}", "unknown escape"),
        ("{{\"\\ud800\"}}", "unknown escape"),
        ("{{\"\\xff\"}}", "not UTF-8"),
        ("{{''}}", "malformed character"),
        ("{{'ab'}}", "malformed character"),
        ("{{.Labels.a-b}}", "unexpected '-' after a name"),
        ("{{.A/b}}", "unexpected '/' after a name"),
        ("{{#}}", "unexpected '#'"),
        ("{{1x}}", "is not a number"),
        ("{{99999999999999999999}}", "is not a number"),
        ("{{.A.}}", "unexpected . in operand"),
        ("{{.A .}}", ""),
        ("{{\"x\".A}}", "unexpected .A"),
        ("{{len.A}}", "unexpected .A after term"),
        ("{{nil.A}}", "unexpected .A after term"),
        ("{{: 1}}", "expected :="),
        ("{{define \"x\"}}{{end}}", "{{define}} is not supported"),
        ("{{template \"x\"}}", "{{template}} is not supported"),
        ("{{block \"x\" .}}{{end}}", "{{block}} is not supported"),
        ("{{.A}", "unexpected '}'"),
    ] {
        if expected.is_empty() {
            assert!(hako_template::Template::parse(template).is_ok());
        } else {
            refused(template, expected);
        }
    }
}
