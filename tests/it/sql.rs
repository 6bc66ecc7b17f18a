//! The SQL tools, used as they are meant: values come back as they went in, pages join, and all is all.

use freehold::{Settings, TestHost};
use serde_json::{Value, json};

use crate::support::token::Forge;
use crate::support::wire::Ask;
use crate::support::{content, plain, refusal, soon};

/// One tenant and its SQL.
struct Sql(TestHost);

impl Sql {
    fn start(edit: impl FnOnce(&mut Settings)) -> Self {
        Self(plain(&["a"], edit))
    }

    async fn query(&self, arguments: Value) -> Value {
        soon(self.0.call("a", "sql_query", arguments)).await
    }

    async fn rows(&self, sql: &str) -> Value {
        content(&self.query(json!({ "sql": sql })).await)["rows"].clone()
    }

    /// Runs each, and tells all that failed.
    async fn all_work(&self, steps: &[&str]) {
        let mut failed = Vec::new();
        for step in steps {
            let done = self.execute(&[step]).await;
            if done["result"]["isError"] != false {
                let why = done["result"]["content"][0]["text"]
                    .as_str()
                    .map_or_else(|| done["error"].to_string(), str::to_owned);
                failed.push(format!("{step}: {why}"));
            }
        }
        assert!(failed.is_empty(), "{failed:#?}");
    }

    async fn execute(&self, statements: &[&str]) -> Value {
        let statements: Vec<_> = statements.iter().map(|sql| json!({ "sql": sql })).collect();
        soon(self.0.call("a", "sql_execute", json!({ "statements": statements }))).await
    }
}

/// Fails unless `answer` is a refusal for `limit` of `value`.
#[track_caller]
fn expect_limit(answer: &Value, limit: &str, value: u64) {
    refusal(answer);
    let details = &answer["result"]["_meta"]["freehold/refusal"];
    assert_eq!((&details["kind"], &details["limit"]), (&json!("limit"), &json!(limit)), "{answer}");
    assert_eq!(details["value"], value, "{answer}");
}

#[tokio::test]
async fn values_come_back_as_they_went_in() {
    let sql = Sql::start(|_| {});
    let values = [
        (json!(null), "null"),
        (json!(0), "integer"),
        (json!(-1), "integer"),
        (json!(i64::MAX), "integer"),
        (json!(i64::MIN), "integer"),
        (json!(9_007_199_254_740_993_i64), "integer"),
        (json!(0.1), "real"),
        (json!(-2.5e300), "real"),
        (json!(5e-324), "real"),
        (json!(1.0), "real"),
        (json!(""), "text"),
        (json!("a\u{0}b ' \" \n \u{1f600} é"), "text"),
        (json!("9223372036854775808"), "text"),
        (json!({ "base64": "" }), "blob"),
        (json!({ "base64": "AAEC/w==" }), "blob"),
    ];
    content(&sql.execute(&["CREATE TABLE t (id INTEGER PRIMARY KEY, v)"]).await);
    for (at, (value, kind)) in values.iter().enumerate() {
        let asked = json!({ "sql": "SELECT ?, typeof(?)", "params": [value, value] });
        assert_eq!(content(&sql.query(asked).await)["rows"], json!([[value, kind]]));
        let insert = json!({ "sql": "INSERT INTO t VALUES (?, ?) RETURNING v, typeof(v)", "params": [at, value] });
        let kept = sql.0.call("a", "sql_execute", json!({ "statements": [insert] })).await;
        assert_eq!(content(&kept)["results"][0]["rows"], json!([[value, kind]]));
        assert_eq!(sql.rows(&format!("SELECT v FROM t WHERE id = {at}")).await, json!([[value]]));
    }
    let truth = json!({ "sql": "SELECT ?, ?", "params": [true, false] });
    assert_eq!(content(&sql.query(truth).await)["rows"], json!([[1, 0]]));
    assert_eq!(sql.rows("SELECT 9e999, -9e999").await, json!([["Infinity", "-Infinity"]]));
    sql.0.close().await;
}

