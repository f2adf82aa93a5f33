//! The environment's variables that concern us: settings, and those that only look like settings.

use std::ffi::OsString;

const SETTING: &str = "MISHARDS__";
const OURS: &str = "MISHARDS_";

/// Variables, sorted by what they are.
#[derive(Default)]
pub struct Variables {
    /// Name, key, value.
    pub settings: Vec<(String, String, String)>,
    /// Not one of these is a setting.
    pub ignored: Vec<String>,
    /// What is wrong with settings that are no text.
    pub unreadable: Vec<String>,
}

/// Sorts the variables of an environment.
pub fn sort(environment: Vec<(OsString, OsString)>) -> Variables {
    let names: Vec<String> =
        environment.iter().filter_map(|(name, _)| name.to_str()).map(str::to_owned).collect();
    let mut sorted = Variables::default();
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        match (name.strip_prefix(SETTING), value.into_string()) {
            (Some(rest), Ok(value)) => {
                sorted.settings.push((name.to_owned(), rest.to_lowercase().replace("__", "."), value));
            }
            (Some(_), Err(_)) => sorted.unreadable.push(format!("{name}: the value is no UTF-8 text")),
            (None, _) if name.starts_with(OURS) && !is_of_kubernetes(name, &names) => {
                sorted.ignored.push(name.to_owned());
            }
            (None, _) => {}
        }
    }
    sorted.ignored.sort_unstable();
    sorted
}

/// Kubernetes sets such variables in every container for each service, also for one that is called mishards-router.
fn is_of_kubernetes(name: &str, names: &[String]) -> bool {
    let mut services = names.iter().filter_map(|other| other.strip_suffix("_SERVICE_HOST"));
    services.any(|service| {
        let rest = name.strip_prefix(service);
        rest.is_some_and(|rest| rest.starts_with("_SERVICE_") || rest.starts_with("_PORT"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(names: &[&str]) -> Vec<(OsString, OsString)> {
        names.iter().map(|name| (OsString::from(name), OsString::from("v"))).collect()
    }

    #[test]
    fn settings_and_what_only_looks_like_them() {
        let sorted =
            sort(environment(&["PATH", "MISHARDS__NODE__NAME", "MISHARDS_SERVER_LISTEN", "MISHARDSX"]));
        let setting = ("MISHARDS__NODE__NAME".to_owned(), "node.name".to_owned(), "v".to_owned());
        assert_eq!(sorted.settings, [setting]);
        assert_eq!(sorted.ignored, ["MISHARDS_SERVER_LISTEN"]);
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_is_not_meant_for_us() {
        let of_service = ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_GRPC", "PORT", "PORT_19530_TCP_ADDR"];
        let names = of_service.map(|end| format!("MISHARDS_ROUTER_{end}"));
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.push("MISHARDS_NODE_PORT");
        assert_eq!(sort(environment(&names)).ignored, ["MISHARDS_NODE_PORT"]);
    }

    #[test]
    fn a_value_that_is_no_text_is_refused_where_it_is_a_setting() {
        use std::os::unix::ffi::OsStringExt;
        let bytes = || OsString::from_vec(vec![0xff]);
        let sorted = sort(vec![
            ("MISHARDS__NODE__NAME".into(), bytes()),
            ("OTHER".into(), bytes()),
            (bytes(), bytes()),
        ]);
        assert_eq!(sorted.unreadable.len(), 1);
        assert!(sorted.unreadable[0].contains("MISHARDS__NODE__NAME"));
    }
}
