//! Libraries other than Go's: OpenSSL, GnuTLS, NSS, BoringSSL, Java's JSSE, rustls.

use super::Claim::{self, *};
use super::Part::*;
use super::Rule;

const TLS13: u16 = 0x0304;
const X25519_MLKEM: u16 = 4588;
const ED25519: u16 = 0x0807;
const RSA_PSS_RSAE_SHA256: u16 = 0x0804;
/// ecdsa_brainpoolP256r1tls13_sha256 (RFC 8734).
const BRAINPOOL256: u16 = 0x081a;
const MLDSA65: u16 = 0x0905;

/// OpenSSL alone offers three point formats, and in this order its extensions come. Its
/// suites are the program's to choose (Python, Node and curl do), and are not looked at.
const OPENSSL: &[Claim] = &[
    Grease(false),
    Is(Points, &[&[0, 1, 2]]),
    Holds(Extensions, &[10, 11, 13, 23]),
    Holds(Signatures, &[RSA_PSS_RSAE_SHA256]),
    Within(
        Extensions,
        &[&[
            65281, 0, 1, 12, 11, 10, 35, 5, 13172, 16, 14, 22, 18, 23, 50, 49, 13, 43, 45, 51, 44,
            27, 42, 47, 21, 41,
        ]],
    ),
];
const ELLIPTIC: &[u16] = &[29, 23, 30, 25, 24];
const ELLIPTIC_AND_FINITE: &[u16] = &[29, 23, 30, 25, 24, 256, 257, 258, 259, 260];
const OPENSSL_3_STOCK: &[Claim] =
    &[Is(Groups, &[ELLIPTIC_AND_FINITE]), Begins(Signatures, &[0x0403, 0x0503, 0x0603, ED25519])];

/// GnuTLS offers signature schemes by strength, RSA first. libcurl switches session
/// tickets off.
const GNUTLS: &[Claim] = &[
    Grease(false),
    Is(Points, &[&[0]]),
    Holds(Extensions, &[5, 10, 11, 13, 65281]),
    Begins(Signatures, &[0x0401, 0x0809, 0x0804, 0x0403, ED25519]),
];
const GNUTLS_STOCK: &[Claim] = &[
    Is(Groups, &[&[23, 24, 25, 29, 30, 256, 257, 258, 259, 260]]),
    Holds(Suites, &[0xc02c, 0xcca9, 0xc0ad, 0xc00a, 0xc02b, 0xc0ac, 0xc009]),
];

/// NSS puts ChaCha20 second, and sends record_size_limit.
const NSS: &[Claim] = &[
    Grease(false),
    Is(Points, &[&[0]]),
    Begins(Suites, &[0x1301, 0x1303, 0x1302]),
    Within(
        Suites,
        &[&[
            0x1301, 0x1303, 0x1302, 0xc02b, 0xc02f, 0xcca9, 0xcca8, 0xc02c, 0xc030, 0xc00a, 0xc009,
            0xc013, 0xc023, 0xc027, 0xc014, 0x009e, 0xccaa, 0x009f, 0x0033, 0x0032, 0x0067, 0x0039,
            0x0038, 0x006b, 0x0016, 0x0013, 0x009c, 0x009d, 0x002f, 0x003c, 0x0035, 0x003d, 0x000a,
            0x0005, 0x0004,
        ]],
    ),
    Within(
        Extensions,
        &[&[
            0, 23, 65281, 10, 11, 35, 16, 14, 5, 34, 18, 51, 42, 43, 13, 44, 45, 49, 28, 27, 65037,
            21, 41,
        ]],
    ),
    Holds(Extensions, &[10, 11, 13, 23, 28, 65281]),
];

/// BoringSSL offers signature schemes by hash, and of each ECDSA, PSS, PKCS #1; AWS-LC
/// comes from it.
const BORINGSSL: &[Claim] = &[
    Is(Points, &[&[0]]),
    Holds(Extensions, &[10, 11, 13, 23, 65281]),
    Holds(Signatures, &[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601]),
    Within(
        Signatures,
        &[&[
            0x0904, 0x0905, 0x0906, 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
            0x0201,
        ]],
    ),
];

const JSSE: &[Claim] = &[
    Grease(false),
    Is(Points, &[&[0]]),
    Holds(Extensions, &[10, 11, 13, 17, 23, 50]),
    Within(Extensions, &[&[0, 1, 5, 10, 11, 16, 17, 23, 35, 13, 42, 43, 44, 45, 50, 51, 41]]),
    Has(Suites, 0x00ff),
];