#[tokio::test]
async fn params_that_are_no_values_are_refused() {
    let sql = Sql::start(|_| {});
    let wrong = [
        json!(18_446_744_073_709_551_615_u64),
        json!([1]),
        json!({}),
        json!({ "a": 1 }),
        json!({ "base64": "!" }),
        json!({ "base64": 7 }),
        json!({ "base64": "AA==", "more": 1 }),
    ];
    for value in wrong {
        let refused = sql.query(json!({ "sql": "SELECT ?", "params": [value] })).await;
        assert!(refusal(&refused).contains("params[0]"), "{refused}");
    }
    for (text, params) in [("SELECT ?", json!([])), ("SELECT ?", json!([1, 2])), ("SELECT 1", json!([1]))] {
        refusal(&sql.query(json!({ "sql": text, "params": params })).await);
    }
    sql.0.close().await;
}

#[tokio::test]
async fn parameters_have_names_too() {
    let sql = Sql::start(|_| {});
    let ask = |text: &str, params: Value| sql.query(json!({ "sql": text, "params": params }));
    let all = json!({ "a": 9_007_199_254_740_993_i64, "b": { "base64": "AAE=" }, "c": null });
    let got = ask("SELECT :a, @b, $c, :a", all.clone()).await;
    assert_eq!(content(&got)["rows"], json!([[all["a"], all["b"], null, all["a"]]]));
    for (text, params, why) in [
        ("SELECT :a", json!({}), ":a"),
        ("SELECT :a", json!({ "a": 1, "b": 2 }), ":b"),
        ("SELECT ?", json!({ "a": 1 }), "?"),
        ("SELECT :a", json!({ "a": [1] }), "params.a"),
    ] {
        let refused = ask(text, params).await;
        assert!(refusal(&refused).contains(why), "{text}: {refused}");
    }
    for params in [json!("a"), json!(7)] {
        let refused = ask("SELECT 1", params).await;
        assert!(refused.to_string().contains("params is an array"), "{refused}");
    }
    sql.0.close().await;
}

#[tokio::test]
async fn the_schema_tells_what_is_in_the_tables() {
    let sql = Sql::start(|_| {});
    let fill = "INSERT INTO \"odd \"\" name\" (v) SELECT iif(value % 2, value, 'x') FROM generate_series(1, 3)";
    let fill = fill.replace("generate_series(1, 3)", "json_each('[1,2,3]')");
    let steps = [
        "CREATE TABLE \"odd \"\" name\" (v NOT NULL, g AS (v || '!'))",
        &fill,
        "CREATE TABLE many AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100005) SELECT n FROM c",
        "CREATE VIEW seen AS SELECT count(*) AS n FROM many, many",
        "CREATE VIRTUAL TABLE words USING fts5 (body)",
    ];
    sql.all_work(&steps).await;
    let schema = sql.0.call("a", "sql_schema", json!({})).await;
    let tables = &content(&schema)["tables"];
    let of =
        |name: &str| tables.as_array().expect("tables").iter().find(|table| table["name"] == name).expect("a table");
    let odd = of("odd \" name");
    assert_eq!((&odd["rows"], &odd["more_rows"]), (&json!(3), &json!(null)));
    assert_eq!(odd["columns"][0]["found"], json!(["integer", "text"]));
    assert_eq!(odd["columns"][1]["name"], "g");
    assert_eq!((&of("many")["rows"], &of("many")["more_rows"]), (&json!(100_000), &json!(true)));
    assert!(of("seen")["rows"].is_null() && of("words")["rows"].is_null(), "{tables}");
    refusal_or_error(&sql.0.call("a", "sql_schema", json!({ "table": "many" })).await);
    sql.0.close().await;
}

fn refusal_or_error(answer: &Value) {
    assert!(answer["error"].is_object() || answer["result"]["isError"] == true, "{answer}");
}

