//! The certificates that are shown, from the ordinary to the odd.

use std::rc::Rc;

use aws_lc_rs::rsa::KeySize;

use super::{
    der::{
        Says, alt_names, basic, dns, element, email, extension, generalized, here, ip, key_usage,
        name, name_constraints, name_of, octets, oid, purposes, sequence, uri, utc,
    },
    keys::Key,
};

const SERVER: &str = "1.3.6.1.5.5.7.3.1";
const CLIENT: &str = "1.3.6.1.5.5.7.3.2";
const CODE: &str = "1.3.6.1.5.5.7.3.3";
const ANY: &str = "2.5.29.37.0";
const OWN_PURPOSE: &str = "1.3.6.1.4.1.99999.1";

/// What one side shows.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) key: Vec<u8>,
}

/// A CA.
struct Ca {
    subject: Vec<u8>,
    key: Rc<Key>,
    der: Vec<u8>,
}

impl Ca {
    fn new(says: &Says, key: Rc<Key>) -> Ca {
        let der = says.sign(&key, &says.subject, &key);
        Ca {
            subject: says.subject.clone(),
            key,
            der,
        }
    }

    fn below(&self, says: &Says, key: Rc<Key>) -> Ca {
        let der = says.sign(&key, &self.subject, &self.key);
        Ca {
            subject: says.subject.clone(),
            key,
            der,
        }
    }
}

/// All cases, and the certificates that everyone trusts.
pub(crate) struct Cases {
    pub(crate) all: Vec<Case>,
    pub(crate) trusted: Vec<Vec<u8>>,
    /// P-256, because it is quick; the kinds of keys have cases of their own.
    key: Rc<Key>,
    ca_key: Rc<Key>,
    root: Ca,
}

impl Cases {
    /// The usual ones; with `is_full`, those besides whose keys take seconds to make.
    pub(crate) fn new(is_full: bool) -> Cases {
        let ca_key = Rc::new(Key::p256());
        let root = Ca::new(&Says::ca("root"), ca_key.clone());
        let mut cases = Cases {
            all: Vec::new(),
            trusted: vec![root.der.clone()],
            key: Rc::new(Key::p256()),
            ca_key,
            root,
        };
        cases.kinds_of_keys(is_full);
        cases.fields();
        cases.times();
        cases.names();
        cases.uses();
        cases.extensions();
        cases.strange_roots();
        cases.chains();
        cases.constraints();
        cases.policies();
        cases
    }

    fn push(&mut self, name: &str, chain: Vec<Vec<u8>>, key: &Key) {
        let name = name.to_owned();
        self.all.push(Case {
            name,
            chain,
            key: key.private(),
        });
    }

    /// A leaf of the usual root.
    fn leaf(&mut self, name: &str, says: &Says) {
        let der = says.sign(&self.key, &self.root.subject, &self.root.key);
        let key = self.key.clone();
        self.push(name, vec![der], &key);
    }

    /// A plain leaf below these CAs, the nearest first; the last is shown only if `is_root_shown`.
    fn below(&mut self, name: &str, cas: &[&Ca], says: &Says) {
        let leaf = says.sign(&self.key, &cas[0].subject, &cas[0].key);
        let mut chain = vec![leaf];
        chain.extend(cas[..cas.len() - 1].iter().map(|ca| ca.der.clone()));
        let key = self.key.clone();
        self.push(name, chain, &key);
    }

    /// A plain leaf of a root that is trusted.
    fn root(&mut self, name: &str, says: &Says) {
        let ca = Ca::new(says, self.ca_key.clone());
        self.trusted.push(ca.der.clone());
        self.below(name, &[&ca], &Says::leaf());
    }