const RUSTLS_SUITES: &[u16] =
    &[0x1302, 0x1301, 0x1303, 0xc02c, 0xc02b, 0xcca9, 0xc030, 0xc02f, 0xcca8, 0x00ff];

/// rustls offers signature schemes from strong to weak, but for the largest curve.
const RUSTLS: &[Claim] = &[
    Grease(false),
    Is(Points, &[&[0]]),
    Holds(Extensions, &[10, 11, 13, 23]),
    Within(Suites, &[RUSTLS_SUITES]),
    Within(
        Signatures,
        &[&[
            0x0503, 0x0403, 0x0603, 0x0807, 0x0806, 0x0805, 0x0804, 0x0601, 0x0501, 0x0401, 0x0904,
            0x0905, 0x0906,
        ]],
    ),
    Holds(Signatures, &[0x0503, 0x0403, ED25519, 0x0401]),
];
const RUSTLS_STOCK: &[Claim] = &[
    Is(Suites, &[RUSTLS_SUITES]),
    Is(Groups, &[&[29, 23, 24], &[29, 23, 24, X25519_MLKEM], &[X25519_MLKEM, 29, 23, 24]]),
];

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "openssl-mldsa",
        client: "openssl",
        version: "3.5+",
        must: &[OPENSSL, &[Has(Signatures, MLDSA65)]],
        stock: &[&[
            Is(Groups, &[&[X25519_MLKEM, 29, 23, 30, 24, 25, 256, 257]]),
            Begins(Signatures, &[MLDSA65, 0x0906, 0x0904, 0x0403]),
        ]],
        why: "3.5 is the first to offer ML-DSA.",
    },
    Rule {
        name: "openssl-renegotiation",
        client: "openssl",
        version: "3.4",
        must: &[OPENSSL, &[Has(Extensions, 65281), Has(Signatures, BRAINPOOL256)]],
        stock: &[OPENSSL_3_STOCK],
        why: "3.4 is the first to send the extension renegotiation_info instead of the suite, \
              and the last without ML-DSA.",
    },
    Rule {
        name: "openssl-renegotiation-tls12",
        client: "openssl",
        version: "3.4+",
        must: &[OPENSSL, &[Has(Extensions, 65281)]],
        stock: &[&[Is(Groups, &[ELLIPTIC, &[29, 23, 30, 24, 25]])]],
        why: "3.4 is the first to send the extension renegotiation_info instead of the suite; \
              without TLS 1.3 nothing newer is offered.",
    },
    Rule {
        name: "openssl-brainpool",
        client: "openssl",
        version: "3.2-3.4",
        must: &[OPENSSL, &[Has(Signatures, BRAINPOOL256)]],
        stock: &[OPENSSL_3_STOCK],
        why: "3.2 is the first to offer Brainpool signatures in TLS 1.3, 3.4 the last without \
              ML-DSA.",
    },
    Rule {
        name: "openssl-finite-groups",
        client: "openssl",
        version: "3.0-3.1",
        must: &[OPENSSL, &[Has(Groups, 256)]],
        stock: &[OPENSSL_3_STOCK],
        why: "3.0 is the first to offer finite field groups in TLS 1.3, 3.1 the last without \
              Brainpool signatures.",
    },
    Rule {
        name: "openssl-elliptic-groups",
        client: "openssl",
        version: "1.1.1",
        must: &[OPENSSL, &[Has(Versions, TLS13), Is(Groups, &[ELLIPTIC])]],
        stock: &[&[Begins(Signatures, &[0x0403, 0x0503, 0x0603, ED25519])]],
        why: "1.1.1 is the first with TLS 1.3, and the last to offer elliptic curves alone.",
    },
    Rule {
        name: "openssl",
        client: "openssl",
        version: "1.1.1+",
        must: &[OPENSSL],
        stock: &[&[Is(Groups, &[ELLIPTIC]), Begins(Signatures, &[0x0403, 0x0503, 0x0603])]],
        why: "1.1.1 is the first to offer RSA-PSS signatures; without TLS 1.3, or with groups \
              of the program's choice, versions look the same.",
    },
    Rule {
        name: "gnutls-ordered",
        client: "gnutls",
        version: "3.6-3.8",
        must: &[
            GNUTLS,
            &[Within(
                Extensions,
                &[&[5, 10, 11, 13, 16, 22, 23, 35, 51, 43, 49, 65281, 0, 45, 28, 42, 44, 21, 41]],
            )],
        ],
        stock: &[GNUTLS_STOCK],
        why: "GnuTLS sends its extensions in this order, until 3.8 began to shuffle them.",
    },
    Rule {
        name: "gnutls-shuffled",
        client: "gnutls",
        version: "3.8+",
        must: &[GNUTLS],
        stock: &[GNUTLS_STOCK],
        why: "GnuTLS began to shuffle its extensions within 3.8; the lists in them stayed.",
    },
    Rule {
        name: "nss-firefox",
        client: "nss",
        version: "",
        must: &[NSS, &[Has(Extensions, 34)]],
        stock: &[&[
            Is(Groups, &[&[X25519_MLKEM, 29, 23, 24, 25, 256, 257]]),
            Holds(Suites, &[0xc02b, 0xc02f, 0xcca9, 0xcca8, 0xc02c, 0xc030, 0xc00a, 0xc013]),
        ]],
        why: "Firefox alone switches on delegated credentials.",
    },
    Rule {
        name: "nss",
        client: "nss",
        version: "",
        must: &[NSS],
        stock: &[&[Is(Groups, &[&[29, 23, 24, 25, 256, 257, 258, 259, 260]])]],
        why: "NSS offers ChaCha20 second, and has an order of extensions of its own.",
    },
    Rule {
        name: "boringssl-chromium",
        client: "boringssl",
        version: "",
        must: &[
            BORINGSSL,
            &[
                Grease(true),
                Holds(Extensions, &[5, 18, 27, 43, 45, 51]),
                Within(
                    Suites,
                    &[
                        &[
                            0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8,
                            0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
                        ],
                        &[
                            0x1303, 0x1301, 0x1302, 0xcca9, 0xcca8, 0xc02b, 0xc02f, 0xc02c, 0xc030,
                            0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
                        ],
                    ],
                ),
            ],
        ],
        stock: &[&[
            Has(Extensions, 17613),
            Is(Groups, &[&[X25519_MLKEM, 29, 23, 24]]),
            Holds(Suites, &[0xc02b, 0xc02f, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035]),
        ]],
        why: "Chromium shuffles its extensions, adds GREASE, and compresses certificates. Its \
              kin (Edge, Electron, WebView) look the same.",
    },
    Rule {
        name: "boringssl",
        client: "boringssl",
        version: "",
        must: &[
            BORINGSSL,
            &[
                Begins(Suites, &[0x1301, 0x1302, 0x1303]),
                Within(
                    Extensions,
                    &[&[
                        0, 65037, 23, 65281, 10, 11, 35, 16, 5, 13, 13172, 18, 30032, 14, 51, 45,
                        42, 43, 44, 57, 27, 34, 17513, 17613, 21, 41,
                    ]],
                ),
            ],
        ],
        stock: &[&[Is(Groups, &[&[X25519_MLKEM, 29, 23, 24, 25], &[29, 23, 24]])]],
        why: "BoringSSL has an order of extensions of its own, where it does not shuffle them.",
    },
    Rule {
        name: "java-jsse",
        client: "java",
        version: "",
        must: &[JSSE],
        stock: &[&[
            Is(Groups, &[&[29, 23, 24, 25, 30, 256, 257, 258, 259, 260]]),
            Holds(
                Suites,
                &[0xc02c, 0xc02b, 0xcca9, 0xc030, 0xcca8, 0xc02f, 0x009f, 0xccaa, 0x00a3],
            ),
        ]],
        why: "JSSE alone sends status_request_v2, and signature_algorithms_cert always. Suites \
              and schemes depend on its security properties, not on its version.",
    },
    Rule {
        name: "rustls-ordered",
        client: "rustls",
        version: "0.21",
        must: &[
            RUSTLS,
            &[Within(Extensions, &[&[43, 11, 10, 13, 23, 5, 0, 18, 51, 45, 16, 35, 42, 41]])],
            &[Has(Extensions, 18)],
        ],
        stock: &[RUSTLS_STOCK],
        why: "rustls 0.21 sends its extensions in this order, and asks for SCTs.",
    },
    Rule {
        name: "rustls-shuffled",
        client: "rustls",
        version: "0.23+",
        must: &[RUSTLS, &[Lacks(Extensions, 18), Has(Extensions, 5)]],
        stock: &[RUSTLS_STOCK],
        why: "rustls shuffles its extensions (seen in 0.23), and no longer asks for SCTs.",
    },
];