/// A statement that orders by a key and is asked for what is behind it: whatever is added at the end or changed
/// meanwhile, every row is told once.
#[tokio::test]
async fn pages_join_while_others_write() {
    let sql = Sql::start(|settings| settings.limits.result_rows = 7);
    content(&sql.execute(&["CREATE TABLE t (id INTEGER PRIMARY KEY, n)"]).await);
    let add = "INSERT INTO t (n) SELECT value FROM json_each('[1,2,3,4,5,6,7,8,9,10]')";
    content(&sql.execute(&[add, add]).await);
    let (mut all, mut cursor, mut grown) = (Vec::new(), json!(null), 20);
    loop {
        let ask = json!({ "sql": "SELECT id FROM t ORDER BY id", "cursor": cursor });
        let answer = sql.query(ask).await;
        let page = content(&answer);
        all.extend(page["rows"].as_array().expect("rows").iter().map(|row| row[0].as_u64().expect("an id")));
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
        if grown < 60 {
            content(&sql.execute(&[add, "UPDATE t SET n = n + 1"]).await);
            grown += 10;
        }
    }
    assert_eq!(all, (1..=grown).collect::<Vec<_>>());
    sql.0.close().await;
}

/// An argument that is not known is a mistake that is told and not passed over.
#[tokio::test]
async fn unknown_arguments_are_refused() {
    let sql = Sql::start(|_| {});
    for arguments in [json!({}), json!({ "sql": 7 }), json!({ "sql": "SELECT 1", "offset": 1 })] {
        let answer = sql.query(arguments).await;
        assert!(answer["error"]["code"] == -32602 || answer["result"]["isError"] == true, "{answer}");
    }
    sql.0.close().await;
}

