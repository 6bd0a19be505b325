//! Files that are refused: the error names the option, the file, and what is wrong.

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, date_time_ymd};

use super::*;

fn refusal(files: TlsFiles) -> String {
    match Tls::read(files, "a b", 1) {
        Err(Error::Config(text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it is taken"),
    }
}

/// P10: each mistake in the files is told when the member starts.
#[test]
fn mistakes_are_told() {
    let office = Office::new();
    let name = "dledger:a%20b/1";
    let good = office.authority.issue(&[name]);
    let files = office.files("good", &good);
    Tls::read(files.clone(), "a b", 1).unwrap();
    std::fs::write(office.path("empty"), "").unwrap();
    std::fs::write(office.path("torn"), "-----BEGIN CERTIFICATE-----\n!\n").unwrap();
    std::fs::write(
        office.path("der"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    std::fs::write(
        office.path("key"),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    let at = |file: &str| office.path(file).to_str().unwrap().to_owned();
    let of = |certified: &Certified| office.files("bad", certified);
    let with = |change: fn(&mut rcgen::CertificateParams)| {
        of(&office.authority.issue_with(&[name], change))
    };
    let other = Authority::new("another");

    // Files that are not there, or not what they should be.
    for (file, what) in [
        ("nowhere", "No such file"),
        ("empty", "there is no certificate in it"),
        ("good.key", "there is no certificate in it"),
        ("torn", "it is not PEM, or not all of it"),
        ("der", "a certificate in it cannot be read"),
    ] {
        let text = refusal(TlsFiles { cert: at(file), ..files.clone() });
        assert!(text.starts_with(&format!("tls.cert = {}: ", at(file))), "{text}");
        assert!(text.contains(what), "{text}");
        let text = refusal(TlsFiles { ca: at(file), ..files.clone() });
        assert!(text.starts_with(&format!("tls.ca = {}: ", at(file))), "{text}");
        assert!(text.contains(what), "{text}");
    }
    for (file, what) in [
        ("nowhere", "No such file"),
        ("", "directory"),
        ("empty", "there is no private key in it; allowed: "),
        ("good.cert", "there is no private key in it; allowed: "),
        ("key", "failed to parse private key"),
    ] {
        let text = refusal(TlsFiles { key: at(file), ..files.clone() });
        assert!(text.starts_with(&format!("tls.key = {}: ", at(file))), "{text}");
        assert!(text.contains(what), "{text}");
    }

    // Files that do not fit each other, or the member.
    let key = office.authority.issue(&[name]).key;
    let text = refusal(of(&Certified { key, ..office.authority.issue(&[name]) }));
    assert!(text.contains("it is not the key of the certificate in tls.cert = "), "{text}");
    let text = refusal(of(&other.issue(&[name])));
    assert!(text.contains("does not come from the authority in tls.ca"), "{text}");
    let text = refusal(of(&office.authority.issue(&[])));
    assert!(text.contains("does not name this member, dledger:a%20b/1: it names no URI"), "{text}");
    let text = refusal(of(&office.authority.issue(&["dledger:a b/1", "dledger:a%20b/2"])));
    let names = "dledger:a%20b/1, but dledger:a b/1, dledger:a%20b/2";
    assert!(text.contains(names), "{text}");
    for purpose in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth] {
        let files = of(&office.authority.issue_with(&[name], |params| {
            params.extended_key_usages = vec![purpose];
        }));
        let text = refusal(files);
        assert!(text.contains("no other member would take it"), "{text}");
    }
    let text = refusal(with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)));
    assert!(text.contains("no other member would take it"), "{text}");

    // The clock may be wrong: that alone keeps no log closed.
    let late = with(|params| params.not_after = date_time_ymd(2020, 1, 1));
    Tls::read(late, "a b", 1).unwrap();
    // Both purposes are as good as none.
    let both = with(|params| {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        params.extended_key_usages = vec![ServerAuth, ClientAuth];
    });
    Tls::read(both, "a b", 1).unwrap();
    // Several authorities, as while one replaces another.
    std::fs::write(office.path("ca"), other.pem() + &office.authority.pem()).unwrap();
    Tls::read(files, "a b", 1).unwrap();
}

/// What is shown of it in a message is where it was read from, and no secret.
#[test]
fn no_secret_is_shown() {
    let office = Office::new();
    let good = office.authority.issue(&["dledger:g/1"]);
    let files = office.files("good", &good);
    let tls = Tls::read(files.clone(), "g", 1).unwrap();
    assert_eq!(format!("{tls:?}"), format!("{files:?}"));
}