    fn kinds_of_keys(&mut self, is_full: bool) {
        let mut kinds = vec![
            ("P-256", Key::p256()),
            ("P-384", Key::p384()),
            ("P-521", Key::p521()),
            ("Ed25519", Key::ed25519()),
            ("RSA 2048", Key::rsa(KeySize::Rsa2048)),
            ("RSA-PSS", Key::rsa_pss()),
            ("P-521 with SHA-384", Key::p521_sha384()),
        ];
        if is_full {
            kinds.push(("RSA 3072", Key::rsa(KeySize::Rsa3072)));
            kinds.push(("RSA 4096", Key::rsa(KeySize::Rsa4096)));
            kinds.push(("RSA 8192", Key::rsa(KeySize::Rsa8192)));
        }
        for (kind, key) in kinds {
            let der = Says::leaf().sign(&key, &self.root.subject, &self.root.key);
            self.push(&format!("a leaf with {kind}"), vec![der], &key);
            let root = Ca::new(&Says::ca(&format!("root with {kind}")), Rc::new(key));
            self.trusted.push(root.der.clone());
            self.below(&format!("a root with {kind}"), &[&root], &Says::leaf());
        }
        let sha1 = sequence(&[&oid("1.2.840.10045.4.1")]);
        self.leaf(
            "signed with SHA-1",
            &Says {
                algorithm: Some(sha1),
                ..Says::leaf()
            },
        );
        let other = sequence(&[&oid("1.2.840.10045.4.3.3")]);
        let says = Says {
            inner_algorithm: Some(other),
            ..Says::leaf()
        };
        self.leaf("two names of the algorithm", &says);
        let with_null = sequence(&[&oid("1.2.840.10045.4.3.2"), &[5, 0]]);
        let says = Says {
            algorithm: Some(with_null),
            ..Says::leaf()
        };
        self.leaf("ECDSA with parameters", &says);
        let stranger = Key::p256();
        let der = Says::leaf().sign(&self.key, &self.root.subject, &stranger);
        let key = self.key.clone();
        self.push("signed by another key", vec![der], &key);
        let der = Says::leaf().sign(&self.key, &name("no one"), &stranger);
        self.push("of an unknown issuer", vec![der], &key);
    }

    fn fields(&mut self) {
        self.leaf("plain", &Says::leaf());
        let v1 = Says {
            version: None,
            extensions: Vec::new(),
            ..Says::leaf()
        };
        self.leaf("version 1", &v1);
        let v2 = Says {
            version: Some(1),
            extensions: Vec::new(),
            ..Says::leaf()
        };
        self.leaf("version 2", &v2);
        self.leaf(
            "version 4",
            &Says {
                version: Some(3),
                ..Says::leaf()
            },
        );
        for (what, serial) in [
            ("zero", vec![0]),
            ("negative", vec![0x80]),
            ("of 20 bytes", vec![0x7f; 20]),
            ("of 40 bytes", vec![0x7f; 40]),
            ("with a zero too many", vec![0, 0x11]),
            ("revoked", vec![0x66]),
        ] {
            self.leaf(
                &format!("serial {what}"),
                &Says {
                    serial,
                    ..Says::leaf()
                },
            );
        }
        self.leaf(
            "data after its end",
            &Says {
                trailer: vec![0],
                ..Says::leaf()
            },
        );
        for (what, subject) in [
            ("empty", name("")),
            ("BMP", name_of(30, &[0, b'a', 0, b'b'])),
            ("T.61", name_of(20, &[0xe4, 0xf6])),
            ("printable with @", name_of(19, b"a@b")),
            ("printable with *", name_of(19, b"*.a")),
            ("universal", name_of(28, &[0, 0, 0, b'a'])),
            ("broken UTF-8", name_of(12, &[0xff])),
            ("numeric", name_of(18, b"12 3")),
        ] {
            self.leaf(
                &format!("a subject: {what}"),
                &Says {
                    subject,
                    ..Says::leaf()
                },
            );
        }
    }

