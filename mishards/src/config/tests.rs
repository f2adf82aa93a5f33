//! Tests of the settings: sources, refusals, and what is shown.

use super::*;

fn in_file<T>(text: &str, then: impl FnOnce(&Path) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.toml");
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(&path, text).unwrap();
    then(&path)
}

fn with_file(text: &str) -> Result<Config, String> {
    let flags = [("server.listen", Some("1.2.3.4:5".to_owned()))];
    in_file(text, |path| read(Sources { file: Some(path), flags: &flags, ..Sources::default() }))
}

fn refusal(text: &str) -> String {
    with_file(text).err().unwrap_or_else(|| panic!("accepted: {text}"))
}

#[test]
fn later_sources_win() {
    let config =
        with_file("[server]\nlisten = \"x:1\"\nops_listen = \"y:2\"\n[ingest]\nseal_rows = 7\n").unwrap();
    assert_eq!(config.text("server.listen"), "1.2.3.4:5");
    assert_eq!(config.text("server.ops_listen"), "y:2");
    assert_eq!(config.number("ingest.seal_rows"), Ok(7));
    assert_eq!(config.text("cluster.id"), "mishards");
}

#[test]
fn the_environment_wins_over_the_file() {
    let environment = vec![
        ("MISHARDS__INGEST__SEAL_ROWS".into(), "8".into()),
        ("MISHARDS_INGEST_SEAL_BYTES".into(), "9".into()),
    ];
    let read = |path: &Path| read(Sources { file: Some(path), environment, ..Sources::default() });
    let config = in_file("[ingest]\nseal_rows = 7\n", read).unwrap();
    assert_eq!(config.number("ingest.seal_rows"), Ok(8));
    assert_eq!(config.ignored_variables, ["MISHARDS_INGEST_SEAL_BYTES"]);
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let error = refusal("[ingest]\nseal_row = 7\n");
    assert!(error.contains("ingest.seal_row") && error.contains("did you mean ingest.seal_rows"), "{error}");
    assert!(refusal("seal = 7\n").contains("must be a section"));
    assert!(with_file("[ingest\n").is_err());
}

#[test]
fn the_defaults_pass_their_own_check_and_are_of_the_kind_that_is_asked_for() {
    let config = read(Sources::default()).unwrap();
    for key in KEYS {
        match key.kind {
            Kind::Number { .. } | Kind::Bytes { .. } => drop(config.number(key.name).unwrap()),
            Kind::Duration { .. } => drop(config.duration(key.name).unwrap()),
            Kind::Ratio => drop(config.ratio(key.name).unwrap()),
            _ => {}
        }
        assert_eq!(key.name.ends_with("_bytes"), matches!(key.kind, Kind::Bytes { .. }), "{}", key.name);
        let unit = match key.kind {
            Kind::Duration { unit, .. } => unit,
            _ => "",
        };
        assert_eq!(key.name.ends_with("_seconds"), unit == "s", "{}", key.name);
        assert_eq!(key.name.ends_with("_ms"), unit == "ms", "{}", key.name);
    }
    assert_eq!(config.number("ingest.seal_bytes"), Ok(536_870_912));
    assert_eq!(config.duration("node.catch_up_ms"), Ok(Duration::from_millis(50)));
}

