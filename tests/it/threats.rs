//! Every kind of hostile SQL that is known to us, sent to the real program: each is stopped or bounded, in time
//! and in memory, and the next call works. `--nocapture` shows what each stop took.

#![expect(clippy::print_stdout, reason = "what each stop took is for a person to read")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::process::{Server, call, must};
use crate::support::{content, refusal};

/// The deadline of a statement here.
const DEADLINE: Duration = Duration::from_millis(200);
/// One step that no deadline cuts short may take as long as this on a slow machine, and no longer.
const STEP: Duration = Duration::from_secs(20);
/// `statement_memory` here, and how much the process may grow by one statement: that, the rows on their way out
/// and what the allocator keeps.
const MEMORY: u64 = 32 << 20;
const GROWTH: u64 = MEMORY * 3;

/// How a statement ends.
enum End {
    /// It reaches this bound.
    At(&'static str),
    /// It reaches one of its bounds, whichever comes first.
    Stopped,
    /// It is never begun: the refusal says what is let through.
    Denied,
    /// Refused or not, it comes back and takes no more than its share.
    Back,
}

use End::{At, Back, Denied, Stopped};

struct Threat {
    name: &'static str,
    /// What was stored before.
    given: Vec<String>,
    sql: String,
    end: End,
    /// Sent by `sql_query` too.
    reads: bool,
}

fn threat(name: &'static str, sql: impl Into<String>, end: End) -> Threat {
    Threat { name, given: Vec::new(), sql: sql.into(), end, reads: true }
}

impl Threat {
    fn given(mut self, statements: &[&str]) -> Self {
        self.given = statements.iter().map(|sql| (*sql).to_owned()).collect();
        self
    }

    fn writes(mut self) -> Self {
        self.reads = false;
        self
    }
}

/// As good as endless.
const C: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 1000000000)";
/// A value of the largest size.
const BIG: &str = "printf('%.*c', 1000000, 'x')";

fn endless() -> Vec<Threat> {
    let cross = "(SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5)";
    let crossed: Vec<_> = (0..20).map(|at| format!("{cross} x{at}")).collect();
    vec![
        threat("endless recursion", format!("{C} SELECT count(*) FROM c"), At("statement_deadline")),
        threat(
            "endless recursion that finds nothing",
            format!("{C} SELECT n FROM c WHERE n < 0"),
            At("statement_deadline"),
        ),
        threat(
            "endless recursion without duplicates",
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION SELECT n + 1 FROM c) SELECT count(*) FROM c",
            Stopped,
        ),
        threat("cross join", format!("SELECT count(*) FROM {}", crossed.join(", ")), At("statement_deadline")),
        threat(
            "cross join that finds nothing",
            format!("SELECT 1 FROM {} WHERE x0.n + x19.n > 99", crossed.join(", ")),
            At("statement_deadline"),
        ),
        threat(
            "window of everything",
            format!(
                "{C} SELECT sum(n) OVER (ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM c"
            ),
            Stopped,
        ),
        threat(
            "window of windows",
            format!(
                "{C}, d AS (SELECT n FROM c LIMIT 20000) SELECT count(*) FROM (SELECT sum(n) OVER (ORDER BY n ROWS BETWEEN 10000 PRECEDING AND CURRENT ROW EXCLUDE TIES) FROM d)"
            ),
            Stopped,
        ),
        threat(
            "window of ranks",
            format!("{C} SELECT max(r) FROM (SELECT ntile(7) OVER (ORDER BY n DESC) r FROM c)"),
            Stopped,
        ),
        threat(
            "nth_value far away",
            format!(
                "{C}, d AS (SELECT n FROM c LIMIT 20000) SELECT count(v) FROM (SELECT nth_value(n, 9999) OVER (ORDER BY n ROWS BETWEEN 9999 PRECEDING AND 9999 FOLLOWING) v FROM d)"
            ),
            Stopped,
        ),
        threat(
            "json_each of itself",
            "SELECT count(*) FROM json_each('[1,2,3,4,5,6,7,8,9]') a, json_each('[1,2,3,4,5,6,7,8,9]') b, json_each('[1,2,3,4,5,6,7,8,9]') c, json_each('[1,2,3,4,5,6,7,8,9]') d, json_each('[1,2,3,4,5,6,7,8,9]') e, json_each('[1,2,3,4,5,6,7,8,9]') f, json_each('[1,2,3,4,5,6,7,8,9]') g, json_each('[1,2,3,4,5,6,7,8,9]') h",
            At("statement_deadline"),
        ),
        threat(
            "json_tree of a large text",
            "WITH j(t) AS (SELECT '[' || replace(printf('%.*c', 400000, 'x'), 'x', '1,') || '1]') SELECT count(*) FROM j, json_tree(t) a, json_tree(t) b",
            Stopped,
        ),
        threat(
            "json_tree, deep",
            "WITH j(t) AS (SELECT printf('%.*c', 900, '[') || printf('%.*c', 900, ']')) SELECT count(a.fullkey) FROM j, json_tree(t) a, json_tree(t) b",
            Back,
        ),
        threat(
            "correlated subqueries",
            format!(
                "{C}, d AS (SELECT n FROM c LIMIT 3000) SELECT count(*) FROM d x WHERE EXISTS (SELECT 1 FROM d y WHERE y.n = -x.n)"
            ),
            Stopped,
        ),
        threat("LIKE, pathological", format!("SELECT {BIG} LIKE '%x%x%x%x%x%x%x%x%x%x%x%x%x%xy'"), Back),
        threat("GLOB, pathological", format!("SELECT {BIG} GLOB '*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*xy'"), Back),
        threat(
            "LIKE, again and again",
            format!("{C} SELECT count(*) FROM c WHERE printf('%.*c', 1000, 'x') || n LIKE '%x%x%x%x%x%x%x%x%x%x%x%xy'"),
            Stopped,
        ),
        threat(
            "page by page to the end",
            format!("{C} SELECT n FROM c WHERE n % 10000000 = 0"),
            At("statement_deadline"),
        ),
    ]
}

