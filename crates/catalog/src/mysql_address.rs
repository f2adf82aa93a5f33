//! The address of a MySQL or MariaDB server, and its options: each of them is one that has an effect, or the address is
//! refused. An option that is left out in silence may be the one that asks for TLS.

use crate::{Error, Kind, Result};
use sqlx::mysql::MySqlConnectOptions;
use std::str::FromStr;

/// Options with two spellings count under the first one.
const OPTIONS: [(&str, &str); 5] = [
    ("ssl-mode", "sslmode"),
    ("ssl-ca", "sslca"),
    ("ssl-cert", "sslcert"),
    ("ssl-key", "sslkey"),
    ("socket", ""),
];
const SSL_MODES: [&str; 5] = ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"];

/// Refuses an address that could not be used, as [`crate::MySql::open`] does. Connects to nobody.
pub fn check_mysql_url(url: &str) -> Result<()> {
    read_address(url).map(drop)
}

/// How to connect. No error shows the password.
pub(crate) fn read_address(url: &str) -> Result<MySqlConnectOptions> {
    let query = url.split('#').next().unwrap_or_default().split_once('?').map_or("", |(_, query)| query);
    check_options(query).map_err(refused)?;
    let connect = MySqlConnectOptions::from_str(url).map_err(refused)?;
    if connect.get_database().is_none_or(str::is_empty) {
        return Err(refused("it names no database, as in mysql://user@host:3306/mishards"));
    }
    Ok(connect.charset("utf8mb4"))
}

fn refused(what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Refused, format!("mysql: the address cannot be used: {what}"))
}

fn check_options(query: &str) -> std::result::Result<(), String> {
    let mut given: Vec<(&str, &str)> = Vec::new();
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let known =
            OPTIONS.iter().find(|(known, other)| name == *known || !other.is_empty() && name == *other);
        let Some((known, _)) = known else {
            if query.contains('@') {
                return Err("there is a ? before the @: in a password it is written %3F".to_owned());
            }
            let all = OPTIONS.map(|(known, _)| known).join(", ");
            return Err(format!("{name:?} is no option; there are: {all}"));
        };
        if value.is_empty() {
            return Err(format!("{known} has no value"));
        }
        if given.iter().any(|(other, _)| other == known) {
            return Err(format!("{known} stands there twice"));
        }
        given.push((*known, value));
    }
    let value = |name: &str| given.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let mode = value("ssl-mode").unwrap_or("PREFERRED");
    if !SSL_MODES.iter().any(|known| known.eq_ignore_ascii_case(mode)) {
        return Err(format!("ssl-mode {mode:?} is not known; there are: {}", SSL_MODES.join(", ")));
    }
    let verifies = mode.to_ascii_uppercase().starts_with("VERIFY_");
    if value("ssl-ca").is_some() && !verifies {
        return Err(format!(
            "ssl-ca has no effect with ssl-mode={mode}: say ssl-mode=VERIFY_IDENTITY or VERIFY_CA"
        ));
    }
    if value("ssl-cert").is_some() != value("ssl-key").is_some() {
        return Err("ssl-cert and ssl-key go together".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(query: &str) -> String {
        match check_mysql_url(&format!("mysql://me:secret@h:3306/d?{query}")) {
            Ok(()) => String::new(),
            Err(e) => {
                assert_eq!(e.kind, Kind::Refused);
                assert!(!e.message.contains("secret"), "{e}");
                e.message
            }
        }
    }

    #[test]
    fn options_that_have_an_effect_are_accepted() {
        for query in [
            "",
            "ssl-mode=REQUIRED",
            "sslmode=preferred",
            "ssl-mode=VERIFY_IDENTITY&ssl-ca=/ca.pem&ssl-cert=/c.pem&ssl-key=/k.pem",
            "socket=/run/mysqld/mysqld.sock",
        ] {
            assert_eq!(said(query), "", "{query}");
        }
    }

    #[test]
    fn all_others_are_refused_by_name() {
        for (query, part) in [
            ("ssl-mod=REQUIRED", "\"ssl-mod\" is no option; there are: ssl-mode, ssl-ca"),
            ("ssl_mode=REQUIRED", "\"ssl_mode\""),
            ("SSL-MODE=REQUIRED", "\"SSL-MODE\""),
            ("useSSL=true&ssl-mode=REQUIRED", "\"useSSL\""),
            ("charset=latin1", "\"charset\""),
            ("=x", "\"\" is no option"),
            ("ssl-mode", "ssl-mode has no value"),
            ("ssl-mode=ON", "DISABLED, PREFERRED, REQUIRED"),
            ("ssl-mode=DISABLED&sslmode=REQUIRED", "ssl-mode stands there twice"),
            ("ssl-ca=/ca.pem", "ssl-mode=VERIFY_IDENTITY"),
            ("ssl-mode=REQUIRED&ssl-ca=/ca.pem", "no effect with ssl-mode=REQUIRED"),
            ("ssl-cert=/c.pem", "ssl-key"),
        ] {
            assert!(said(query).contains(part), "{query}: {}", said(query));
        }
    }

    #[test]
    fn a_password_with_a_question_mark_is_not_taken_for_options() {
        for url in ["mysql://me:sec?ret@h/d", "mysql://me:1?ret@h/d?ssl-mode=REQUIRED"] {
            let error = check_mysql_url(url).unwrap_err();
            assert!(error.message.contains("%3F") && !error.message.contains("ret@"), "{error}");
        }
    }

    #[test]
    fn an_address_without_a_database_is_refused() {
        for url in ["mysql://h", "mysql://h/", "mysql://h:99999/d", "mysql:///d?x=1", ""] {
            assert!(check_mysql_url(url).is_err(), "{url}");
        }
    }
}
