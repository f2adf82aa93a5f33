//! Settings: a table of keys, each with what it may be and a default; a TOML file, then `MISHARDS__SECTION__KEY`, then flags
//! override the defaults. Everything is checked here, when it is read: what `mishards config` accepts, a server accepts.

mod keys;
mod values;
mod variables;

use keys::{KEYS, SECRET};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;
use values::Kind;

struct Setting {
    value: String,
    source: String,
}

/// All settings, each with where it came from.
pub struct Config {
    settings: BTreeMap<&'static str, Setting>,
    /// Variables of the environment that look like settings and are none.
    ignored_variables: Vec<String>,
}

/// Where settings come from besides the defaults. Later ones win: file, environment, flags.
#[derive(Default)]
pub struct Sources<'a> {
    pub file: Option<&'a Path>,
    pub environment: Vec<(OsString, OsString)>,
    pub flags: &'a [(&'a str, Option<String>)],
}

/// Reads the settings of this process and checks them; the error names all that is wrong.
pub fn load(file: Option<&Path>, flags: &[(&str, Option<String>)]) -> Result<Config, String> {
    read(Sources { file, environment: std::env::vars_os().collect(), flags })
}

/// Reads settings and checks them.
pub fn read(sources: Sources) -> Result<Config, String> {
    let defaults = KEYS
        .iter()
        .map(|key| (key.name, Setting { value: key.default.to_owned(), source: "default".to_owned() }));
    let mut config = Config { settings: defaults.collect(), ignored_variables: Vec::new() };
    let mut wrong = Vec::new();
    if let Some(path) = sources.file {
        config.take_file(path, &mut wrong)?;
    }
    let variables = variables::sort(sources.environment);
    config.ignored_variables = variables.ignored;
    wrong.extend(variables.unreadable);
    for (name, key, value) in variables.settings {
        wrong.extend(config.set(&key, value, &name).err());
    }
    for (key, value) in sources.flags {
        if let Some(value) = value {
            wrong.extend(config.set(key, value.clone(), "command line").err());
        }
    }
    wrong.extend(config.faults());
    if wrong.is_empty() { Ok(config) } else { Err(wrong.join("\n  ")) }
}

/// The text of a value; a list only where one may stand.
fn text_of(key: &str, value: &toml::Value) -> Result<String, String> {
    let takes_list = keys::find(key).is_none_or(|key| key.kind.takes_list());
    Ok(match value {
        toml::Value::String(s) => s.clone(),
        toml::Value::Array(items) if takes_list => {
            items.iter().map(|item| text_of(key, item)).collect::<Result<Vec<_>, _>>()?.join(",")
        }
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => value.to_string(),
        other => return Err(format!("{key} cannot be {other}")),
    })
}

impl Config {
    fn take_file(&mut self, path: &Path, wrong: &mut Vec<String>) -> Result<(), String> {
        let place = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {place}: {e}"))?;
        let table: toml::Table = text.parse().map_err(|e| format!("{place}: {e}"))?;
        for (section, value) in table {
            let toml::Value::Table(keys) = value else {
                return Err(format!("{place}: {section} must be a section, [{section}]"));
            };
            for (key, value) in keys {
                let key = format!("{section}.{key}");
                let text = text_of(&key, &value).map_err(|e| format!("{place}: {e}"));
                wrong.extend(text.and_then(|text| self.set(&key, text, &place)).err());
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: String, source: &str) -> Result<(), String> {
        match self.settings.iter_mut().find(|(known, _)| **known == key) {
            Some((_, setting)) => {
                *setting = Setting { value, source: source.to_owned() };
                Ok(())
            }
            None => {
                let near = values::nearest(key, KEYS.iter().map(|key| key.name)).unwrap_or_default();
                Err(format!(
                    "{source}: unknown setting {key}; did you mean {near}? `mishards config` lists all"
                ))
            }
        }
    }

    /// What is wrong with the values: each by itself, and then those that go together.
    fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = KEYS
            .iter()
            .filter_map(|key| {
                let why = key.kind.check(self.text(key.name)).err()?;
                Some(format!("{}: {} {why}", self.source(key.name), key.name))
            })
            .collect();
        if faults.is_empty() {
            faults.extend(crate::discovery::check(self).err());
        }
        faults
    }

    /// What of the environment was meant for us, perhaps, and has no effect.
    pub fn warning(&self) -> Option<String> {
        let names = self.ignored_variables.join(", ");
        (!names.is_empty()).then(|| {
            format!(
                "no settings, and so without effect: {names}. A setting has two underscores after MISHARDS and after its \
                 section, as in MISHARDS__SERVER__LISTEN"
            )
        })
    }

    /// Where a setting came from.
    pub fn source(&self, key: &str) -> &str {
        self.settings.get(key).map_or("", |s| s.source.as_str())
    }

    /// A setting; every key in the code is in the table.
    pub fn text(&self, key: &str) -> &str {
        self.settings.get(key).map_or("", |s| s.value.as_str())
    }

    /// A whole number, or a size in bytes. It was checked when it was read.
    pub fn number(&self, key: &str) -> Result<u64, String> {
        let text = self.text(key);
        let number = match keys::find(key).map(|key| &key.kind) {
            Some(Kind::Number { .. }) => values::whole(text),
            Some(Kind::Bytes { .. }) => values::bytes(text),
            _ => None,
        };
        number.ok_or_else(|| format!("{}: {key} is no number: {text:?}", self.source(key)))
    }

    /// A time. It was checked when it was read.
    pub fn duration(&self, key: &str) -> Result<Duration, String> {
        let text = self.text(key);
        let time = match keys::find(key).map(|key| &key.kind) {
            Some(Kind::Duration { unit, .. }) => values::duration(text, unit),
            _ => None,
        };
        time.ok_or_else(|| format!("{}: {key} is no time: {text:?}", self.source(key)))
    }

    /// A share, from 0 to 1. It was checked when it was read.
    pub fn ratio(&self, key: &str) -> Result<f64, String> {
        let text = self.text(key);
        text.trim().parse().map_err(|_| format!("{}: {key} is no ratio: {text:?}", self.source(key)))
    }

    pub fn list(&self, key: &str) -> Vec<String> {
        values::list(self.text(key))
    }

    /// All settings as TOML, with source and meaning as comments.
    pub fn explain(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        for key in KEYS {
            let (head, name) = key.name.split_once('.').unwrap_or(("", key.name));
            if head != section {
                out.push_str(&format!("{}[{head}]\n", if section.is_empty() { "" } else { "\n" }));
                section = head;
            }
            let Some(setting) = self.settings.get(key.name) else { continue };
            let value = match setting.value.parse::<i64>() {
                Ok(n) => n.to_string(),
                Err(_) if SECRET.contains(&key.name) && !setting.value.is_empty() => "\"***\"".to_owned(),
                Err(_) => quoted(&without_password(&setting.value)),
            };
            out.push_str(&format!("# {} (from: {})\n{name} = {value}\n", key.meaning, setting.source));
        }
        out
    }
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// What is shown of an address that may hold a password.
pub fn without_password(value: &str) -> String {
    let hidden = value.split_once("://").and_then(|(scheme, rest)| {
        let (user, place) = rest.rsplit_once('@')?;
        let (name, _) = user.split_once(':')?;
        Some(format!("{scheme}://{name}:***@{place}"))
    });
    hidden.unwrap_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests;