fn memory() -> Vec<Threat> {
    let many = |count: usize, part: &str, between: &str| vec![part; count].join(between);
    vec![
        threat("sort of everything", format!("{C} SELECT n FROM c ORDER BY random()"), Stopped),
        threat("sort of large rows", format!("{C} SELECT n, hex(randomblob(5000)) FROM c ORDER BY 2"), Stopped),
        threat("group by everything", format!("{C} SELECT hex(randomblob(50)), count(*) FROM c GROUP BY 1"), Stopped),
        threat(
            "distinct everything",
            format!("{C} SELECT count(*) FROM (SELECT DISTINCT hex(randomblob(500)) FROM c)"),
            Stopped,
        ),
        threat("union of everything", format!("{C} SELECT hex(randomblob(500)) FROM c UNION SELECT 1"), Stopped),
        threat("except of everything", format!("{C} SELECT hex(randomblob(500)) FROM c EXCEPT SELECT 1"), Stopped),
        threat("IN of everything", format!("{C} SELECT 1 WHERE 'x' IN (SELECT hex(randomblob(500)) FROM c)"), Stopped),
        threat("count distinct", format!("{C} SELECT count(DISTINCT hex(randomblob(500))) FROM c"), Stopped),
        threat(
            "materialized",
            format!("{C}, m AS MATERIALIZED (SELECT hex(randomblob(500)) h FROM c) SELECT count(*) FROM m a, m b"),
            Stopped,
        ),
        threat(
            "index on the fly",
            format!(
                "{C}, m AS MATERIALIZED (SELECT n, hex(randomblob(500)) h FROM c) SELECT count(*) FROM m a JOIN m b USING (n)"
            ),
            Stopped,
        ),
        threat("group_concat", format!("{C} SELECT group_concat(hex(randomblob(50))) FROM c"), Stopped),
        threat("group_concat in order", format!("{C} SELECT group_concat(n ORDER BY random()) FROM c"), Stopped),
        threat(
            "group_concat by groups",
            format!("{C} SELECT n % 500, group_concat(hex(randomblob(50))) FROM c GROUP BY 1"),
            Stopped,
        ),
        threat("json_group_array", format!("{C} SELECT json_group_array(hex(randomblob(50))) FROM c"), Stopped),
        threat("json_group_object", format!("{C} SELECT json_group_object(n, hex(randomblob(50))) FROM c"), Stopped),
        threat(
            "aggregate with a filter",
            format!("{C} SELECT group_concat(n) FILTER (WHERE n > 0), json_group_array(n) FILTER (WHERE n > 1) FROM c"),
            Stopped,
        ),
        threat(
            "group_concat in a window",
            format!("{C} SELECT group_concat(hex(randomblob(50))) OVER (ORDER BY n) FROM c"),
            Stopped,
        ),
        threat("zeroblob", "SELECT zeroblob(1000000000)", At("value_bytes")),
        threat("randomblob", "SELECT randomblob(1000000000)", At("value_bytes")),
        threat("hex of zeroblob", "SELECT hex(zeroblob(1000000))", At("value_bytes")),
        threat("printf", "SELECT printf('%.*c', 1000000000, 'x')", Back),
        threat("printf of width", "SELECT printf('%1000000000d', 1), format('%2000000000.1f', 1.0)", Back),
        threat("printf of digits", "SELECT printf('%.1000000000f', 1e300), printf('%,1000000000d', 9)", Back),
        threat(
            "replace that doubles",
            "SELECT replace(replace(replace(printf('%.*c', 1000000, 'x'), 'x', 'xxxxxxxxxx'), 'x', 'xxxxxxxxxx'), 'x', 'xxxxxxxxxx')",
            At("value_bytes"),
        ),
        threat("quote of a blob", "SELECT quote(zeroblob(900000))", At("value_bytes")),
        threat("100 columns of 1 MB", format!("SELECT {}", many(100, BIG, ",")), Stopped),
        threat(
            "2,000 values of 1 MB",
            format!("SELECT {}", vec![format!("max({})", many(31, BIG, ",")); 66].join(",")),
            Stopped,
        ),
        threat(
            "2,500 values of 1 MB from one",
            format!(
                "SELECT {}",
                vec![
                    format!("length(max({}))", (0..30).map(|at| format!("b||{at}")).collect::<Vec<_>>().join(","));
                    80
                ]
                .join(",")
            ) + &format!(" FROM (SELECT {BIG} b)"),
            Stopped,
        ),
        threat(
            "1 MB, compared in 3,000 places",
            format!("SELECT 1 WHERE {}", vec![format!("(1 IN ({}))", many(30, BIG, ",")); 90].join("+")),
            Stopped,
        ),
        threat(
            "values that double",
            "WITH RECURSIVE c(n, t) AS (SELECT 1, 'x' UNION ALL SELECT n + 1, t || t FROM c LIMIT 100) SELECT max(length(t)) FROM c",
            At("value_bytes"),
        ),
        threat(
            "recursion over large rows",
            format!(
                "WITH RECURSIVE c(n, t) AS (SELECT 1, {BIG} UNION ALL SELECT n + 1, t || '' FROM c ORDER BY 1 DESC LIMIT 100000) SELECT count(*) FROM c"
            ),
            Stopped,
        ),
        threat(
            "recursion that fans out",
            "WITH RECURSIVE c(n, t) AS (SELECT 1, printf('%.*c', 100000, 'x') UNION ALL SELECT c.n + v.n, c.t FROM c, (SELECT 1 n UNION ALL SELECT 2) v) SELECT count(*) FROM c",
            Stopped,
        ),
        threat(
            "VALUES of large rows",
            format!("SELECT count(*) FROM (VALUES {})", many(49, &format!("({BIG})"), ",")),
            Stopped,
        ),
        threat("json, deep", "SELECT json_valid(printf('%.*c', 900000, '['))", Back),
        threat("json, deep and whole", "SELECT json(printf('%.*c', 400000, '[') || printf('%.*c', 400000, ']'))", Back),
        threat(
            "json of many numbers",
            "SELECT length(jsonb('[' || replace(printf('%.*c', 400000, 'x'), 'x', '1,') || '1]'))",
            Back,
        ),
        threat(
            "json_set of a large path",
            "SELECT json_set('[' || replace(printf('%.*c', 300000, 'x'), 'x', '1,') || '1]', '$[#]', 1, '$[#]', 2, '$[299999]', 3)",
            Back,
        ),
        threat(
            "json_extract of many paths",
            format!(
                "SELECT json_extract('[' || replace(printf('%.*c', 400000, 'x'), 'x', '1,') || '1]', {})",
                vec!["'$[399999]'"; 30].join(",")
            ),
            Back,
        ),
        threat("json_array of large values", format!("SELECT json_array({})", many(31, BIG, ",")), Stopped),
        threat("concat_ws of large values", format!("SELECT concat_ws(',', {})", many(30, BIG, ",")), Stopped),
        threat(
            "char of many",
            "SELECT length(char(65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65,65))",
            Back,
        ),
        threat(
            "strftime of a long format",
            "SELECT length(strftime(replace(printf('%.*c', 200000, 'x'), 'x', '%c%c'), 'now'))",
            Back,
        ),
        threat(
            "unhex, upper, lower, soundex",
            format!("SELECT length(unhex({BIG})), length(upper({BIG})), length(lower({BIG})), soundex({BIG})"),
            Back,
        ),
        threat("median of everything", format!("{C} SELECT median(n) FROM c"), Back),
        threat("string_agg of everything", format!("{C} SELECT string_agg(n, ',') FROM c"), Back),
    ]
}

