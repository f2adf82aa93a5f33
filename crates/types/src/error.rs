//! The error that reaches a client: a Milvus status code and a text. Codes: Milvus `pkg/util/merr`.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A Milvus status code with what follows from it: the legacy `error_code`, retriable, caused by input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub i32);

impl Code {
    pub const NOT_READY: Code = Code(1);
    pub const UNAVAILABLE: Code = Code(2);
    pub const INTERNAL: Code = Code(5);
    pub const DISK_LIMIT: Code = Code(6);
    pub const RATE_LIMIT: Code = Code(8);
    pub const UNIMPLEMENTED: Code = Code(10);
    pub const COLLECTION_NOT_FOUND: Code = Code(100);
    pub const COLLECTION_NOT_LOADED: Code = Code(101);
    pub const TOO_MANY_COLLECTIONS: Code = Code(102);
    pub const SCHEMA_MISMATCH: Code = Code(109);
    pub const PARTITION_NOT_FOUND: Code = Code(200);
    pub const PARTITION_NOT_LOADED: Code = Code(201);
    pub const INDEX_NOT_FOUND: Code = Code(700);
    pub const INDEX_TYPE_UNSUPPORTED: Code = Code(701);
    pub const INDEX_AMBIGUOUS: Code = Code(702);
    pub const DATABASE_NOT_FOUND: Code = Code(800);
    pub const TOO_MANY_DATABASES: Code = Code(801);
    pub const DATABASE_NAME: Code = Code(802);
    pub const INVALID: Code = Code(1100);
    pub const MISSING: Code = Code(1101);
    pub const TOO_LARGE: Code = Code(1102);
    pub const ALIAS_NOT_FOUND: Code = Code(1600);
    pub const ALIAS_IS_COLLECTION: Code = Code(1601);
    pub const ALIAS_EXISTS: Code = Code(1602);
    pub const FIELD_NOT_FOUND: Code = Code(1700);
    pub const FIELD_NAME: Code = Code(1701);
    pub const IO: Code = Code(1001);
    pub const INTEGRITY: Code = Code(1009);
    pub const UNEXPECTED: Code = Code(65535);
    pub const TIMEOUT: Code = Code(10001);

    /// Whether the same request may succeed when it is sent again.
    pub fn is_retriable(self) -> bool {
        matches!(self.0, 1 | 2 | 4 | 8 | 12 | 103 | 106 | 110 | 202)
    }

    /// Whether the request itself is at fault.
    pub fn is_input(self) -> bool {
        matches!(self.0, 100..=102 | 104 | 105 | 109 | 200 | 702 | 800..=802 | 1100..=1102 | 1600)
    }

    /// The `error_code` of old clients (enum `common.ErrorCode`).
    pub fn legacy(self) -> i32 {
        match self.0 {
            0 => 0,
            1 | 110 => 56,
            100 => 4,
            1100..=1102 => 5,
            904 => 50,
            200 | 400 | 501 => 15,
            401 | 503 | 506 | 905 => 46,
            3 => 52,
            7 => 54,
            11 | 505 => 55,
            8 => 49,
            9 => 48,
            700 => 25,
            600 => 47,
            109 => 62,
            _ => 1,
        }
    }
}

/// A refused or failed request, as its client will read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub code: Code,
    pub message: String,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into() }
    }

    /// 1100, with the base text that clients match on.
    pub fn invalid(what: impl fmt::Display) -> Error {
        Error::new(Code::INVALID, format!("{what}: invalid parameter"))
    }

    /// 1100, with what was expected and what came.
    pub fn mismatch(
        what: impl fmt::Display,
        expected: impl fmt::Display,
        actual: impl fmt::Display,
    ) -> Error {
        Error::new(Code::INVALID, format!("{what}: invalid parameter[expected={expected}][actual={actual}]"))
    }

    pub fn missing(what: impl fmt::Display) -> Error {
        Error::new(Code::MISSING, format!("{what}: missing parameter"))
    }

    pub fn internal(what: impl fmt::Display) -> Error {
        Error::new(Code::INTERNAL, format!("{what}: service internal error"))
    }

    pub fn unavailable(what: impl fmt::Display) -> Error {
        Error::new(Code::UNAVAILABLE, format!("{what}: service unavailable"))
    }

    pub fn rate_limit(what: impl fmt::Display) -> Error {
        Error::new(Code::RATE_LIMIT, format!("{what}: rate limit exceeded"))
    }

    pub fn collection_not_found(db: &str, name: impl fmt::Display) -> Error {
        Error::new(
            Code::COLLECTION_NOT_FOUND,
            format!("collection not found[database={db}][collection={name}]"),
        )
    }

    pub fn collection_not_loaded(name: impl fmt::Display) -> Error {
        Error::new(Code::COLLECTION_NOT_LOADED, format!("collection not loaded[collection={name}]"))
    }

    pub fn partition_not_found(name: impl fmt::Display) -> Error {
        Error::new(
            Code::PARTITION_NOT_FOUND,
            format!("partition name {name} not found: partition not found[partition={name}]"),
        )
    }

    pub fn partition_not_loaded(name: impl fmt::Display) -> Error {
        Error::new(Code::PARTITION_NOT_LOADED, format!("partition not loaded[partition={name}]"))
    }

    pub fn database_not_found(name: impl fmt::Display) -> Error {
        Error::new(Code::DATABASE_NOT_FOUND, format!("database not found[database={name}]"))
    }

    pub fn index_not_found(what: impl fmt::Display) -> Error {
        Error::new(Code::INDEX_NOT_FOUND, format!("index not found[{what}]"))
    }

    pub fn alias_not_found(db: &str, name: impl fmt::Display) -> Error {
        Error::new(Code::ALIAS_NOT_FOUND, format!("alias not found[database={db}][alias={name}]"))
    }

    pub fn field_not_exist(name: impl fmt::Display) -> Error {
        Error::invalid(format!("field {name} not exist"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