#[tokio::test]
async fn pages_join_to_the_whole() {
    let sql = Sql::start(|settings| {
        settings.limits.result_rows = 10;
        settings.limits.result_bytes = bytesize::ByteSize::b(400);
    });
    let fill = "CREATE TABLE t AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 25)
                SELECT n, iif(n % 5, '', printf('%.*c', 150, 'x')) AS pad FROM c";
    content(&sql.execute(&[fill]).await);
    for limit in [1, 3, 10, 25, 1_000] {
        let (mut all, mut cursor, mut pages) = (Vec::new(), json!(null), 0);
        loop {
            let mut ask =
                json!({ "sql": "SELECT n, pad FROM t WHERE n > ? ORDER BY n", "params": [0], "limit": limit });
            if !cursor.is_null() {
                ask["cursor"] = cursor;
            }
            let answer = sql.query(ask).await;
            let page = content(&answer);
            let rows = page["rows"].as_array().expect("rows");
            assert_eq!(page["columns"], json!(["n", "pad"]));
            assert!(!rows.is_empty() && rows.len() <= limit.min(10), "{limit}: {page}");
            all.extend(rows.iter().map(|row| row[0].as_u64().expect("a number")));
            pages += 1;
            assert!(pages <= 25, "{limit}: it does not end");
            cursor = page["next_cursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        assert_eq!(all, (1..=25).collect::<Vec<_>>(), "{limit}");
    }
    refusal(&sql.query(json!({ "sql": "SELECT 1", "limit": 0 })).await);
    sql.0.close().await;
}

#[tokio::test]
async fn a_cursor_of_something_else_is_refused() {
    let sql = Sql::start(|_| {});
    let ask = json!({ "sql": "SELECT ? UNION ALL SELECT 2", "params": [1], "limit": 1 });
    let first = sql.query(ask.clone()).await;
    let cursor = content(&first)["next_cursor"].as_str().expect("a cursor").to_owned();
    let with = |field: &str, value: Value| {
        let mut ask = ask.clone();
        ask["cursor"] = json!(cursor);
        ask[field] = value;
        ask
    };
    let wrong = [
        with("sql", json!("SELECT ? UNION ALL SELECT 3")),
        with("params", json!([2])),
        with("params", json!(["1"])),
        with("cursor", json!("")),
        with("cursor", json!("garbage")),
        with("cursor", json!(format!("{cursor}A"))),
        with("cursor", json!("AAAAAAAAAAEAAAAAAAAAAA")),
    ];
    for ask in wrong {
        assert!(refusal(&sql.query(ask).await).contains("cursor"));
    }
    assert_eq!(content(&sql.query(with("limit", json!(1))).await)["rows"], json!([[2]]));

    // A place that was moved is no place.
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let mut bytes = URL_SAFE_NO_PAD.decode(&cursor).expect("base64");
    *bytes.last_mut().expect("a byte") ^= 1;
    let moved = sql.query(with("cursor", json!(URL_SAFE_NO_PAD.encode(bytes)))).await;
    assert!(refusal(&moved).contains("cursor"), "{moved}");

    // Nor is another caller's.
    let another = Forge::of(&sql.0).with("sub", "another");
    let theirs = Ask::tool("sql_query", &with("limit", json!(1))).bearer(&another).send(&sql.0).await.json();
    assert!(refusal(&theirs).contains("cursor"), "{theirs}");
    sql.0.close().await;
}

#[tokio::test]
async fn all_statements_or_none() {
    let sql = Sql::start(|_| {});
    content(&sql.execute(&["CREATE TABLE t (n INTEGER UNIQUE)", "INSERT INTO t VALUES (1)"]).await);
    let wrong = [
        "INSERT INTO t VALUES (1)",
        "INSERT INTO nowhere VALUES (1)",
        "INSERT INTO",
        "INSERT INTO t VALUES (3); INSERT INTO t VALUES (4)",
        "INSERT OR ROLLBACK INTO t VALUES (1)",
        "INSERT INTO t VALUES (?)",
    ];
    for second in wrong {
        let refused = sql.execute(&["INSERT INTO t VALUES (2)", second, "INSERT INTO t VALUES (5)"]).await;
        assert!(refusal(&refused).contains("statements[1]"), "{second}: {refused}");
        assert_eq!(sql.rows("SELECT n FROM t").await, json!([[1]]), "{second}");
    }
    content(&sql.execute(&["INSERT INTO t VALUES (2)", "CREATE TABLE u (n)", "INSERT INTO u SELECT n FROM t"]).await);
    assert_eq!(sql.rows("SELECT n FROM u ORDER BY n").await, json!([[1], [2]]));
    sql.0.close().await;
}

/// Which one of a hundred statements it was, the refusals of the defences have to say too.
#[tokio::test]
async fn a_forbidden_statement_is_named() {
    let sql = Sql::start(|_| {});
    for second in ["ATTACH 'x' AS x", "COMMIT", "PRAGMA user_version = 1", "SELECT * FROM _fh_meta"] {
        let refused = sql.execute(&["CREATE TABLE t (n)", second]).await;
        assert_eq!(content(&sql.0.call("a", "sql_schema", json!({})).await)["tables"], json!([]), "{second}");
        assert!(refusal(&refused).contains("statements[1]"), "{second}: {refused}");
    }
    sql.0.close().await;
}

#[tokio::test]
async fn what_was_done_is_told() {
    let sql = Sql::start(|_| {});
    let done = sql
        .execute(&[
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)",
            "INSERT INTO t (v) VALUES ('a'), ('b') RETURNING id, v",
            "UPDATE t SET v = upper(v) WHERE id = 2 RETURNING v",
            "DELETE FROM t WHERE id = 1",
            "DELETE FROM t WHERE id = 1",
            "SELECT v FROM t",
        ])
        .await;
    let results = &content(&done)["results"];
    let changes: Vec<_> = results.as_array().expect("results").iter().map(|done| done["changes"].clone()).collect();
    assert_eq!(json!(changes), json!([0, 2, 1, 1, 0, 0]));
    assert_eq!(results[1]["rows"], json!([[1, "a"], [2, "b"]]));
    assert_eq!(results[1]["last_insert_rowid"], 2);
    assert!(results[3]["last_insert_rowid"].is_null(), "{results}");
    assert_eq!(results[2]["rows"], json!([["B"]]));
    assert_eq!(results[5]["rows"], json!([["B"]]));
    sql.0.close().await;
}

#[tokio::test]
async fn one_text_is_one_statement() {
    let sql = Sql::start(|_| {});
    content(&sql.execute(&["CREATE TABLE t (n)"]).await);
    let several = [
        "INSERT INTO t VALUES (1); DROP TABLE t",
        "INSERT INTO t VALUES (1);;INSERT INTO t VALUES (2)",
        "INSERT INTO t VALUES (1); -- a\nINSERT INTO t VALUES (2)",
        "INSERT INTO t VALUES (1)/**/;/**/SELECT 1",
        "INSERT INTO t VALUES (1); nonsense",
        "SELECT 1; SELECT 2",
    ];
    for text in several {
        refusal(&sql.execute(&[text]).await);
        refusal(&sql.query(json!({ "sql": text })).await);
        assert_eq!(sql.rows("SELECT count(*) FROM t").await, json!([[0]]), "{text}");
    }
    for text in
        ["SELECT 7;", " SELECT 7 ; ; ", "SELECT 7 -- and so on", "/* first */ SELECT 7; /* last", "SELECT 7;\n--"]
    {
        assert_eq!(sql.rows(text).await, json!([[7]]), "{text}");
    }
    sql.0.close().await;
}

/// A text without a statement is the caller's mistake and not the host's failure.
#[tokio::test]
async fn no_statement_is_a_refusal() {
    let sql = Sql::start(|_| {});
    for nothing in ["", " ", ";", "-- nothing", "/* nothing"] {
        refusal(&sql.query(json!({ "sql": nothing })).await);
        refusal(&sql.execute(&[nothing]).await);
    }
    sql.0.close().await;
}

#[tokio::test]
async fn a_result_has_an_end() {
    let sql = Sql::start(|settings| {
        settings.limits.result_bytes = bytesize::ByteSize::b(1_000);
        settings.limits.result_rows = 5;
    });
    content(&sql.execute(&["CREATE TABLE t (n)"]).await);
    for giant in ["SELECT printf('%.*c', 2000, 'x')", "SELECT zeroblob(2000)"] {
        let refused = sql.query(json!({ "sql": giant })).await;
        expect_limit(&refused, "result_bytes", 1_000);
        expect_limit(&sql.execute(&["INSERT INTO t VALUES (1)", giant]).await, "result_bytes", 1_000);
    }
    let many = "INSERT INTO t SELECT value FROM json_each('[1,2,3,4,5,6]') RETURNING n";
    expect_limit(&sql.execute(&[many]).await, "result_rows", 5);
    assert_eq!(sql.rows("SELECT count(*) FROM t").await, json!([[0]]));
    sql.0.close().await;
}

/// Everyday SQL, none of which the defences may break.
#[tokio::test]
async fn ordinary_sql_works() {
    let sql = Sql::start(|_| {});
    let steps = [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL DEFAULT '', n REAL AS (length(v)) STORED)",
        "CREATE TABLE child (t INTEGER REFERENCES t (id) ON DELETE CASCADE, k TEXT PRIMARY KEY) WITHOUT ROWID",
        "CREATE INDEX by_v ON t (v COLLATE NOCASE) WHERE v <> ''",
        "CREATE UNIQUE INDEX by_lower ON t (lower(v))",
        "CREATE TABLE log (what TEXT, at TEXT DEFAULT CURRENT_TIMESTAMP)",
        "CREATE TRIGGER logged AFTER INSERT ON t BEGIN INSERT INTO log (what) VALUES ('+' || new.v); END",
        "CREATE TRIGGER unlogged AFTER DELETE ON t WHEN old.v <> '' BEGIN INSERT INTO log (what) VALUES ('-' || old.v); END",
        "INSERT INTO t (v) VALUES ('one'), ('two')",
        "INSERT INTO t (id, v) VALUES (1, 'uno') ON CONFLICT (id) DO UPDATE SET v = excluded.v",
        "INSERT INTO child VALUES (1, 'x')",
        "CREATE VIEW seen AS SELECT id, v, row_number() OVER (ORDER BY v) AS place FROM t",
        "DELETE FROM t WHERE id = 1",
        "REINDEX by_v",
        "ANALYZE t",
        "DROP INDEX by_v",
    ];
    sql.all_work(&steps).await;
    assert_eq!(sql.rows("SELECT v, place FROM seen").await, json!([["two", 1]]));
    assert_eq!(sql.rows("SELECT what FROM log ORDER BY rowid").await, json!([["+one"], ["+two"], ["-uno"]]));
    assert_eq!(sql.rows("SELECT count(*) FROM child").await, json!([[0]]));
    assert_eq!(sql.rows("SELECT '{\"a\":[1,2]}' ->> '$.a[1]', date('2030-01-01', '+1 day')").await[0][1], "2030-01-02");
    assert_eq!(sql.rows("SELECT name FROM pragma_table_info('t')").await, json!([["id"], ["v"]]));
    sql.rows("EXPLAIN QUERY PLAN SELECT * FROM t WHERE lower(v) = 'two'").await;
    let broken = sql.execute(&["INSERT INTO child VALUES (99, 'y')"]).await;
    assert!(refusal(&broken).contains("FOREIGN KEY"), "{broken}");
    sql.0.close().await;
}