fn planner() -> Vec<Threat> {
    let joined: Vec<_> = (0..64).map(|at| format!("t x{at}")).collect();
    let doubled: Vec<_> = std::iter::once("v0 AS (SELECT 1 AS n)".to_owned())
        .chain((0..25).map(|at| format!("v{} AS (SELECT a.n FROM v{at} a, v{at} b)", at + 1)))
        .collect();
    let list: Vec<_> = (0..20_000).map(|n| n.to_string()).collect();
    vec![
        threat("64 tables", format!("SELECT count(*) FROM {}", joined.join(", ")), Back),
        threat(
            "64 tables, each by each",
            format!(
                "SELECT count(*) FROM {} WHERE {}",
                joined.join(", "),
                (1..64).map(|at| format!("x{at}.n = x{}.n", at - 1)).collect::<Vec<_>>().join(" AND ")
            ),
            Back,
        ),
        threat(
            "60 left joins",
            format!(
                "SELECT count(*) FROM t {}",
                (0..60).map(|at| format!("LEFT JOIN t x{at} ON x{at}.n = t.n")).collect::<Vec<_>>().join(" ")
            ),
            Back,
        ),
        threat(
            "30 natural joins",
            format!(
                "SELECT count(*) FROM t {}",
                (0..30).map(|at| format!("NATURAL JOIN t x{at}")).collect::<Vec<_>>().join(" ")
            ),
            Back,
        ),
        threat(
            "OR of 90 terms by 20 tables",
            format!(
                "SELECT count(*) FROM {} WHERE {}",
                joined[..20].join(", "),
                (0..90)
                    .map(|at| format!("(x{}.n = {at} AND x{}.n = {at})", at % 20, (at + 1) % 20))
                    .collect::<Vec<_>>()
                    .join(" OR ")
            ),
            Back,
        ),
        threat("a WITH that doubles", format!("WITH {} SELECT count(*) FROM v25", doubled.join(", ")), At("unfolded")),
        threat("an IN of 20,000", format!("SELECT 1 WHERE 1 IN ({})", list.join(",")), Back),
        threat(
            "a CASE of 2,000",
            format!(
                "SELECT CASE n {} END FROM t",
                (0..2_000).map(|at| format!("WHEN {at} THEN {at}")).collect::<Vec<_>>().join(" ")
            ),
            Back,
        ),
        threat("subqueries, deep", format!("SELECT {} 1 {}", "(SELECT ".repeat(90), ")".repeat(90)), Back),
        threat("FROM, deep", format!("SELECT * FROM {} t {}", "(SELECT * FROM ".repeat(90), ")".repeat(90)), Back),
        threat(
            "40 VALUES by 40",
            format!(
                "SELECT count(*) FROM {}",
                (0..8).map(|at| format!("(VALUES {}) y{at}", vec!["(1)"; 40].join(","))).collect::<Vec<_>>().join(", ")
            ),
            Stopped,
        ),
        threat("EXPLAIN of the endless", format!("EXPLAIN {C} SELECT count(*) FROM c a, c b"), Back),
        threat(
            "letters beyond ASCII",
            format!("SELECT '{}' AS \"{}\"", "\u{10FFFF}".repeat(10_000), "é".repeat(10_000)),
            Back,
        ),
        threat("a name of 90,000 letters", format!("SELECT n AS \"{}\" FROM t", "x".repeat(90_000)), Back),
    ]
}

