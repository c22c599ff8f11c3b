//! Go's verbs.

use crate::renders;

#[test]
fn verbs() {
    for (call, expected) in [
        ("\"%s\" \"a\"", "a"),
        (
            "\"%5s|%-5s|%.2s|%5.1s\" \"abc\" \"abc\" \"abc\" \"abc\"",
            "  abc|abc  |ab|    a",
        ),
        ("\"%3s|\" \"wörld\"", "wörld|"),
        ("\"%7s|\" \"wörld\"", "  wörld|"),
        (
            "\"%q %q %#q\" \"a\\\"b\\n\" \"é\" \"raw\"",
            "\"a\\\"b\\n\" \"é\" `raw`",
        ),
        ("\"%+q\" \"é\"", "\"\\u00e9\""),
        (
            "\"%x %X %#x % x\" \"hi\" \"hi\" \"hi\" \"hi\"",
            "6869 6869 0x6869 68 69",
        ),
        (
            "\"%d %5d|%-5d|%05d|%+d|% d\" 42 42 42 42 42 42",
            "42    42|42   |00042|+42| 42",
        ),
        (
            "\"%d %05d %x %X %#x %o %b %c %U %q\" -42 -42 255 255 255 8 5 65 0x2318 65",
            "-42 -0042 ff FF 0xff 10 101 A U+2318 'A'",
        ),
        ("\"%.3d|%.0d|%5.3d\" 7 0 7", "007||  007"),
        ("\"%v %v %v %v\" 1 \"a\" true 1.5", "1 a true 1.5"),
        ("\"%t %5t|\" true false", "true false|"),
        (
            "\"%f %.2f %8.3f|%-8.1f|%08.3f|%+.1f\" 1.5 1.005 3.14159 2.0 -3.14159 2.0",
            "1.500000 1.00    3.142|2.0     |-003.142|+2.0",
        ),
        (
            "\"%e %.2e %E\" 1500.0 1500.0 0.00015",
            "1.500000e+03 1.50e+03 1.500000E-04",
        ),
        (
            "\"%g %g %g %g %G\" 100000.0 1000000.0 0.0001 0.00001 1e10",
            "100000 1e+06 0.0001 1e-05 1E+10",
        ),
        (
            "\"%.3g %.3g %.10g %.3g\" 100.0 1234.0 1.5 0.00012345",
            "100 1.23e+03 1.5 0.000123",
        ),
        ("\"%v %v\" 123456.0 1234567.0", "123456 1.234567e+06"),
        (
            "\"%T %T %T %T %T\" 1 \"a\" true 1.5 nil",
            "int string bool float64 <nil>",
        ),
        ("\"%%|%5%\"", "%|%"),
        ("\"%*d|%-*d|%.*f\" 5 42 5 42 1 2.55", "   42|42   |2.5"),
        ("\"%[2]s %[1]s\" \"a\" \"b\"", "b a"),
        (
            "\"%05s|%05q|%.2T|%08T|%5T\" \"a\" 'x' 1 1 nil",
            "0000a|00'x'|in|00000int|<nil>",
        ),
        (
            "\"%U %08U %#U %.6U\" -1 1 120 1",
            "U+FFFFFFFFFFFFFFFF   U+0001 U+0078 'x' U+000001",
        ),
        (
            "\"%08O %#O %+v %08x %#08x\" 1 1 1 -255 255",
            "0o00000001 0o01 1 -00000ff 0x000000ff",
        ),
        (
            "\"%q %q\" \"a\\x00\\u200b\\u00ad\" \"😀\\u0301\"",
            "\"a\\x00\\u200b\\u00ad\" \"😀\u{301}\"",
        ),
        ("\"%#v %#v\" \"a\" 1", "\"a\" 1"),
    ] {
        renders(&format!("{{{{printf {call}}}}}"), expected);
    }
}

#[test]
fn compound_values() {
    for (template, expected) in [
        (
            "{{printf \"%v %d %s %q\" .Ports .Ports .Names .Names}}",
            "[80 443] [80 443] [web www] [\"web\" \"www\"]",
        ),
        ("{{printf \"%4d\" .Ports}}", "[  80  443]"),
        (
            "{{printf \"%v\" .State}}",
            "map[Health:<nil> Pid:42 Status:running]",
        ),
        (
            "{{printf \"%#v\" .Names}}",
            "[]interface {}{\"web\", \"www\"}",
        ),
        (
            "{{printf \"%v|%s|%d\" .Missing .Null nil}}",
            "<nil>|%!s(<nil>)|%!d(<nil>)",
        ),
        (
            "{{printf \"%T %T\" .Ports .State}}",
            "[]interface {} map[string]interface {}",
        ),
    ] {
        renders(template, expected);
    }
}

#[test]
fn mistakes_are_shown_in_the_text() {
    for (call, expected) in [
        ("\"%d\" \"hi\"", "%!d(string=hi)"),
        ("\"%s\" 23", "%!s(int=23)"),
        ("\"%f\" 23", "%!f(int=23)"),
        ("\"%d\" 1.5", "%!d(float64=1.5)"),
        ("\"%t\" 1", "%!t(int=1)"),
        ("\"%s\" true", "%!s(bool=true)"),
        ("\"hi%d\"", "hi%!d(MISSING)"),
        (
            "\"hi\" \"guys\" 1 nil",
            "hi%!(EXTRA string=guys, int=1, <nil>)",
        ),
        ("\"%z\" 5", "%!z(int=5)"),
        (
            "\"%5z|%08t|%+.3s\" 5 1 7",
            "%!z(int=    5)|%!t(int=00000001)|%!s(int=+007)",
        ),
        ("\"100%\"", "100%!(NOVERB)"),
        ("\"%.\"", "%!(NOVERB)"),
        ("\"%*d\" \"x\" 1", "%!(BADWIDTH)1"),
        ("\"%[5]d\" 1", "%!d(BADINDEX)"),
        ("\"%[x]d\" 1", "%!d(BADINDEX)"),
        ("\"%99999999999d\" 1", "%!(BADWIDTH)1"),
        ("\"%.99999d\" 1", "%!(BADPREC)1"),
        ("\"%é\" 1", "%!é(int=1)"),
    ] {
        renders(&format!("{{{{printf {call}}}}}"), expected);
    }
}
