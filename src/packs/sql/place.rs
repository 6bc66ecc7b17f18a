//! Where the next page of a result begins. Rows that come in the order of a table's rowid, which one of the columns
//! tells, are gone on with behind the last one: that costs what the page costs, and whatever rows come and go, those
//! that stay are told once. All other results are gone on with behind as many rows as were told.

use rusqlite::Connection;
use serde_json::Value;

use crate::error::{Error, Result};

/// Instructions of a program that reads one table in its own order and tells what it finds, and those that such a
/// program has around it (sqlite.org/opcode.html). One that is not here may sort, join, gather or repeat.
const PLAIN: &str = "
    Init Transaction Goto Halt OpenRead Rewind Last Next Prev SeekGE SeekGT SeekLE SeekLT SeekRowid
    NotExists Rowid Column ResultRow Integer Int64 Real String8 Null Variable Copy SCopy Affinity Cast
    RealAffinity MustBeInt Eq Ne Lt Le Gt Ge If IfNot IsNull NotNull And Or Not BitAnd BitOr Add
    Subtract Multiply Divide Remainder Concat Function PureFunc Explain Noop DecrJumpZero IfPos
    OffsetLimit Once ElseEq ZeroOrNull IsTrue TypeCheck DeferredSeek BeginSubrtn ReleaseReg CollSeq
    Offset";

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind so many rows.
    Skip(u64),
    /// Behind the row whose column of that number has that value, in ascending order or not.
    Behind { column: u16, ascending: bool, last: i64 },
}

impl Place {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Skip(rows) => rows.to_be_bytes().to_vec(),
            Self::Behind { column, ascending, last } => {
                let mut bytes = vec![ascending.into()];
                bytes.extend(column.to_be_bytes());
                bytes.extend(last.to_be_bytes());
                bytes
            }
        }
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let behind = || -> Option<Self> {
            let (ascending, rest) = bytes.split_first()?;
            let (column, last) = rest.split_at_checked(2)?;
            Some(Self::Behind {
                column: u16::from_be_bytes(column.try_into().ok()?),
                ascending: *ascending != 0,
                last: i64::from_be_bytes(last.try_into().ok()?),
            })
        };
        let skip = || bytes.try_into().map(u64::from_be_bytes).ok().map(Self::Skip);
        skip().or_else(behind).ok_or_else(|| Error::internal("a cursor that was sealed here holds no place"))
    }
}

/// The statement that goes on behind `last`; `None` if its column can't be named.
pub(super) fn rest_of(sql: &str, names: &[String], column: u16, ascending: bool, last: i64) -> Option<String> {
    let name = names.get(usize::from(column))?;
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    let (than, order) = if ascending { (">", "ASC") } else { ("<", "DESC") };
    let sql = sql.trim_end().trim_end_matches(';');
    // On lines of its own, for it may end in a comment.
    Some(format!("SELECT * FROM (\n{sql}\n) WHERE {quoted} {than} {last} ORDER BY {quoted} {order}"))
}

/// The column that is the rowid of the one table that `sql` reads, in whose order its rows come, and whether that
/// is the ascending one. SQLite's own program for it says so, or it is not so.
pub(super) fn rowid_column(conn: &Connection, sql: &str, names: &[String]) -> Option<(u16, bool)> {
    let mut explained = conn.prepare(&format!("EXPLAIN {sql}")).ok()?;
    // Values for its parameters are not wanted: nothing of it runs.
    let mut lines = explained.raw_query();
    let mut program: Vec<(String, i64, i64)> = Vec::new();
    while let Some(line) = lines.next().ok()? {
        program.push((line.get(1).ok()?, line.get(2).ok()?, line.get(3).ok()?));
    }
    if !program.iter().all(|(code, ..)| PLAIN.split_whitespace().any(|plain| plain == code)) {
        return None;
    }
    let only = |wanted: &str| {
        let mut found = program.iter().filter(|(code, ..)| code == wanted);
        found.next().filter(|_| found.next().is_none())
    };
    let (_, table, _) = only("OpenRead")?;
    let (_, first, count) = only("ResultRow")?;
    let steps = |code: &str| program.iter().any(|(named, cursor, _)| named == code && cursor == table);
    let ascending = match (steps("Next"), steps("Prev")) {
        (true, false) => true,
        (false, true) => false,
        _ => return None,
    };
    // Its place among the columns is told by one instruction, and no other one writes there.
    let mut told =
        program.iter().filter(|(code, cursor, _)| code == "Rowid" && cursor == table).map(|(.., at)| at - first);
    let column = told.find(|column| (0..*count).contains(column))?;
    let name = names.get(usize::try_from(column).ok()?)?;
    let named_so = names.iter().filter(|other| other.eq_ignore_ascii_case(name)).count();
    (named_so == 1).then_some((u16::try_from(column).ok()?, ascending))
}

