//! Go's crypto/tls. Its lists are its own order of preference whatever a program asks
//! for (since 1.17, `Config.CipherSuites` and `CurvePreferences` only choose from them),
//! ChaCha20 first where the processor has no AES. What `go 1.21` in go.mod or GODEBUG
//! bring back under a newer toolchain (RSA key exchange, 3DES, SHA-1, no post-quantum
//! groups) takes nothing from what a version added, so versions are told by that.

use super::Claim::{self, *};
use super::Part::*;
use super::Rule;

/// Suites in order of preference, with AES in hardware and without.
const SUITES: &[&[u16]] = &[
    &[
        0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc009, 0xc013, 0xc00a, 0xc014, 0x009c,
        0x009d, 0x002f, 0x0035, 0xc012, 0x000a, 0xc023, 0xc027, 0x003c, 0xc007, 0xc011, 0x0005,
        0x1301, 0x1302, 0x1303,
    ],
    &[
        0xcca9, 0xcca8, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xc009, 0xc013, 0xc00a, 0xc014, 0x009c,
        0x009d, 0x002f, 0x0035, 0xc012, 0x000a, 0xc023, 0xc027, 0x003c, 0xc007, 0xc011, 0x0005,
        0x1303, 0x1301, 0x1302,
    ],
];
/// Suites that are offered unless a program chooses.
const DEFAULT_SUITES: Claim = Holds(
    Suites,
    &[0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc009, 0xc013, 0xc00a, 0xc014],
);
/// The same since 1.26, which leaves those of TLS 1.2 out where it is not wanted.
const SINCE_1_26_SUITES: Claim =
    Any(&[DEFAULT_SUITES, Is(Suites, &[&[0x1301, 0x1302, 0x1303], &[0x1303, 0x1301, 0x1302]])]);
const RSA_SUITES: Claim = Holds(Suites, &[0x009c, 0x009d, 0x002f, 0x0035]);

/// Extensions up to 1.22, and since: before Encrypted ClientHello came, its writer put
/// together what it compresses.
const OLD_ORDER: &[u16] =
    &[0, 5, 10, 11, 35, 13, 50, 65281, 23, 16, 18, 43, 44, 51, 42, 45, 57, 41];
const NEW_ORDER: &[u16] =
    &[0, 11, 35, 65281, 23, 18, 42, 57, 65037, 5, 10, 13, 50, 16, 43, 44, 51, 45, 41];

const GO: &[Claim] = &[
    Grease(false),
    Holds(Extensions, &[5, 10, 11, 13, 18, 43, 65281]),
    Is(Points, &[&[0]]),
    Within(Suites, SUITES),
];
const OLD: &[Claim] = &[Within(Extensions, &[OLD_ORDER]), Lacks(Extensions, 50)];
const NEW: &[Claim] = &[Within(Extensions, &[NEW_ORDER]), Has(Extensions, 23)];

const CLASSIC_GROUPS: &[u16] = &[29, 23, 24, 25];
const OLD_SIGNATURES: &[u16] = &[
    0x0804, 0x0403, 0x0807, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0503, 0x0603, 0x0201, 0x0203,
];

const OLD_STOCK: &[Claim] =
    &[DEFAULT_SUITES, Is(Groups, &[CLASSIC_GROUPS]), Is(Signatures, &[OLD_SIGNATURES])];

const X25519_KYBER: u16 = 25497;
const X25519_MLKEM: u16 = 4588;
const P256_MLKEM: u16 = 4587;
const MLDSA44: u16 = 0x0904;
const TLS13: u16 = 0x0304;