/// SQLite alters a table with statements of its own, which the defences must know for SQLite's.
#[tokio::test]
async fn tables_can_be_altered() {
    let sql = Sql::start(|_| {});
    let steps = [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)",
        "CREATE INDEX by_n ON t (n)",
        "CREATE VIEW seen AS SELECT n FROM t",
        "CREATE TABLE log (n)",
        "CREATE TRIGGER logged AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.n); END",
        "INSERT INTO t VALUES (1, 7)",
        "ALTER TABLE t ADD COLUMN a TEXT",
        "ALTER TABLE t ADD COLUMN b TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE t ADD COLUMN c INTEGER CHECK (c > 0)",
        "ALTER TABLE t ADD COLUMN d INTEGER AS (n + 1)",
        "ALTER TABLE t RENAME COLUMN n TO m",
        "ALTER TABLE t DROP COLUMN a",
        "ALTER TABLE t RENAME TO u",
        "INSERT INTO u (m) VALUES (8)",
        "CREATE TABLE s (n INTEGER) STRICT",
        "ALTER TABLE s ADD COLUMN a TEXT",
    ];
    sql.all_work(&steps).await;
    assert_eq!(
        sql.rows("SELECT id, m, b, c, d FROM u ORDER BY id").await,
        json!([[1, 7, "", null, 8], [2, 8, "", null, 9]])
    );
    assert_eq!(sql.rows("SELECT m FROM seen").await, json!([[7], [8]]));
    assert_eq!(sql.rows("SELECT n FROM log ORDER BY n").await, json!([[7], [8]]));
    sql.0.close().await;
}