/// The value of `column` in the last of `rows`, if there it is a number and the column is in order.
pub(super) fn last_of(rows: &[Vec<Value>], column: u16, ascending: bool) -> Option<i64> {
    let values: Option<Vec<i64>> = rows.iter().map(|row| row.get(usize::from(column))?.as_i64()).collect();
    let values = values?;
    let in_order = values.windows(2).all(|two| if ascending { two[0] < two[1] } else { two[0] > two[1] });
    values.last().copied().filter(|_| in_order)
}

#[cfg(test)]
mod tests {
    use super::{Place, rest_of, rowid_column};
    use rusqlite::Connection;

    fn columns(sql: &str) -> Option<(u16, bool)> {
        let conn = Connection::open_in_memory().expect("a database");
        conn.execute_batch(
            "CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER, w TEXT); CREATE INDEX t_a ON t (a);
             CREATE TABLE u (k TEXT PRIMARY KEY, v) WITHOUT ROWID; CREATE VIEW v AS SELECT n, w FROM t;
             CREATE VIRTUAL TABLE f USING fts5 (w); CREATE TABLE d (n INTEGER PRIMARY KEY DESC, w)",
        )
        .expect("a schema");
        let statement = conn.prepare(sql).expect(sql);
        let names: Vec<_> = statement.column_names().into_iter().map(str::to_owned).collect();
        let found = rowid_column(&conn, sql, &names)?;
        let rest = rest_of(sql, &names, found.0, found.1, 7).expect("a name");
        conn.prepare(&rest).unwrap_or_else(|error| panic!("{rest}: {error}"));
        Some(found)
    }

    #[test]
    fn the_order_of_the_rowid_is_seen() {
        for (sql, column, ascending) in [
            ("SELECT n, w FROM t", 0, true),
            ("SELECT * FROM t ORDER BY n", 0, true),
            ("SELECT w, n FROM t ORDER BY n DESC;", 1, false),
            ("SELECT w, rowid FROM t WHERE w > 'x' -- all of them", 1, true),
            ("SELECT n, upper(w) FROM t WHERE n BETWEEN 5 AND 500", 0, true),
            ("SELECT n AS \"the \"\"n\"\"\" FROM t AS x WHERE w || a > ?1", 0, true),
            ("SELECT * FROM v", 0, true),
        ] {
            assert_eq!(columns(sql), Some((column, ascending)), "{sql}");
        }
    }

    #[test]
    fn any_other_order_is_none() {
        for sql in [
            "SELECT w FROM t",
            // Read from the index on a, in its order.
            "SELECT n FROM t",
            "SELECT n FROM t ORDER BY w",
            "SELECT n FROM t ORDER BY abs(n - 5)",
            "SELECT n FROM t WHERE a > 5",
            "SELECT -n AS n FROM t",
            "SELECT n, 1 AS n FROM t",
            "SELECT n FROM t UNION ALL SELECT n FROM t",
            "SELECT t.n FROM t JOIN u ON u.v = t.w",
            "SELECT count(*) AS n FROM t",
            "SELECT n, count(*) FROM t GROUP BY n % 2",
            "SELECT n, row_number() OVER (ORDER BY w) FROM t",
            "SELECT n FROM t WHERE n IN (SELECT a FROM t)",
            "SELECT k FROM u",
            "SELECT rowid FROM f",
            "SELECT n FROM d",
            "SELECT 1",
            "VALUES (1), (2)",
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c",
        ] {
            assert_eq!(columns(sql), None, "{sql}");
        }
    }

    #[test]
    fn a_place_is_read_as_it_was_written() {
        for place in
            [Place::Skip(0), Place::Skip(u64::MAX), Place::Behind { column: 3, ascending: false, last: i64::MIN }]
        {
            assert_eq!(Place::from_bytes(&place.to_bytes()).expect("its own bytes"), place);
        }
        assert!(Place::from_bytes(b"x").is_err());
    }
}
