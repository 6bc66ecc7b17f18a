//! What a stranger's schema holds: made again, object by object, in an empty database, by an agent's rights. What an
//! agent could not make is refused, and so is what does not come out as it stands in the file.

use std::collections::HashSet;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection};

use super::{Examination, damaged, shortened};
use crate::config::Limits;
use crate::db::authorizer::is_hosts;
use crate::db::open::Guards;
use crate::db::{Caller, Migrations, Mode, Searched, limits, unfold};
use crate::error::{Error, ErrorKind, Result};

/// All definitions together, in bytes of text.
const TEXT_MOST: usize = 4 * 1024 * 1024;
/// SQLite's own tables, which nobody can make by name and which any file may have.
const OF_SQLITE: &[(&str, &str)] = &[
    ("sqlite_sequence", "CREATE TABLE sqlite_sequence(name,seq)"),
    ("sqlite_stat1", "CREATE TABLE sqlite_stat1(tbl,idx,stat)"),
    ("sqlite_stat4", "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)"),
];

/// One row of `sqlite_schema`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Object {
    kind: String,
    name: String,
    table: String,
    sql: Option<String>,
    /// A virtual table's: it has no pages of its own.
    is_virtual: bool,
}

/// What a file has.
#[derive(Debug)]
pub(super) struct Found {
    objects: Vec<Object>,
    /// Steps of the host's migrations that it has behind it, and of the program's.
    host: usize,
    app: usize,
}

/// Reads the schema of `conn`.
pub(super) fn read(conn: &Connection, held: &Examination<'_>) -> Result<Found> {
    limits::check_objects(conn, held.limits)?;
    let objects = objects(conn)?;
    if let Some(told) = objects.iter().find(|object| object.name.eq_ignore_ascii_case("_fh_migration")) {
        // It is asked at once, and may not be a view, or columns that compute.
        let own = migrated(1, 0, held)?;
        if !essences(&own).contains(&told.essence()) {
            return Err(foreign(told));
        }
    }
    Ok(Found { objects, host: Migrations::of_host().check(conn)?, app: held.app.check(conn)? })
}

fn objects(conn: &Connection) -> Result<Vec<Object>> {
    let mut listed = conn.prepare("SELECT type, name, tbl_name, sql, rootpage FROM sqlite_schema ORDER BY rowid")?;
    let mut rows = listed.query([])?;
    let (mut objects, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let word = |at| row.get::<_, String>(at).map_err(|_| damaged("a row of its schema is none"));
        let sql = match row.get_ref(3)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(word(3)?),
        };
        bytes += sql.as_ref().map_or(0, String::len);
        if bytes > TEXT_MOST {
            return Err(Error::invalid(format!("its definitions are longer than {TEXT_MOST} bytes together")));
        }
        let is_virtual = row.get::<_, i64>(4).is_ok_and(|page| page == 0);
        objects.push(Object { kind: word(0)?, name: word(1)?, table: word(2)?, sql, is_virtual });
    }
    Ok(objects)
}

/// Refuses what may not be in a tenant's file.
pub(super) fn check(found: &Found, held: &Examination<'_>, bounds: &Limits) -> Result<()> {
    let made = migrated(found.host, found.app, held)?;
    let known = essences(&made);
    let (hosts, others): (Vec<_>, Vec<_>) = found.objects.iter().partition(|object| is_hosts(&object.name));
    check_hosts(&hosts, &known)?;
    check_places(&others, &made, held)?;
    let mut conn = Connection::open_in_memory()?;
    Migrations::of_host().apply(&mut conn)?;
    limits::restrict(&conn, held.limits.value_bytes.as_u64())?;
    let guards = Guards::install(&conn)?;
    let scratch = Scratch { conn: &conn, guards: &guards };
    guards.watch.limited(bounds, Caller::default(), || {
        scratch.make_again(&others, &known)?;
        scratch.compare(&others)?;
        unfold::check_views(&conn).map_err(|error| error.at("its schema".to_owned()))?;
        let searched = Searched::of(&conn)?;
        let seen = |object: &&&Object| !known.contains(&object.essence());
        let mut own = others.iter().filter(seen);
        own.try_for_each(|object| scratch.compile(object, &searched).map_err(|error| object.refused(error)))
    })
}

/// What so many steps of the host's migrations and of the program's make.
fn migrated(host: usize, app: usize, held: &Examination<'_>) -> Result<Vec<Object>> {
    let mut conn = Connection::open_in_memory()?;
    Migrations::of_host().run(&mut conn, 0..host)?;
    held.app.run(&mut conn, 0..app)?;
    objects(&conn)
}

fn essences(objects: &[Object]) -> HashSet<Vec<String>> {
    objects.iter().map(Object::essence).collect()
}

fn foreign(object: &Object) -> Error {
    let named = shortened(&object.name);
    Error::invalid(format!("{named:?} is not what the host makes by that name: names that begin with _fh_ are its own"))
}

/// All of the host's tables, exactly, or none.
fn check_hosts(hosts: &[&Object], known: &HashSet<Vec<String>>) -> Result<()> {
    if let Some(foreign) = hosts.iter().find(|object| !known.contains(&object.essence())) {
        return Err(self::foreign(foreign));
    }
    let has: HashSet<_> = hosts.iter().map(|object| object.essence()).collect();
    match known.iter().find(|essence| is_hosts(&essence[1]) && !has.contains(*essence)) {
        Some(missing) => Err(damaged(&format!("the host's {} {} is missing", missing[0], missing[1]))),
        None => Ok(()),
    }
}