fn functions() -> Vec<Threat> {
    let lengths: Vec<_> = (0..900).map(|at| format!("json_array_length(t||substr('      ',{}))", at % 7)).collect();
    let texts: Vec<_> = lengths.chunks(30).map(|calls| format!("max({})", calls.join(","))).collect();
    vec![
        threat("instr", format!("SELECT instr({BIG}, printf('%.*c', 500000, 'x') || 'y')"), Back),
        threat(
            "replace, piece by piece",
            format!("SELECT length(replace({BIG}, printf('%.*c', 500000, 'x') || 'y', ''))"),
            Back,
        ),
        threat("trim of many letters", format!("SELECT length(trim({BIG}, printf('%.*c', 900000, 'y') || 'x'))"), Back),
        threat(
            "json_patch of 40,000 keys",
            "WITH k(j) AS (SELECT json_group_object('k' || value, 1) FROM json_each('[' || replace(printf('%.*c', 40000, 'x'), 'x', '1,') || '1]')) SELECT length(json_patch(j, j)) FROM k",
            Back,
        ),
        threat(
            "json_patch of 40,000 different keys",
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 40000), k(j) AS (SELECT json_group_object('k' || n, 1) FROM c) SELECT length(json_patch(j, j)) FROM k",
            Back,
        ),
        threat(
            "json_set of 30,000 keys",
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 30000), k(j) AS (SELECT json_group_object('k' || n, 1) FROM c) SELECT length(json_set(j, '$.k29999', 1, '$.k29998', 1, '$.k29997', 1, '$.k29996', 1, '$.k29995', 1)) FROM k",
            Back,
        ),
        threat(
            "json_extract, row by row",
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 50000), k(j) AS (SELECT json_group_object('k' || n, 1) FROM c) SELECT sum(json_extract(j, '$.k' || n)) FROM k, c",
            Stopped,
        ),
        threat(
            "json ->> of a path as long",
            "SELECT '{}' ->> ('$' || replace(printf('%.*c', 200000, 'x'), 'x', '.a'))",
            Back,
        ),
        threat(
            "thousands of heavy calls in one row",
            format!("SELECT {}", vec![format!("length(replace({BIG}, 'x', 'y'))"); 90].join("+")),
            Back,
        ),
        threat(
            "hundreds of JSON texts in one row",
            format!(
                "WITH j(t) AS MATERIALIZED (SELECT '[' || replace(printf('%.*c', 400000, 'x'), 'x', '1,') || '1]') SELECT {} FROM j",
                texts.join(",")
            ),
            Stopped,
        ),
        threat(
            "thousands of heavy calls, nested",
            format!("SELECT length({}{BIG}{})", "upper(lower(".repeat(40), "))".repeat(40)),
            Back,
        ),
        threat(
            "printf of many arguments",
            format!("SELECT printf('{}', {})", "%s".repeat(30), vec![BIG; 30].join(",")),
            Stopped,
        ),
        threat(
            "a CAST of a long number",
            format!("SELECT CAST(replace({BIG}, 'x', '9') AS REAL), CAST(replace({BIG}, 'x', '9') AS INTEGER)"),
            Back,
        ),
        threat("a number of 90,000 digits", format!("SELECT {}", "9".repeat(90_000)), Back),
        threat(
            "strftime, far away",
            "SELECT strftime('%Y', '9999-12-31', '+1000000000 years'), julianday('now', '-999999999 days', 'weekday 6', 'start of year')",
            Back,
        ),
        threat("sqlite_offset, likelihood, unlikely", "SELECT likelihood(n, 0.5), unlikely(n), likely(n) FROM t", Back),
    ]
}