/// Each line is a setting that a server could not follow, and what is said of it.
#[test]
fn nonsense_is_refused_with_key_value_and_what_there_is() {
    for (section, line, said) in [
        ("ingest", "seal_rows = -1", "a whole number from 1 to"),
        ("ingest", "seal_rows = 0", "a whole number from 1 to"),
        ("ingest", "seal_rows = [1]", "ingest.seal_rows cannot be [1]"),
        ("ingest", "seal_bytes = \"512M\"", "512MB"),
        ("ingest", "seal_bytes = 0", "at least 1 byte"),
        ("log", "format = \"xml\"", "must be text or json, not \"xml\""),
        ("log", "level = \"verbose\"", "off, error, warn, info, debug, trace"),
        ("log", "level = \"debg\"", "did you mean debug?"),
        ("log", "file_bytes = 1", "at least 4096 bytes"),
        ("discovery", "plugin = \"eureka\"", "static, dns, catalog, consul, etcd"),
        ("discovery", "static_nodes = [\"a\"]", "name=host:port"),
        ("discovery", "dns_port = 65536", "from 0 to 65535"),
        ("protocol", "version = \"foo\"", "of the form v2.6.x"),
        ("router", "placement = \"random\"", "bounded-ring or rendezvous"),
        ("trace", "sample_ratio = 7", "a number from 0 to 1"),
        ("trace", "endpoint = \"jaeger\"", "http://jaeger:4317"),
        ("retention", "window_seconds = 0", "from 1 s to 365 d"),
        ("lease", "ttl_seconds = 1e40", "to 365 d"),
        ("node", "name = \"a=b\"", "none of them a comma"),
        ("cluster", "catalog = \"sqlite\"", "sqlite:PATH"),
        ("cluster", "catalog = \"mysql://h/d?ssl-mod=REQUIRED\"", "ssl-mod"),
    ] {
        let error = refusal(&format!("[{section}]\n{line}\n"));
        let key = format!("{section}.{}", line.split(' ').next().unwrap());
        assert!(error.contains(&key) && error.contains("m.toml") && error.contains(said), "{error}");
    }
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let error = refusal("[log]\nformat = \"xml\"\nlevle = \"info\"\n[trace]\nsample_ratio = 2\n");
    for said in ["log.format", "log.levle", "trace.sample_ratio"] {
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_discovery_plugin_has_what_it_needs() {
    for (plugin, needs) in [
        ("dns", "discovery.dns_name"),
        ("consul", "discovery.address"),
        ("etcd", "discovery.address"),
        ("zookeeper", "discovery.address"),
        ("kubernetes", "discovery.label_selector"),
        ("exec", "discovery.command"),
    ] {
        let error = refusal(&format!("[discovery]\nplugin = \"{plugin}\"\n"));
        assert!(error.contains(plugin) && error.contains(needs), "{error}");
    }
    let wrong = refusal("[discovery]\nplugin = \"etcd\"\naddress = \"etcd:2379\"\n");
    assert!(wrong.contains("discovery.address") && wrong.contains("http://"), "{wrong}");
    let token = refusal("[discovery]\nplugin = \"etcd\"\naddress = \"http://e:1\"\ntoken = \"hush\"\n");
    assert!(token.contains("discovery.token") && !token.contains("hush"), "{token}");
    let blank = refusal("[discovery]\nplugin = \"exec\"\ncommand = \" \"\n");
    assert!(blank.contains("needs discovery.command"), "{blank}");
    let path = refusal("[discovery]\nplugin = \"zookeeper\"\naddress = \"a:1\"\nservice = \"/x\"\n");
    assert!(path.contains("discovery.service"), "{path}");
    let half = refusal("[discovery]\nplugin = \"etcd\"\naddress = \"https://e:1\"\ncert_file = \"/c.pem\"\n");
    assert!(half.contains("discovery.key_file"), "{half}");
    with_file("[discovery]\nplugin = \"consul\"\naddress = \"http://c:1\"\ntoken = \"hush\"\n").unwrap();
    with_file("[discovery]\nplugin = \"zookeeper\"\naddress = [\"a:1\", \"b:2\"]\n").unwrap();
}

#[test]
fn passwords_are_not_shown() {
    let config =
        with_file("[cluster]\ncatalog = \"mysql://me:se:cr@t@db:3306/m?ssl-mode=REQUIRED\"\n").unwrap();
    assert!(config.explain().contains("\"mysql://me:***@db:3306/m?ssl-mode=REQUIRED\""));
    assert_eq!(without_password("mysql://me@db/m"), "mysql://me@db/m");
    assert_eq!(without_password("sqlite:a@b:c"), "sqlite:a@b:c");
    let error = refusal("[cluster]\ncatalog = \"mysql://me:se:cr@t@db:3306/\"\n");
    assert!(!error.contains("se:cr@t"), "{error}");
}

#[test]
fn what_explain_prints_is_a_valid_file() {
    let config = with_file(
        "[discovery]\nstatic_nodes = [\"a=h:1\", \"b=h:2\"]\n[node]\nname = 'a \"b\" \\ ü'\n\
         [ingest]\nseal_bytes = \"1GiB\"\n",
    )
    .unwrap();
    let again: toml::Table = config.explain().parse().unwrap();
    assert_eq!(again["discovery"]["static_nodes"].as_str(), Some("a=h:1,b=h:2"));
    assert_eq!(config.list("discovery.static_nodes").len(), 2);
    let again = with_file(&config.explain()).unwrap();
    assert_eq!(again.text("node.name"), "a \"b\" \\ ü");
    assert_eq!(again.number("ingest.seal_bytes"), Ok(1 << 30));
}