    fn times(&mut self) {
        for (what, not_before, not_after) in [
            ("expired", utc("200101000000Z"), utc("210101000000Z")),
            ("not yet valid", utc("400101000000Z"), utc("450101000000Z")),
            (
                "the wrong way round",
                utc("450101000000Z"),
                utc("400101000000Z"),
            ),
            ("of 1950", utc("500101000000Z"), utc("490101000000Z")),
            (
                "to 9999",
                utc("200101000000Z"),
                generalized("99991231235959Z"),
            ),
            ("without seconds", utc("2001010000Z"), utc("4001010000Z")),
            (
                "with a zone",
                utc("200101000000+0100"),
                utc("400101000000-0500"),
            ),
            (
                "with the zone +0000",
                utc("200101000000+0000"),
                utc("400101000000Z"),
            ),
            (
                "with a fraction",
                utc("200101000000Z"),
                generalized("20400101000000.5Z"),
            ),
            ("February 30", utc("200101000000Z"), utc("400230000000Z")),
            (
                "as text",
                element(12, b"200101000000Z"),
                utc("400101000000Z"),
            ),
        ] {
            let says = Says {
                not_before,
                not_after,
                ..Says::leaf()
            };
            self.leaf(&format!("validity {what}"), &says);
        }
    }

    fn names(&mut self) {
        let local = [127, 0, 0, 1];
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        let many: Vec<Vec<u8>> = (0..500)
            .map(|at| dns(&format!("host-{at}.example")))
            .chain([ip(&local)])
            .collect();
        for (what, names) in [
            ("many", many),
            ("only an address", vec![ip(&local)]),
            ("another address", vec![ip(&[127, 0, 0, 9])]),
            ("an address in IPv6", vec![ip(&mapped)]),
            ("an address of five bytes", vec![ip(&[127, 0, 0, 1, 0])]),
            ("the address as a name", vec![dns("127.0.0.1")]),
            ("only a name", vec![dns("localhost")]),
            ("a wildcard", vec![dns("*.pintle.example"), ip(&local)]),
            ("a name with an underscore", vec![dns("a_b"), ip(&local)]),
            ("a name with a space", vec![dns("a b"), ip(&local)]),
            ("a name that is empty", vec![dns(""), ip(&local)]),
            (
                "a name with a dot at its end",
                vec![dns("localhost."), ip(&local)],
            ),
            ("a name not in ASCII", vec![dns("h\u{f6}st"), ip(&local)]),
            (
                "a SPIFFE id",
                vec![uri("spiffe://cluster.local/ns/x"), ip(&local)],
            ),
            ("a URN", vec![uri("urn:uuid:0"), ip(&local)]),
            (
                "a URI with a bad port",
                vec![uri("http://a:b/"), ip(&local)],
            ),
            (
                "a URI with a bad escape",
                vec![uri("http://a/%zz"), ip(&local)],
            ),
            (
                "a URI with an odd host",
                vec![uri("http://a..b/"), ip(&local)],
            ),
            (
                "a URI with IPv6",
                vec![uri("https://[::1]:2379/"), ip(&local)],
            ),
            ("a URI with a space", vec![uri("https://a b/"), ip(&local)]),
            ("a mail address", vec![email("a@b"), ip(&local)]),
            ("no mail address", vec![email("nothing"), ip(&local)]),
            ("another form", vec![element(0x88, &[0x2a]), ip(&local)]),
            ("none", Vec::new()),
        ] {
            let says = Says::leaf().only(&[alt_names(&names)]);
            self.leaf(&format!("names: {what}"), &says);
        }
        let says = Says {
            subject: name("localhost"),
            ..Says::leaf()
        }
        .only(&[]);
        self.leaf("names: the common name alone", &says);
        let critical = extension("2.5.29.17", true, &sequence(&[&element(0x88, &[0x2a])]));
        self.leaf(
            "names: critical, of an unknown form",
            &Says::leaf().only(&[critical]),
        );
    }

    fn uses(&mut self) {
        for (what, ids) in [
            ("server", &[SERVER][..]),
            ("client", &[CLIENT]),
            ("both", &[SERVER, CLIENT]),
            ("code", &[CODE]),
            ("any", &[ANY]),
            ("its own", &[OWN_PURPOSE]),
            ("its own and both", &[OWN_PURPOSE, SERVER, CLIENT]),
            ("none at all", &[]),
        ] {
            self.leaf(&format!("for {what}"), &Says::leaf().with(purposes(ids)));
        }
        for (what, usage) in [
            ("encipherment", key_usage(5, 0x20)),
            ("signing certificates", key_usage(2, 0x04)),
            ("nothing", key_usage(7, 0)),
            ("with loose padding", key_usage(5, 0x21)),
        ] {
            self.leaf(&format!("key usage {what}"), &Says::leaf().with(usage));
        }
    }