/// Groups that a version offers unless a program chooses; since 1.24, `go` in go.mod and
/// GODEBUG take post-quantum ones away, and TLS 1.2 does not have them.
const SINCE_1_25_GROUPS: Claim = Is(
    Groups,
    &[
        CLASSIC_GROUPS,
        &[X25519_MLKEM, 29, 23, 24, 25],
        &[X25519_MLKEM, P256_MLKEM, 4589, 29, 23, 24, 25],
    ],
);

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "go-mldsa",
        client: "go",
        version: "1.27+",
        must: &[GO, NEW, &[Has(Extensions, 50), Begins(Signatures, &[MLDSA44])]],
        stock: &[&[SINCE_1_25_GROUPS, SINCE_1_26_SUITES]],
        why: "1.27 is the first to offer ML-DSA, before all other signatures.",
    },
    Rule {
        name: "go-more-mlkem",
        client: "go",
        version: "1.26",
        must: &[GO, NEW, &[Has(Extensions, 50), Has(Groups, P256_MLKEM)]],
        stock: &[&[SINCE_1_25_GROUPS, SINCE_1_26_SUITES]],
        why: "1.26 is the first to offer SecP256r1MLKEM768, the last without ML-DSA.",
    },
    Rule {
        name: "go-certificate-signatures",
        client: "go",
        version: "1.25-1.26",
        must: &[GO, NEW, &[Has(Extensions, 50), Has(Versions, TLS13)]],
        stock: &[&[SINCE_1_25_GROUPS, DEFAULT_SUITES]],
        why: "1.25 is the first to send signature_algorithms_cert; 1.26 looks the same where \
              go.mod or GODEBUG ask for fewer groups; 1.27 would offer ML-DSA.",
    },
    Rule {
        name: "go-certificate-signatures-tls12",
        client: "go",
        version: "1.25+",
        must: &[GO, NEW, &[Has(Extensions, 50)]],
        stock: &[&[SINCE_1_25_GROUPS, DEFAULT_SUITES]],
        why: "As before, but TLS 1.2 has none of what later versions added.",
    },
    Rule {
        name: "go-mlkem",
        client: "go",
        version: "1.24",
        must: &[GO, NEW, &[Has(Groups, X25519_MLKEM)]],
        stock: &[&[
            DEFAULT_SUITES,
            Is(Groups, &[&[X25519_MLKEM, 29, 23, 24, 25]]),
            Is(Signatures, &[OLD_SIGNATURES]),
        ]],
        why: "1.24 is the first to offer X25519MLKEM768, the last without \
              signature_algorithms_cert.",
    },
    Rule {
        name: "go-kyber",
        client: "go",
        version: "1.23",
        must: &[GO, NEW, &[Has(Groups, X25519_KYBER)]],
        stock: &[&[
            DEFAULT_SUITES,
            Is(Groups, &[&[X25519_KYBER, 29, 23, 24, 25]]),
            Is(Signatures, &[OLD_SIGNATURES]),
        ]],
        why: "1.23 alone offers the draft X25519Kyber768Draft00.",
    },
    Rule {
        name: "go-new-order",
        client: "go",
        version: "1.23-1.24",
        must: &[GO, NEW],
        stock: &[OLD_STOCK],
        why: "1.23 is the first with this order of extensions, 1.24 the last without \
              signature_algorithms_cert.",
    },
    Rule {
        name: "go-without-rsa",
        client: "go",
        version: "1.22",
        must: &[
            GO,
            OLD,
            &[Has(Extensions, 23), DEFAULT_SUITES, Has(Suites, 0xc012), Lacks(Suites, 0x002f)],
        ],
        stock: &[OLD_STOCK],
        why: "1.22 is the first that does not offer RSA key exchange, and the last with the \
              old order of extensions and 3DES.",
    },
    Rule {
        name: "go-master-secret",
        client: "go",
        version: "1.21-1.22",
        must: &[GO, OLD, &[Has(Extensions, 23)]],
        stock: &[OLD_STOCK, &[RSA_SUITES]],
        why: "1.21 is the first to send extended_master_secret, 1.22 the last with the old \
              order of extensions.",
    },
    Rule {
        name: "go-old",
        client: "go",
        version: "1.17-1.20",
        must: &[GO, OLD],
        stock: &[OLD_STOCK, &[RSA_SUITES]],
        why: "1.17 is the first with this order of suites, 1.20 the last without \
              extended_master_secret.",
    },
];