/// A plain database gets the program's tables as it is opened for the first time: their places have to be free.
fn check_places(others: &[&Object], made: &[Object], held: &Examination<'_>) -> Result<()> {
    let all = migrated(0, held.app.len(), held)?;
    let names = |object: &Object, among: &[Object]| among.iter().any(|one| one.name.eq_ignore_ascii_case(&object.name));
    match others.iter().find(|object| names(object, &all) && !names(object, made)) {
        Some(taken) => Err(taken.refused(Error::invalid("this program makes a table by that name itself: rename it"))),
        None => Ok(()),
    }
}

impl Object {
    /// It without blanks, comments and kinds of quotes, which say nothing about what it is.
    fn essence(&self) -> Vec<String> {
        let sql = self.sql.as_deref().unwrap_or_default();
        let named = [&self.kind, &self.name, &self.table].map(Clone::clone);
        named.into_iter().chain(unfold::words(sql)).collect()
    }

    fn refused(&self, error: Error) -> Error {
        // It is not for who brings the file to ask for other rights.
        let error = if error.kind() == ErrorKind::Forbidden { Error::invalid(error.to_string()) } else { error };
        error.at(format!("the {} {:?}", shortened(&self.kind), shortened(&self.name)))
    }

    fn is_of_sqlite(&self) -> bool {
        OF_SQLITE.iter().any(|(name, sql)| self.name == *name && self.sql.as_deref() == Some(sql))
    }

    /// In which order they can be made: virtual tables bring tables of their own.
    fn turn(&self) -> u8 {
        match self.kind.as_str() {
            "table" if self.is_virtual => 0,
            "table" => 1,
            "view" => 2,
            "index" => 3,
            _ => 4,
        }
    }
}

/// An empty database with the host's tables, in which a stranger's are made again.
struct Scratch<'a> {
    conn: &'a Connection,
    guards: &'a Guards,
}

impl Scratch<'_> {
    fn make_again(&self, objects: &[&Object], known: &HashSet<Vec<String>>) -> Result<()> {
        let mut in_order = objects.to_vec();
        in_order.sort_by_key(|object| object.turn());
        for object in in_order {
            let Some(sql) = object.sql.as_deref() else { continue };
            if object.is_of_sqlite() || (object.turn() == 1 && self.has(&object.name)?) {
                continue;
            }
            // What the program's own migrations made may be more than an agent can.
            let mode = if known.contains(&object.essence()) { Mode::Host } else { Mode::Tenant };
            self.guards.authorizer.during(mode, || self.run(sql, mode)).map_err(|error| object.refused(error))?;
        }
        Ok(())
    }

    fn run(&self, sql: &str, mode: Mode) -> Result<()> {
        if mode == Mode::Tenant {
            unfold::check_statement(sql)?;
        }
        let mut batch = Batch::new(self.conn, sql);
        let Some(mut only) = batch.next()? else { return Err(damaged("it has no definition")) };
        only.raw_execute()?;
        drop(only);
        if batch.next()?.is_some() { Err(damaged("its definition is followed by another")) } else { Ok(()) }
    }

    fn has(&self, table: &str) -> Result<bool> {
        let asked = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE)";
        Ok(self.conn.prepare_cached(asked)?.query_row([table], |row| row.get(0))?)
    }

    /// Word by word: what it says is what SQLite would write of it.
    fn compare(&self, objects: &[&Object]) -> Result<()> {
        let made = self::objects(self.conn)?;
        let made: Vec<_> = made.iter().filter(|object| !is_hosts(&object.name)).collect();
        let of_both = |object: &&&Object| !OF_SQLITE.iter().any(|(name, _)| object.name == *name);
        let file: HashSet<_> = objects.iter().filter(of_both).map(|object| object.essence()).collect();
        let scratch: HashSet<_> = made.iter().filter(of_both).map(|object| object.essence()).collect();
        let differs = file.symmetric_difference(&scratch).next();
        if let Some(one) = differs {
            return Err(damaged(&format!("its schema is not what SQLite writes at the {} {:?}", one[0], one[1])));
        }
        let counts = |object: &Object| {
            unfold::words(object.sql.as_deref().unwrap_or_default())
                .any(|word| word.eq_ignore_ascii_case("autoincrement"))
        };
        let counted = objects.iter().any(|object| object.name == "sqlite_sequence");
        let lost = !counted && objects.iter().any(|object| counts(object));
        if lost { Err(damaged("the table sqlite_sequence is missing")) } else { Ok(()) }
    }

    /// Views and triggers are looked at by SQLite as they are used: here, though nothing is in them. Those that
    /// name what is not there were so when they came.
    fn compile(&self, object: &Object, searched: &Searched) -> Result<()> {
        searched.check(object.sql.as_deref().unwrap_or_default())?;
        let named = quoted(&object.name);
        let statements = match object.kind.as_str() {
            "view" => vec![format!("SELECT * FROM {named}")],
            "trigger" => self.firing(&object.table)?,
            _ => return Ok(()),
        };
        for sql in statements {
            let compiled = self.guards.authorizer.during(Mode::Tenant, || Ok(self.conn.prepare(&sql).map(drop)?));
            if let Err(error) = compiled
                && (error.kind() == ErrorKind::Limit || self.guards.authorizer.has_refused())
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Statements that between them set off every trigger of `table`.
    fn firing(&self, table: &str) -> Result<Vec<String>> {
        let mut columns = self.conn.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0")?;
        let columns = columns.query_map([table], |row| Ok(quoted(&row.get::<_, String>(0)?)))?;
        let set: Vec<_> =
            columns.map(|column| column.map(|column| format!("{column} = {column}"))).collect::<Result<_, _>>()?;
        let table = quoted(table);
        Ok(vec![
            format!("DELETE FROM {table}"),
            format!("INSERT INTO {table} DEFAULT VALUES"),
            format!("UPDATE {table} SET {}", set.join(", ")),
        ])
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
