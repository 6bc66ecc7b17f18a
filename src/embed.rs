//! What [`migrations!`](crate::migrations) expands to: the `.sql` files of a folder, in the program itself.

use std::borrow::Cow;

pub use rust_embed::{EmbeddedFile, Filenames, Metadata, RustEmbed, utils};

use crate::db::Migration;

/// The `.sql` files of `Folder`, sorted by name.
///
/// # Panics
/// When there is none, or one is not UTF-8: the program was built from the wrong folder.
#[must_use]
pub fn migrations<Folder: RustEmbed>() -> Vec<Migration> {
    let mut names: Vec<_> = Folder::iter().filter(|name| name.ends_with(".sql") && !name.contains('/')).collect();
    names.sort();
    assert!(!names.is_empty(), "there is no .sql file in the folder that `migrations!` names");
    let read = |name: Cow<'static, str>| {
        let file = Folder::get(&name).expect("a file of the folder");
        let sql = String::from_utf8(file.data.into_owned()).expect("a migration in UTF-8");
        Migration { name, sql: sql.into() }
    };
    names.into_iter().map(read).collect()
}