    fn extensions(&mut self) {
        let says = Says::leaf();
        self.leaf("CA:TRUE", &says.clone().with(basic(true, None)));
        self.leaf(
            "CA:TRUE, pathlen 0",
            &says.clone().with(basic(true, Some(0))),
        );
        self.leaf("CA:FALSE", &says.clone().with(basic(false, None)));
        self.leaf(
            "CA:FALSE with a pathlen",
            &says.clone().with(basic(false, Some(0))),
        );
        let spelled = sequence(&[&element(1, &[0])]);
        self.leaf(
            "CA:FALSE in full",
            &says.clone().with(extension("2.5.29.19", true, &spelled)),
        );
        let loose = sequence(&[&element(1, &[1])]);
        self.leaf(
            "CA as 1",
            &says.clone().with(extension("2.5.29.19", true, &loose)),
        );
        self.leaf("an extension twice", &says.clone().with(here()));
        let own = "1.3.6.1.4.1.99999.2";
        self.leaf(
            "an unknown extension",
            &says.clone().with(extension(own, false, &[5, 0])),
        );
        self.leaf(
            "an unknown critical one",
            &says.clone().with(extension(own, true, &[5, 0])),
        );
        let staple = extension("1.3.6.1.5.5.7.1.24", false, &sequence(&[&element(2, &[5])]));
        self.leaf("must-staple", &says.clone().with(staple));
        let netscape = extension("2.16.840.1.113730.1.1", false, &element(3, &[6, 0x40]));
        self.leaf("Netscape's type", &says.clone().with(netscape));
        for (what, id, critical, value) in [
            ("subject key", "2.5.29.14", false, octets(b"key")),
            ("a critical subject key", "2.5.29.14", true, octets(b"key")),
            ("a broken subject key", "2.5.29.14", false, vec![1, 2, 3]),
            (
                "authority key",
                "2.5.29.35",
                false,
                sequence(&[&element(0x80, b"another")]),
            ),
            (
                "a critical authority key",
                "2.5.29.35",
                true,
                sequence(&[&element(0x80, b"key")]),
            ),
            (
                "a broken CRL point",
                "2.5.29.31",
                false,
                sequence(&[&[5, 0]]),
            ),
            (
                "a critical access description",
                "1.3.6.1.5.5.7.1.1",
                true,
                sequence(&[]),
            ),
            (
                "constraints of names on a leaf",
                "2.5.29.30",
                true,
                Vec::new(),
            ),
        ] {
            self.leaf(what, &says.clone().with(extension(id, critical, &value)));
        }
        let point = element(0xa0, &element(0xa0, &uri("http://crl.example/")));
        let points = extension("2.5.29.31", false, &sequence(&[&sequence(&[&point])]));
        self.leaf("a CRL point", &says.clone().with(points));
        let relative = element(0xa0, &element(0xa1, &[]));
        let points = extension("2.5.29.31", false, &sequence(&[&sequence(&[&relative])]));
        self.leaf("a relative CRL point", &says.with(points));
    }