/// Statements that fill a table with two million rows.
fn two_million(table: &str) -> Vec<String> {
    let filled =
        format!("INSERT INTO {table} (n) SELECT a.value FROM generate a JOIN (SELECT value FROM generate LIMIT 5)");
    std::iter::once(format!("CREATE TABLE {table} (n)")).chain(std::iter::repeat_n(filled, 40)).collect()
}

/// What is left of FTS5: every row of a table is one step, whatever is sought in it.
fn searches() -> Vec<Threat> {
    let x = |terms: usize| vec!["x"; terms].join(" ");
    let seek = |name: &'static str, sought: &str, end: End| {
        threat(name, format!("SELECT count(*), min(rank) FROM fx1 WHERE fx1 MATCH '{sought}'"), end)
    };
    let given = [
        "CREATE VIRTUAL TABLE fx1 USING fts5 (body)",
        "INSERT INTO fx1 VALUES (replace(printf('%.*c', 499999, 'x'), 'x', 'x '))",
    ];
    let make = |options: &str| format!("CREATE VIRTUAL TABLE ft3 USING fts5 (body, {options})");
    vec![
        seek("FTS5, the longest phrase in a row of 1 MB", &format!("\"{}\"", x(64)), Back).given(&given),
        seek("FTS5, the most terms in a row of 1 MB", &vec!["x"; 32].join(" OR "), Back),
        seek("FTS5, all of the most terms in a row of 1 MB", &x(64), Back),
        seek("FTS5, the longest NEAR in a row of 1 MB", &format!("NEAR({}, 1000000)", x(8)), Back),
        threat(
            "FTS5, the longest phrase in a row of 1 MB, not ranked",
            format!("SELECT count(*) FROM fx1 WHERE fx1 MATCH '\"{}\"'", x(64)),
            Back,
        ),
        threat(
            "FTS5, the longest NEAR in a row of 1 MB, not ranked",
            format!("SELECT count(*) FROM fx1 WHERE fx1 MATCH 'NEAR({}, 1000000)'", x(8)),
            Back,
        ),
        seek("FTS5, a phrase of thousands", &format!("\"{}\"", x(20_000)), At("match_terms")),
        threat(
            "FTS5, a phrase of thousands that is computed",
            "SELECT count(*) FROM fx1 WHERE fx1 MATCH '\"' || replace(printf('%.*c', 400000, 'x'), 'x', 'x ') || '\"'",
            Denied,
        ),
        threat(
            "FTS5, a phrase of thousands in another way",
            "SELECT count(*) FROM fx1 (replace(printf('%.*c', 400000, 'x'), 'x', 'x+'))",
            Denied,
        ),
        threat(
            "FTS5, a phrase of thousands, compared",
            "SELECT count(*) FROM fx1 f WHERE f.fx1 = replace(printf('%.*c', 400000, 'x'), 'x', 'x+')",
            Denied,
        ),
        threat(
            "FTS5, a phrase of thousands in a view that was first",
            "CREATE VIRTUAL TABLE late USING fts5 (body)",
            Denied,
        )
        .given(&[
            "CREATE VIEW early AS SELECT * FROM late l WHERE l.late = replace(printf('%.*c', 400000, 'x'), 'x', 'x+')",
        ])
        .writes(),
        threat("FTS5, trigrams", make("tokenize = 'trigram'"), Denied).writes(),
        threat("FTS5, trigrams, short", make("T = [TRIGRAM case_sensitive 1]"), Denied).writes(),
        threat("FTS5, trigrams, under another", make("tokenize = \"porter 'trigram'\""), Denied).writes(),
        threat("FTS5, letters that part words", make("tokenize = \"unicode61 separators 'x'\""), Denied).writes(),
    ]
}

