use super::*;

fn spec(command: &[&str]) -> ServiceSpec {
    let name = ServiceName::new("order").unwrap();
    ServiceSpec::new(name, command.iter().map(|s| (*s).to_owned()).collect(), "/")
}

#[test]
fn the_hash_is_of_what_the_process_is_made_from() {
    let base = spec(&["/bin/sh"]);
    let same = ServiceSpec { replicas: 7, stop: Stop { grace: Duration::ZERO, ..Stop::default() }, ..base.clone() };
    assert_eq!(base.hash(), same.hash());
    assert_eq!(base.hash().len(), 32);
    let other_env = ServiceSpec { env: [("A".to_owned(), "1".to_owned())].into(), ..base.clone() };
    for other in [spec(&["/bin/sh", "-c"]), ServiceSpec { dir: "/tmp".into(), ..base.clone() }, other_env] {
        assert_ne!(base.hash(), other.hash());
    }
}

#[test]
fn a_missing_program_is_named_with_what_to_do() {
    #[track_caller]
    fn check(spec: &ServiceSpec, parts: &[&str]) {
        let text = check_program(spec).unwrap_err();
        for part in parts {
            assert!(text.contains(part), "{text:?} lacks {part:?}");
        }
    }
    assert_eq!(check_program(&spec(&["sh"])).map(|p| p.ends_with("sh")), Ok(true));
    assert_eq!(check_program(&spec(&["bin/sh"])), Ok("/bin/sh".into()));
    check(&spec(&["./no-such"]), &["'order'", "'./no-such'", "build it or correct"]);
    check(&spec(&["no-such-program"]), &["'order'", "PATH", "install it"]);
    check(&spec(&["/etc/passwd"]), &["not executable", "chmod"]);
    check(&ServiceSpec { dir: "/no/such".into(), ..spec(&["sh"]) }, &["/no/such", "correct 'dir'"]);
}