    fn strange_roots(&mut self) {
        let says = |subject: &str| Says::ca(subject);
        let old = Says {
            not_after: utc("210101000000Z"),
            ..says("root expired")
        };
        self.root("a root that is expired", &old);
        let plain = says("root without basic constraints").only(&[]);
        self.root("a root without basic constraints", &plain);
        let no = says("root that is no CA").only(&[basic(false, None)]);
        self.root("a root that is no CA", &no);
        let v1 = Says {
            version: None,
            extensions: Vec::new(),
            ..says("root v1")
        };
        self.root("a root of version 1", &v1);
        let usage = says("root for signatures").only(&[basic(true, None), key_usage(7, 0x80)]);
        self.root("a root for signatures alone", &usage);
        let code = says("root for code").with(purposes(&[CODE]));
        self.root("a root for code", &code);
        let client = says("root for clients").with(purposes(&[CLIENT]));
        self.root("a root for clients", &client);
        let odd = extension("1.3.6.1.4.1.99999.2", true, &[5, 0]);
        self.root(
            "a root with an unknown critical extension",
            &says("root odd").with(odd),
        );
        // Trusted as they are.
        let (key, stranger) = (self.key.clone(), Key::p256());
        let alone = Says {
            subject: name("trusted leaf"),
            ..Says::leaf()
        };
        let der = alone.sign(&key, &name("no one"), &stranger);
        self.trusted.push(der.clone());
        self.push("a leaf that is trusted itself", vec![der], &key);
        let der = alone.sign(&key, &alone.subject, &key);
        self.trusted.push(der.clone());
        self.push("self-signed and trusted", vec![der], &key);
        let other = Says {
            subject: name("unknown self"),
            ..Says::leaf()
        };
        let der = other.sign(&key, &other.subject, &key);
        self.push("self-signed", vec![der], &key);
    }

    fn chains(&mut self) {
        let key = self.ca_key.clone();
        let own = |key: Key| Rc::new(key);
        let (one, two) = (own(Key::p384()), own(Key::p256()));
        let middle = self.root.below(&Says::ca("middle"), one.clone());
        let low = middle.below(&Says::ca("low"), two.clone());
        let root = Ca {
            subject: self.root.subject.clone(),
            key,
            der: self.root.der.clone(),
        };
        let leaf = Says::leaf();
        self.below("a chain of three", &[&middle, &root], &leaf);
        self.below("a chain of four", &[&low, &middle, &root], &leaf);
        let mut mixed = vec![leaf.sign(&self.key, &low.subject, &low.key)];
        mixed.extend([middle.der.clone(), low.der.clone()]);
        let key = self.key.clone();
        self.push("a chain out of order", mixed.clone(), &key);
        mixed.truncate(2);
        self.push("a chain with a gap", mixed, &key);
        let with_root = vec![
            leaf.sign(&key, &middle.subject, &middle.key),
            middle.der.clone(),
            root.der.clone(),
        ];
        self.push("a chain with its root", with_root, &key);
        let plain = leaf.sign(&key, &root.subject, &root.key);
        self.push(
            "with a certificate it does not need",
            vec![plain.clone(), low.der.clone()],
            &key,
        );
        let broken = Says {
            version: Some(3),
            ..leaf.clone()
        };
        let broken = broken.sign(&key, &root.subject, &root.key);
        self.push("with one that cannot be read", vec![plain, broken], &key);
        for (what, says) in [
            ("no CA", Says::ca("bad 1").only(&[basic(false, None)])),
            ("without basic constraints", Says::ca("bad 2").only(&[])),
            (
                "expired",
                Says {
                    not_after: utc("210101000000Z"),
                    ..Says::ca("bad 3")
                },
            ),
            (
                "of version 1",
                Says {
                    version: None,
                    extensions: Vec::new(),
                    ..Says::ca("bad 4")
                },
            ),
            ("for code", Says::ca("bad 5").with(purposes(&[CODE]))),
            (
                "for both",
                Says::ca("good 1").with(purposes(&[SERVER, CLIENT])),
            ),
            (
                "for signatures",
                Says::ca("bad 6").only(&[basic(true, None), key_usage(7, 0x80)]),
            ),
            (
                "with its own critical extension",
                Says::ca("bad 7").with(extension("1.3.6.1.4.1.99999.2", true, &[5, 0])),
            ),
            (
                "revoked",
                Says {
                    serial: vec![0x66],
                    ..Says::ca("bad 8")
                },
            ),
        ] {
            let ca = self.root.below(&says, one.clone());
            self.below(&format!("an intermediate {what}"), &[&ca, &root], &leaf);
        }
        let short = self
            .root
            .below(&Says::ca("short").only(&[basic(true, Some(0))]), one);
        self.below("pathlen 0, kept", &[&short, &root], &leaf);
        let deeper = short.below(&Says::ca("deeper"), two);
        self.below("pathlen 0, broken", &[&deeper, &short, &root], &leaf);
    }

