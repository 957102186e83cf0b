use proptest::prelude::*;

use super::*;
use crate::ProcList;
use crate::columns::Clearance;

/// A list with the columns host, method, uri and bytes.
fn list() -> ProcList {
    let list = ProcList::new();
    list.set_cols(["host", "method", "uri", "bytes"]);
    list
}

/// Whether `expr` holds for the one task of a list.
fn holds(list: &ProcList, expr: &str) -> bool {
    let expr =
        Expr::parse(expr, Fields::of(list, Clearance::Secret)).unwrap_or_else(|invalid| panic!("{expr}: {invalid}"));
    let entries = list.entries();
    entries[0].with_live(|row| expr.holds(row, Moment::now(), Clearance::Secret)).expect("is running")
}

#[track_caller]
fn all_hold(list: &ProcList, exprs: &[&str]) {
    for expr in exprs {
        assert!(holds(list, expr), "{expr}");
    }
}

#[track_caller]
fn none_holds(list: &ProcList, exprs: &[&str]) {
    for expr in exprs {
        assert!(!holds(list, expr), "{expr}");
    }
}

#[track_caller]
fn answers(expr: &str, reply: &str) {
    let invalid = Expr::parse(expr, Fields::of(&list(), Clearance::Secret)).expect_err(expr);
    assert_eq!(invalid.to_string(), reply, "{expr}");
}

#[test]
fn texts_are_compared_whole_or_searched() {
    let list = list();
    let _task = list.start("req1").col("method", "GET").col("uri", "/export/7?a=b");
    all_hold(&list, &["id=req1", "status=init", "method=GET", "uri~export", "uri ~ /export", "uri=/export/7?a=b"]);
    all_hold(&list, &["method!=POST", "uri!~users", "method>=GET", "method<H", "uri~''"]);
    none_holds(&list, &["id=req", "method=get", "uri~users", "method!=GET", "uri!~export", "method<GET", "method>GET"]);
}

#[test]
fn and_binds_closer_than_or_and_not_closest() {
    let list = list();
    let _task = list.start("a").col("method", "GET");
    all_hold(&list, &["id=a or id=b and id=c", "not id=b", "not id=b and id=a", "NOT (id=b Or id=c)", "not not id=a"]);
    none_holds(&list, &["(id=a or id=b) and id=c", "not id=a", "not (id=a)", "not id=a or id=b", "not(id=a or id=b)"]);
    all_hold(
        &list,
        &["(id=a)and(method=GET)", "((id=a))", "id=x or id=y or id=a", "id=a and method=GET and status=init"],
    );
}

#[test]
fn numbers_are_numbers_unless_they_are_quoted() {
    let list = list();
    let _task = list.start("a").col("bytes", "10.0").col("host", "x");
    all_hold(&list, &["bytes=10", "bytes=1e1", "bytes>9", "bytes<=10", "bytes!=9", "bytes<'9'", "bytes='10.0'"]);
    none_holds(&list, &["bytes<9", "bytes='10'", "bytes>10", "host>1", "host<1", "host=1", "bytes=9"]);
}

#[test]
fn numbers_are_compared_exactly_and_never_by_their_spelling() {
    let list = list();
    let task = list.start("100").col("bytes", "9007199254740993");
    all_hold(&list, &["bytes=9007199254740993", "bytes>9007199254740992", "bytes<9007199254740994", "id=100"]);
    none_holds(&list, &["bytes=9007199254740992", "bytes>9007199254740993", "id=1e2", "id=0100"]);
    for (value, holding, failing) in [
        ("9", "bytes<1000000000000000", "bytes>1000000000000000"),
        ("999", "bytes<=1000000000000000", "bytes>=1000000000000000"),
        ("0.30000000000000004", "bytes>0.3", "bytes<=0.3"),
        ("1e16", "bytes>2e15", "bytes<2000000000000000"),
        ("18446744073709551616", "bytes>18446744073709551615", "bytes<=18446744073709551615"),
    ] {
        task.set_col("bytes", value);
        all_hold(&list, &[holding]);
        none_holds(&list, &[failing]);
    }
    for text in ["NaN", "inf", "n/a", "abc", ""] {
        task.set_col("bytes", text);
        none_holds(&list, &["bytes>1000000000000000", "bytes<1000000000000000", "bytes>=0", "bytes<0.1"]);
    }
    // Nor a word with a number, unless it is quoted.
    task.set_col("bytes", 17);
    none_holds(&list, &["bytes<abc", "bytes>abc", "bytes<n/a"]);
    all_hold(&list, &["bytes<'abc'", "bytes!=abc"]);
}