fn writes() -> Vec<Threat> {
    let (many, more) = (two_million("many"), two_million("more"));
    let [many, more] = [&many, &more].map(|statements| statements.iter().map(String::as_str).collect::<Vec<_>>());
    vec![
        threat("index of everything", "CREATE INDEX large_v ON large (v, n)", Back)
            .given(&[
                "CREATE TABLE large (n INTEGER PRIMARY KEY, v TEXT)",
                "INSERT INTO large SELECT value, hex(randomblob(100)) FROM generate",
            ])
            .writes(),
        threat("fill the file", format!("{C} INSERT INTO t SELECT hex(randomblob(10000)) FROM c"), Stopped).writes(),
        threat("fill the file in one value", "INSERT INTO t VALUES (zeroblob(1000000000))", At("value_bytes")).writes(),
        threat("zeroblob in an UPDATE", "UPDATE t SET n = zeroblob(1000000000)", At("value_bytes")).writes(),
        threat("a table as a copy of everything", format!("CREATE TABLE x AS {C} SELECT n FROM c"), Stopped).writes(),
        threat(
            "100 columns of 1 MB, stored",
            format!("INSERT INTO wide VALUES ({})", vec![BIG; 100].join(",")),
            Stopped,
        )
        .given(&[&format!("CREATE TABLE wide ({})", (0..100).map(|at| format!("c{at}")).collect::<Vec<_>>().join(","))])
        .writes(),
        threat("triggers in a circle", "INSERT INTO ring VALUES (1)", Back)
            .given(&[
                "CREATE TABLE ring (n)",
                "CREATE TRIGGER ring_on AFTER INSERT ON ring BEGIN INSERT INTO ring VALUES (new.n + 1); END",
                "CREATE TABLE ring_b (n)",
            ])
            .writes(),
        threat("triggers that double", "INSERT INTO d0 VALUES (1)", Stopped)
            .given(&[
                "CREATE TABLE d0 (n)",
                "CREATE TABLE d1 (n)",
                "CREATE TABLE d2 (n)",
                "CREATE TABLE d3 (n)",
                "CREATE TABLE d4 (n)",
                "CREATE TABLE d5 (n)",
                "CREATE TRIGGER e0 AFTER INSERT ON d0 BEGIN INSERT INTO d1 SELECT value FROM generate LIMIT 100; END",
                "CREATE TRIGGER e1 AFTER INSERT ON d1 BEGIN INSERT INTO d2 SELECT value FROM generate LIMIT 100; END",
                "CREATE TRIGGER e2 AFTER INSERT ON d2 BEGIN INSERT INTO d3 SELECT value FROM generate LIMIT 100; END",
                "CREATE TRIGGER e3 AFTER INSERT ON d3 BEGIN INSERT INTO d4 SELECT value FROM generate LIMIT 100; END",
                "CREATE TRIGGER e4 AFTER INSERT ON d4 BEGIN INSERT INTO d5 SELECT value FROM generate LIMIT 100; END",
            ])
            .writes(),
        threat("generated columns of 1 MB", "INSERT INTO made (n) VALUES (1)", Stopped)
            .given(&[&format!(
                "CREATE TABLE made (n, {})",
                (0..60).map(|at| format!("c{at} AS (printf('%.*c', 999000, n)) STORED")).collect::<Vec<_>>().join(",")
            )])
            .writes(),
        threat("a CHECK without an end", "INSERT INTO checked VALUES (1)", Back)
            .given(&["CREATE TABLE checked (n CHECK (length(replace(printf('%.*c', 999000, 'x'), 'x', 'y')) > n))"])
            .writes(),
        threat("an index of expressions", "CREATE INDEX expr ON generated (printf('%.*c', 100000, value))", Stopped)
            .given(&["CREATE TABLE generated AS SELECT value FROM generate"])
            .writes(),
        threat(
            "one FTS5 document of 1 MB",
            "INSERT INTO ft VALUES (replace(printf('%.*c', 99000, 'x'), 'x', 'w' || 'ord and '))",
            Back,
        )
        .given(&["CREATE VIRTUAL TABLE ft USING fts5 (body)"])
        .writes(),
        threat(
            "one FTS5 document of many words",
            "INSERT INTO fw SELECT group_concat(hex(randomblob(3)), ' ') FROM generate",
            Back,
        )
        .given(&["CREATE VIRTUAL TABLE fw USING fts5 (body, prefix = '1 2 3 4 5 6')"])
        .writes(),
        threat("FTS5 rebuild, optimize, merge", "INSERT INTO fr (fr, rank) VALUES ('merge', -500)", Back)
            .given(&[
                "CREATE VIRTUAL TABLE fr USING fts5 (body)",
                "INSERT INTO fr SELECT hex(randomblob(30)) FROM generate",
                "INSERT INTO fr (fr) VALUES ('rebuild')",
                "INSERT INTO fr (fr) VALUES ('optimize')",
            ])
            .writes(),
        threat(
            "FTS5 ranking function of one's own",
            "INSERT INTO fk (fk, rank) VALUES ('rank', 'load_extension(1)')",
            Back,
        )
        .given(&["CREATE VIRTUAL TABLE fk USING fts5 (body)"])
        .writes(),
        threat(
            "FTS5, one prefix of all",
            "SELECT count(*) FROM fp a JOIN fp b WHERE a.fp MATCH 'a* OR b* OR c* OR 1* OR 2* OR 3*' AND b.fp MATCH '1*'",
            Stopped,
        )
        .given(&[
            "CREATE VIRTUAL TABLE fp USING fts5 (body)",
            "INSERT INTO fp SELECT hex(randomblob(30)) FROM generate",
        ]),
        threat(
            "FTS5, NEAR of many",
            format!("SELECT count(*) FROM fn WHERE fn MATCH 'NEAR({}, 1000)'", vec!["x"; 60].join(" ")),
            At("match_terms"),
        )
        .given(&[
            "CREATE VIRTUAL TABLE fn USING fts5 (body)",
            "INSERT INTO fn VALUES (replace(printf('%.*c', 99000, 'x'), 'x', 'x y '))",
        ]),
        threat(
            "FTS5, nested",
            format!("SELECT count(*) FROM fx WHERE fx MATCH '{}x{}'", "(".repeat(5_000), ")".repeat(5_000)),
            Back,
        )
        .given(&["CREATE VIRTUAL TABLE fx USING fts5 (body)"]),
        threat(
            "FTS5 snippet of 1 MB",
            "SELECT length(snippet(fs, 0, '', '', '', 64)) FROM fs WHERE fs MATCH 'x AND y AND z'",
            Back,
        )
        .given(&[
            "CREATE VIRTUAL TABLE fs USING fts5 (body)",
            "INSERT INTO fs VALUES (replace(printf('%.*c', 99000, 'x'), 'x', 'x y z '))",
        ]),
        threat(
            "FTS5 highlight of 1 MB",
            "SELECT length(highlight(fh, 0, '<', '>')) FROM fh WHERE fh MATCH 'x AND y AND z'",
            Back,
        )
        .given(&[
            "CREATE VIRTUAL TABLE fh USING fts5 (body)",
            "INSERT INTO fh VALUES (replace(printf('%.*c', 99000, 'x'), 'x', 'x y z '))",
        ]),
        threat("2,000,000 rows, dropped", "DROP TABLE many", Back).given(&many).writes(),
        threat("2,000,000 rows, deleted", "DELETE FROM more", Back).given(&more).writes(),
        threat("R-tree of everything", format!("{C} INSERT INTO r SELECT n, n, n + 1 FROM c"), Stopped)
            .given(&["CREATE VIRTUAL TABLE r USING rtree (id, a, b)"])
            .writes(),
        threat(
            "UPSERT without an end",
            format!("{C} INSERT INTO up SELECT 1, n FROM c WHERE 1 ON CONFLICT DO UPDATE SET v = v + 1"),
            At("statement_deadline"),
        )
        .given(&["CREATE TABLE up (k PRIMARY KEY, v)"])
        .writes(),
        threat(
            "RETURNING everything",
            "INSERT INTO t SELECT value FROM generate RETURNING hex(zeroblob(1000))",
            Stopped,
        )
        .writes(),
        threat(
            "an UPDATE of all by all",
            "UPDATE generate SET value = value + (SELECT count(*) FROM generate a, generate b)",
            At("statement_deadline"),
        )
        .writes(),
        threat("foreign keys that cascade", "DELETE FROM fk0", Back)
            .given(&[
                "CREATE TABLE fk0 (n INTEGER PRIMARY KEY, p REFERENCES fk0 ON DELETE CASCADE)",
                "INSERT INTO fk0 SELECT value, CASE WHEN value > 1 THEN value - 1 END FROM generate ORDER BY value",
            ])
            .writes(),
        threat("ANALYZE", "ANALYZE", Back).writes(),
        threat("REINDEX", "REINDEX", Back).writes(),
        threat("ALTER of everything", "ALTER TABLE generate ADD COLUMN more DEFAULT 7 CHECK (more < 9)", Back).writes(),
    ]
}