#[tokio::test]
async fn spatial_search_works() {
    let sql = Sql::start(|_| {});
    let steps = [
        "CREATE VIRTUAL TABLE box USING rtree (id, x0, x1)",
        "INSERT INTO box VALUES (1, 0, 10), (2, 20, 30)",
        "UPDATE box SET x1 = 40 WHERE id = 2",
        "DELETE FROM box WHERE id = 1",
    ];
    sql.all_work(&steps).await;
    assert_eq!(sql.rows("SELECT id FROM box WHERE x1 > 35").await, json!([[2]]));
    sql.0.close().await;
}

#[tokio::test]
async fn full_text_search_works() {
    let sql = Sql::start(|_| {});
    let steps = [
        "CREATE VIRTUAL TABLE note USING fts5 (title, body, tokenize = 'porter')",
        "INSERT INTO note VALUES ('first', 'running quickly'), ('second', 'walks slowly')",
        "UPDATE note SET body = 'runs too' WHERE title = 'second'",
        "INSERT INTO note VALUES ('third', 'running away')",
        "DELETE FROM note WHERE title = 'third'",
        "INSERT INTO note (note) VALUES ('optimize')",
        "INSERT INTO note (note) VALUES ('integrity-check')",
    ];
    sql.all_work(&steps).await;
    let search = "SELECT title FROM note WHERE note MATCH 'quick*' ORDER BY bm25(note)";
    assert_eq!(sql.rows(search).await, json!([["first"]]));
    assert_eq!(sql.rows("SELECT count(*) FROM note ('run')").await, json!([[2]]));
    content(&sql.execute(&["DELETE FROM note WHERE title = 'first'"]).await);
    let host = sql.0.restart().await.expect("a restart");
    let again = Sql(host);
    assert_eq!(again.rows("SELECT title FROM note WHERE note MATCH 'run'").await, json!([["second"]]));
    content(&again.execute(&["DROP TABLE note"]).await);
    assert_eq!(content(&again.0.call("a", "sql_schema", json!({})).await)["tables"], json!([]));
    again.0.close().await;
}
