//! What SQLite says, and what the caller should do about it.
//!
//! SQLite's own words go to the caller only where they speak of the caller's statement or data; a
//! message that may hold a path becomes an internal error.

use std::time::Duration;

use rusqlite::{ErrorCode, ffi};

use super::limits::{DATABASE_BYTES, VALUE_BYTES};
use crate::error::{Error, ErrorKind};

/// Whether the disk failed under SQLite: not a full one, and not a page that there was no memory for.
pub(super) fn is_disk_failure(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let code = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error);
        if let Some(failure) = code {
            return failure.code == ErrorCode::SystemIoFailure && failure.extended_code != ffi::SQLITE_IOERR_NOMEM;
        }
        cause = error.source();
    }
    false
}

/// What the callers are told of whose writes that was.
pub(super) fn disk_failed() -> Error {
    let said = "the disk failed while this was written: read what is there before you send it again";
    Error::new(ErrorKind::Unavailable, said).with_retry_after(Duration::from_secs(1))
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as Sqlite;
        let (kind, message) = match &error {
            Sqlite::SqliteFailure(failure, text) => return of_code(failure.code, text.clone(), error),
            Sqlite::SqlInputError { error: failure, msg, .. } => {
                return of_code(failure.code, Some(msg.clone()), error);
            }
            Sqlite::QueryReturnedNoRows => (ErrorKind::NotFound, "no such row".to_owned()),
            Sqlite::FromSqlConversionFailure(..)
            | Sqlite::IntegralValueOutOfRange(..)
            | Sqlite::InvalidColumnType(..)
            | Sqlite::InvalidColumnName(_)
            | Sqlite::InvalidColumnIndex(_)
            | Sqlite::InvalidParameterName(_)
            | Sqlite::InvalidParameterCount(..)
            | Sqlite::ToSqlConversionFailure(_)
            | Sqlite::Utf8Error(..)
            | Sqlite::NulError(_)
            | Sqlite::ExecuteReturnedResults
            | Sqlite::MultipleStatement => (ErrorKind::Invalid, error.to_string()),
            _ => (ErrorKind::Internal, "SQLite failed".to_owned()),
        };
        Self::new(kind, message).with_source(error)
    }
}

fn of_code(code: ErrorCode, text: Option<String>, error: rusqlite::Error) -> Error {
    let said = text.unwrap_or_else(|| error.to_string());
    let (kind, message) = match code {
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::ParameterOutOfRange => {
            (ErrorKind::Invalid, said)
        }
        // A function that the authorizer denies.
        ErrorCode::Unknown if said.starts_with("not authorized") => (ErrorKind::Forbidden, said),
        // Said before anybody is asked whether it may run.
        ErrorCode::Unknown if said.starts_with("cannot VACUUM") => (
            ErrorKind::Forbidden,
            "VACUUM is not available: a tenant has one file, and what is deleted makes room in it".to_owned(),
        ),
        // SQLITE_ERROR: syntax, no such table, and the like.
        ErrorCode::Unknown => (ErrorKind::Invalid, said),
        ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly => (ErrorKind::Forbidden, said),
        // `memory::within` tells how much that is.
        ErrorCode::OutOfMemory => (ErrorKind::Limit, "the statement needs more memory than it may use".to_owned()),
        // Which number it was, only the connection's settings know: `limits::name_bound` tells it.
        ErrorCode::TooBig => return Error::limit(VALUE_BYTES, 0, said).with_source(error),
        ErrorCode::DiskFull => {
            let said = "the database is full, and nothing was changed: delete what is not needed";
            return Error::limit(DATABASE_BYTES, 0, said).with_source(error);
        }
        // What rusqlite makes of a text with no statement in it.
        ErrorCode::ApiMisuse => (ErrorKind::Invalid, "there is no statement in this text".to_owned()),
        ErrorCode::OperationInterrupted => (ErrorKind::Limit, "the statement was interrupted".to_owned()),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            (ErrorKind::Busy, "the database is locked by another program; try again shortly".to_owned())
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            (ErrorKind::Unavailable, "the tenant's database is damaged: an operator has to restore it".to_owned())
        }
        _ => (ErrorKind::Internal, "SQLite failed".to_owned()),
    };
    Error::new(kind, message).with_source(error)
}