/// A process whose statements may do so much, and a token of its tenant `a`; `b` is the neighbour.
fn server(dir: &std::path::Path) -> (Server, String, String) {
    let data = dir.join("data");
    must(&data, &["key", "generate"]);
    let config = dir.join("freehold.toml");
    let millis = DEADLINE.as_millis();
    let text =
        format!("[limits]\nstatement_deadline = '{millis}ms'\nstatement_memory = {MEMORY}\ndatabase_bytes = '64MiB'");
    std::fs::write(&config, text).expect("a file");
    for tenant in ["a", "b"] {
        must(&data, &["tenant", "create", tenant]);
    }
    let token = |tenant: &str| must(&data, &["token", "issue", "--tenant", tenant]).trim().to_owned();
    let tokens = (token("a"), token("b"));
    (Server::start(&data, &["--config", config.to_str().expect("text")]), tokens.0, tokens.1)
}

#[test]
fn every_threat_is_stopped() {
    let dir = tempfile::tempdir().expect("a folder");
    let (server, token, neighbour) = server(dir.path());
    // What is not stopped harms this process and nothing else.
    server.cap_memory(8 << 30);
    let send = |tool: &str, sql: &str, token: &str| {
        let arguments = match tool {
            "sql_query" => json!({ "sql": sql }),
            _ => json!({ "statements": [{ "sql": sql }] }),
        };
        call(server.address(), token, tool, &arguments)
            .unwrap_or_else(|| panic!("no answer to {sql:.80}; {}", server.log()))
    };
    let store = |sql: &str| content(&send("sql_execute", sql, &token)).clone();
    store("CREATE TABLE t (n)");
    store("INSERT INTO t VALUES (7)");
    store("CREATE TABLE generate (value INTEGER PRIMARY KEY)");
    store(
        "INSERT INTO generate WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 10000) SELECT n FROM c",
    );
    store("CREATE TABLE safe (n)");
    let mut failed = Vec::new();
    let mut slowest = (Duration::ZERO, "");
    for Threat { name, given, sql, end, reads } in
        [endless(), memory(), planner(), functions(), searches(), writes()].into_iter().flatten()
    {
        for sql in &given {
            // On a machine with much else to do what is right may take longer than its deadline here.
            let late = |stored: &Value| stored["result"]["_meta"]["freehold/refusal"]["limit"] == "statement_deadline";
            let mut stored = send("sql_execute", sql, &token);
            for _ in 0..10 {
                if late(&stored) {
                    stored = send("sql_execute", sql, &token);
                }
            }
            if stored["result"]["isError"] == true {
                failed.push(format!("{name}: {sql:.90}: {:.300}", stored.to_string()));
            }
        }
        for tool in ["sql_query", "sql_execute"].into_iter().filter(|tool| reads || *tool == "sql_execute") {
            let before = server.forget_peak();
            let begun = Instant::now();
            let answer = send(tool, &sql, &token);
            // Not only its caller is told: no thread goes on with it.
            server.until_no_sql();
            let took = begun.elapsed();
            let grown = server.peak_memory().saturating_sub(before);
            let limit = answer["result"]["_meta"]["freehold/refusal"]["limit"].as_str().unwrap_or_default();
            let is_refused = answer["result"]["isError"] == true;
            let said = if is_refused { refusal(&answer) } else { "done" };
            println!("{name} | {tool} | {} ms | +{} MB | {limit} | {said:.70}", took.as_millis(), grown >> 20);
            slowest = slowest.max((took, name));
            let as_wanted = match end {
                At(wanted) => is_refused && limit == wanted,
                Stopped => is_refused && !limit.is_empty(),
                Denied => answer["result"]["_meta"]["freehold/refusal"]["kind"] == "forbidden",
                Back => answer["result"].is_object(),
            };
            if !as_wanted {
                failed.push(format!("{name} by {tool}: {:.300}", answer.to_string()));
            }
            if grown > GROWTH {
                failed.push(format!("{name} by {tool}: grew by {} MB", grown >> 20));
            }
            if took > DEADLINE + STEP {
                failed.push(format!("{name} by {tool}: took {} ms", took.as_millis()));
            }
            // All goes on, here and next door.
            let next = send("sql_execute", "INSERT INTO safe VALUES (1)", &token);
            if next["result"]["isError"] == true || next["error"].is_object() {
                failed.push(format!("{name} by {tool}: afterwards {next}"));
            }
            content(&send("sql_query", "SELECT 1", &neighbour));
        }
    }
    println!("slowest stop, until its thread was free: {} ms, {}", slowest.0.as_millis(), slowest.1);
    assert!(failed.is_empty(), "\n{}\n", failed.join("\n"));
    assert!(server.terminate().success());
}