    fn constraints(&mut self) {
        let local = [127, 0, 0, 0, 255, 0, 0, 0];
        let (far, all) = ([10, 0, 0, 0, 255, 0, 0, 0], [0; 8]);
        let holed = [127, 0, 0, 0, 255, 0, 255, 0];
        for (what, permitted, excluded) in [
            ("the network", vec![ip(&local)], vec![]),
            ("another network", vec![ip(&far)], vec![]),
            ("not the network", vec![], vec![ip(&local)]),
            ("no address", vec![], vec![ip(&all)]),
            ("a mask with a hole", vec![ip(&holed)], vec![]),
            ("the name", vec![dns("localhost")], vec![]),
            ("another name", vec![dns("example")], vec![]),
            ("what is below the name", vec![dns(".localhost")], vec![]),
            ("not the name", vec![], vec![dns("LOCALHOST")]),
            ("not a name in it", vec![], vec![dns("a.localhost")]),
            ("any name", vec![dns("")], vec![]),
            ("a directory", vec![element(0xa4, &name("x"))], vec![]),
            ("mail alone", vec![email("example.com")], vec![]),
            ("nothing", vec![], vec![]),
        ] {
            let says = Says::ca(&format!("may sign {what}"));
            let ca = Ca::new(
                &says.with(name_constraints(&permitted, &excluded)),
                self.ca_key.clone(),
            );
            // What etcd cannot read at all must not be among what it trusts.
            if matches!(what, "nothing" | "a mask with a hole") {
                let middle = Says::ca(&format!("below may sign {what}"))
                    .with(name_constraints(&permitted, &excluded));
                let middle = self.root.below(&middle, self.ca_key.clone());
                let root = Ca {
                    subject: self.root.subject.clone(),
                    key: self.ca_key.clone(),
                    der: self.root.der.clone(),
                };
                self.below(
                    &format!("a CA for {what}"),
                    &[&middle, &root],
                    &Says::leaf(),
                );
                continue;
            }
            self.trusted.push(ca.der.clone());
            self.below(&format!("a CA for {what}"), &[&ca], &Says::leaf());
            let names = alt_names(&[
                dns("*.localhost"),
                ip(&[127, 0, 0, 1]),
                email("a@example.com"),
                uri("https://x.localhost/"),
            ]);
            let says = Says::leaf().only(&[names]);
            self.below(&format!("a CA for {what}, many forms"), &[&ca], &says);
        }
    }

    fn policies(&mut self) {
        let policy = |ids: &[&str]| {
            let all: Vec<u8> = ids.iter().flat_map(|id| sequence(&[&oid(id)])).collect();
            extension("2.5.29.32", false, &element(0x30, &all))
        };
        let (a, b, any) = ("1.3.6.1.4.1.99999.3", "1.3.6.1.4.1.99999.4", "2.5.29.32.0");
        self.leaf("a policy", &Says::leaf().with(policy(&[a])));
        self.leaf("a policy twice", &Says::leaf().with(policy(&[a, a])));
        let required = extension("2.5.29.36", true, &sequence(&[&element(0x80, &[0])]));
        let root = Ca {
            subject: self.root.subject.clone(),
            key: self.ca_key.clone(),
            der: self.root.der.clone(),
        };
        for (what, middle, leaf) in [
            ("one, the same", Some(&[a][..]), Some(&[a][..])),
            ("one, another", Some(&[a]), Some(&[b])),
            ("one, none", Some(&[a]), None),
            ("any, one", Some(&[any]), Some(&[b])),
            ("none, one", None, Some(&[b])),
            ("one, any", Some(&[a]), Some(&[any])),
        ] {
            let mut ca = Says::ca(&format!("requires {what}")).with(required.clone());
            ca.extensions.extend(middle.map(policy));
            let mut says = Says::leaf();
            says.extensions.extend(leaf.map(policy));
            let ca = self.root.below(&ca, self.ca_key.clone());
            self.below(&format!("policies required: {what}"), &[&ca, &root], &says);
        }
    }
}