#[test]
fn a_value_that_shows_another_text_is_compared_by_itself_and_found_by_both() {
    let list = list();
    let _task = list.start("a").col_as("bytes", 3_435_973_836_u64, "3.2 GB");
    all_hold(&list, &["bytes>1e9", "bytes=3435973836", "bytes='3.2 GB'", "bytes~GB", "bytes!=3"]);
    none_holds(&list, &["bytes>4e9", "bytes!='3.2 GB'", "bytes~3435"]);
}

#[test]
fn durations_are_compared_with_the_times() {
    let list = list();
    let _task = list.start("a");
    all_hold(&list, &["time<1h", "time>=0", "in_status<1m30s", "time<'1m 30s'", "not time>30s", "in_status>=0.0"]);
    none_holds(&list, &["time>30s", "in_status>=1h", "time=1h"]);
}

#[test]
fn what_is_missing_is_empty_and_comes_in_no_order() {
    let list = list();
    let _task = list.start("a");
    all_hold(&list, &["host=\"\"", "host!=x", "host!~x", "not host=x", "host~''"]);
    none_holds(&list, &["host=x", "host~x", "host<x", "host>=''", "bytes<1", "bytes>=0", "host!=''"]);
}

#[test]
fn quotes_hold_blanks_and_spell_out_what_the_table_spells_out() {
    let list = list();
    list.set_cols(["host", "my col"]);
    let _task = list.start("a b").col("host", "it's (a) \"b\"\t\\").col("my col", "and");
    all_hold(&list, &[r#"host="it's (a) \"b\"\t\\""#, r"host~'it\'s'", r#""my col"=and"#, r#"'my col'~"an""#]);
    // An id is copied from the table.
    all_hold(&list, &[r"id=a\x20b", "id='a b'", r"id='a\x20b'", r"id~\x20b"]);
}

#[test]
fn a_secret_is_not_there_for_who_may_not_see_it() {
    let list = list();
    list.set_cols(["host", "token"]);
    let _task = list.start("a").secret_col("token", "8e2b");
    assert!(holds(&list, "token=8e2b"));
    let invalid = Expr::parse("token=8e2b", Fields::of(&list, Clearance::Public)).expect_err("is unknown");
    assert!(invalid.to_string().ends_with("no column of that name (id, status, time, in_status, host)"), "{invalid}");
    // An expression that was understood before the column became a secret.
    let earlier = Expr::parse("token~8", Fields::of(&list, Clearance::Secret)).expect("is known");
    assert_eq!(list.entries()[0].with_live(|row| earlier.holds(row, Moment::now(), Clearance::Public)), Some(false));
}

#[test]
fn a_mistake_is_answered_with_its_place() {
    const KNOWN: &str = "no column of that name (id, status, time, in_status, host, method, uri, bytes)";
    answers("tme>30s", &format!("invalid expression at 'tme': {KNOWN}"));
    answers("id=a and tme > 30s", &format!("invalid expression at 'tme': {KNOWN}"));
    let missing = "a column is missing: column=value, or ~ < > for =; not, and, or";
    answers("", &format!("invalid expression at the end: {missing}"));
    answers("id=a and", &format!("invalid expression at the end: {missing}"));
    answers("id=a and )", &format!("invalid expression at ')': {missing}"));
    answers("=x", &format!("invalid expression at '=x': {missing}"));
    answers("id", "invalid expression at the end: one of = != ~ !~ < <= > >= is missing before it");
    answers("id x", "invalid expression at 'x': one of = != ~ !~ < <= > >= is missing before it");
    answers("id!x", "invalid expression at '!x': one of = != ~ !~ < <= > >= is missing before it");
    answers("id==x", "invalid expression at '==': use one of = != ~ !~ < <= > >=");
    answers("id=>x", "invalid expression at '=>': use one of = != ~ !~ < <= > >=");
    let value = r#"a value is missing; quote one with blanks or parentheses, "" is the empty one"#;
    answers("id=", &format!("invalid expression at the end: {value}"));
    answers("(id=)", &format!("invalid expression at ')': {value}"));
    answers(
        "uri=a b",
        "invalid expression at 'b': and, or, or the end is missing before it; quote a value that has blanks",
    );
    answers("id=a)", "invalid expression at ')': there is no ( for it");
    answers(
        "(id=a",
        "invalid expression at the end: and, or, or ) is missing before it; quote a value that has blanks",
    );
    answers("id=\"a", "invalid expression at '\"a': the closing quote is missing");
    answers(r"id='\q'", r#"invalid expression at ''\q'': write \\ for a backslash, or \" \t \n \x1b \u{85}"#);
    answers("time>soon", "invalid expression at 'soon': time is a duration: 30s, 1.5 (seconds), 2m30s");
    answers(
        "time<1M",
        "invalid expression at '1M': time is a duration: 30s, 1.5 (seconds), 2m30s; m is a minute, months and years are not taken",
    );
    answers(
        "time>\"18446744073709551615s 1000000000ns\"",
        "invalid expression at '\"18446744073709551615s': time is a duration: 30s, 1.5 (seconds), 2m30s",
    );
    answers("in_status~3", "invalid expression at '3': in_status is a duration: compare it by < <= > >=");
    answers("x\x1b[2J=1", &format!("invalid expression at 'x\\x1b[2J': {KNOWN}"));
    let deep = format!("{}id=a", "not ".repeat(65));
    answers(&deep, "invalid expression at 'not': parentheses and not may be nested 64 deep");
    let many = ["id=a"; 33].join(" or ");
    answers(&many, "invalid expression at 'id=a': there may be 32 comparisons");
    let deep = format!("{}id=a", "(".repeat(4000));
    answers(&deep, "invalid expression at '(': parentheses and not may be nested 64 deep");
}

/// An expression as text, with what it says of a task as a model says it.
fn any_expr() -> impl Strategy<Value = (String, bool)> {
    let test = (
        "[a-c]{0,2}",
        prop_oneof![Just("="), Just("!="), Just("~"), Just("!~"), Just("<"), Just(">="), Just(">"), Just("<=")],
    );
    let leaf = test.prop_map(|(value, sign)| {
        let (cell, text) = ("ab", value.as_str());
        let holds = match sign {
            "=" => cell == text,
            "!=" => cell != text,
            "~" => cell.contains(text),
            "!~" => !cell.contains(text),
            "<" => cell < text,
            ">=" => cell >= text,
            ">" => cell > text,
            _ => cell <= text,
        };
        (format!("host{sign}'{value}'"), holds)
    });
    leaf.prop_recursive(6, 40, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|(text, holds)| (format!("not ({text})"), !holds)),
            (inner.clone(), inner.clone()).prop_map(|((a, x), (b, y))| (format!("({a}) and ({b})"), x && y)),
            (inner.clone(), inner).prop_map(|((a, x), (b, y))| (format!("({a}) OR ({b})"), x || y)),
        ]
    })
}

proptest! {
    #[test]
    fn an_expression_means_what_a_model_says((text, expected) in any_expr()) {
        let list = list();
        let _task = list.start("a").col("host", "ab");
        prop_assert_eq!(holds(&list, &text), expected, "{}", text);
    }

    #[test]
    fn whatever_is_typed_is_understood_or_answered_with_one_printable_line(text in "([ ()'\"\\\\=~!<>]|and|or|not|id|time|host|1s|\\PC){0,30}") {
        if let Err(invalid) = Expr::parse(&text, Fields::of(&list(), Clearance::Secret)) {
            prop_assert!(!invalid.to_string().contains(char::is_control));
        }
    }
}