/// A reader that holds its view of the file keeps the log from being emptied, and where one follows the other it would
/// grow for ever: long before, readers wait until it is empty.
#[test]
fn the_log_has_a_bound_whoever_reads() {
    let dir = tempfile::tempdir().expect("a folder");
    let (server, token, _) = server(dir.path());
    let address = server.address();
    let send = |tool: &str, arguments: &Value| call(address, &token, tool, arguments).expect("an answer");
    let store = |sql: &str| content(&send("sql_execute", &json!({ "statements": [{ "sql": sql }] }))).clone();
    store("CREATE TABLE t (n INTEGER PRIMARY KEY, v)");
    let log = crate::support::tenant_file(&dir.path().join("data"), "a").with_file_name("tenant.db-wal");
    let log_bytes = || std::fs::metadata(&log).map_or(0, |log| log.len());
    let read = json!({ "sql": format!("{C} SELECT count(*) FROM c JOIN t") });
    let (mut largest, mut written, mut held) = (0, 0, 0);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for at in 0..150 {
                store(&format!("INSERT OR REPLACE INTO t VALUES ({at} % 10, randomblob(500000))"));
                written += 500_000;
                largest = largest.max(log_bytes());
            }
        });
        while !writing.is_finished() {
            // One after the other: each is stopped at its deadline, and the next one sees a later state.
            held += usize::from(send("sql_query", &read)["result"]["isError"] == true);
        }
    });
    println!("written {} MB, the log's most {} MB, {held} readers", written >> 20, largest >> 20);
    store("INSERT INTO t VALUES (99, 1)");
    server.until_no_sql();
    let after = log_bytes();
    assert!(held > 0 && written > 64 << 20, "nothing was held");
    assert!(largest < 48 << 20, "the log was not emptied in time: {largest} of {written}");
    assert!(after <= 5 << 20, "{after} bytes of log are left");
    assert!(server.terminate().success());
}
