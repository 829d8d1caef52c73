//! The numbers of the IANA registry "IKEv2 Parameters". Unknown ones are kept as they are.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A newtype for a number on the wire, constants for the values with a name, and that name for people.
macro_rules! registry {
    (
        $(#[$doc:meta])*
        $type:ident($width:ty) {
            $($(#[$value_doc:meta])* $name:ident = $value:literal $text:literal;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
        #[serde(transparent)]
        pub struct $type(pub $width);

        impl $type {
            $(
                #[doc = concat!("`", $text, "`")]
                $(#[$value_doc])*
                pub const $name: Self = Self($value);
            )*

            /// The registry's name for it.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, concat!(stringify!($type), "({})"), self.0),
                }
            }
        }
    };
}

registry! {
    /// What a message is for (RFC 7296 §3.1).
    Exchange(u8) {
        SA_INIT = 34 "IKE_SA_INIT";
        AUTH = 35 "IKE_AUTH";
        CREATE_CHILD_SA = 36 "CREATE_CHILD_SA";
        INFORMATIONAL = 37 "INFORMATIONAL";
        /// (RFC 9242)
        INTERMEDIATE = 43 "IKE_INTERMEDIATE";
        /// (RFC 9370)
        FOLLOWUP_KE = 44 "IKE_FOLLOWUP_KE";
    }
}

registry! {
    /// What a payload is (RFC 7296 §3.2), or that none follows.
    PayloadType(u8) {
        NONE = 0 "no next payload";
        SA = 33 "SA";
        KE = 34 "KE";
        IDI = 35 "IDi";
        IDR = 36 "IDr";
        CERT = 37 "CERT";
        CERTREQ = 38 "CERTREQ";
        AUTH = 39 "AUTH";
        NONCE = 40 "Nonce";
        NOTIFY = 41 "N";
        DELETE = 42 "D";
        VENDOR_ID = 43 "V";
        TSI = 44 "TSi";
        TSR = 45 "TSr";
        SK = 46 "SK";
        CP = 47 "CP";
        EAP = 48 "EAP";
        /// (RFC 7383)
        SKF = 53 "SKF";
    }
}

registry! {
    /// The protocol of an SA (RFC 7296 §3.3.1).
    Protocol(u8) {
        /// In a Notify payload that is about no SA.
        NONE = 0 "none";
        IKE = 1 "IKE";
        AH = 2 "AH";
        ESP = 3 "ESP";
    }
}

registry! {
    /// What a transform is for (RFC 7296 §3.3.2, RFC 9370 §2.2.2).
    TransformType(u8) {
        ENCR = 1 "ENCR";
        PRF = 2 "PRF";
        INTEG = 3 "INTEG";
        KE = 4 "KE";
        ESN = 5 "ESN";
        ADDKE1 = 6 "ADDKE1";
        ADDKE2 = 7 "ADDKE2";
        ADDKE3 = 8 "ADDKE3";
        ADDKE4 = 9 "ADDKE4";
        ADDKE5 = 10 "ADDKE5";
        ADDKE6 = 11 "ADDKE6";
        ADDKE7 = 12 "ADDKE7";
    }
}

impl TransformType {
    /// The additional key exchanges, in the order they are carried out (RFC 9370 §2.2.2).
    pub const ADDITIONAL: [Self; 7] =
        [Self::ADDKE1, Self::ADDKE2, Self::ADDKE3, Self::ADDKE4, Self::ADDKE5, Self::ADDKE6, Self::ADDKE7];
}

registry! {
    /// Transform type 1.
    EncryptionId(u16) {
        NULL = 11 "ENCR_NULL";
        AES_CBC = 12 "ENCR_AES_CBC";
        AES_CTR = 13 "ENCR_AES_CTR";
        AES_GCM_8 = 18 "ENCR_AES_GCM_8";
        AES_GCM_12 = 19 "ENCR_AES_GCM_12";
        AES_GCM_16 = 20 "ENCR_AES_GCM_16";
        /// (RFC 7634)
        CHACHA20_POLY1305 = 28 "ENCR_CHACHA20_POLY1305";
    }
}

registry! {
    /// Transform type 2.
    PrfId(u16) {
        HMAC_SHA1 = 2 "PRF_HMAC_SHA1";
        AES128_XCBC = 4 "PRF_AES128_XCBC";
        HMAC_SHA2_256 = 5 "PRF_HMAC_SHA2_256";
        HMAC_SHA2_384 = 6 "PRF_HMAC_SHA2_384";
        HMAC_SHA2_512 = 7 "PRF_HMAC_SHA2_512";
    }
}

registry! {
    /// Transform type 3.
    IntegrityId(u16) {
        NONE = 0 "NONE";
        HMAC_SHA1_96 = 2 "AUTH_HMAC_SHA1_96";
        AES_XCBC_96 = 5 "AUTH_AES_XCBC_96";
        HMAC_SHA2_256_128 = 12 "AUTH_HMAC_SHA2_256_128";
        HMAC_SHA2_384_192 = 13 "AUTH_HMAC_SHA2_384_192";
        HMAC_SHA2_512_256 = 14 "AUTH_HMAC_SHA2_512_256";
    }
}

registry! {
    /// Transform types 4 and 6 to 12, and the method of a KE payload.
    KeMethod(u16) {
        NONE = 0 "NONE";
        MODP1024 = 2 "1024-bit MODP";
        MODP1536 = 5 "1536-bit MODP";
        MODP2048 = 14 "2048-bit MODP";
        MODP3072 = 15 "3072-bit MODP";
        MODP4096 = 16 "4096-bit MODP";
        /// (RFC 5903)
        P256 = 19 "256-bit random ECP";
        /// (RFC 5903)
        P384 = 20 "384-bit random ECP";
        /// (RFC 5903)
        P521 = 21 "521-bit random ECP";
        /// (RFC 8031)
        X25519 = 31 "Curve25519";
        /// (RFC 8031)
        X448 = 32 "Curve448";
        MLKEM512 = 35 "ML-KEM-512";
        MLKEM768 = 36 "ML-KEM-768";
        MLKEM1024 = 37 "ML-KEM-1024";
    }
}

registry! {
    /// Transform type 5.
    EsnId(u16) {
        /// Sequence numbers of 32 bits.
        NO = 0 "No Extended Sequence Numbers";
        /// Sequence numbers of 64 bits.
        YES = 1 "Extended Sequence Numbers";
    }
}

registry! {
    /// What an identity is (RFC 7296 §3.5).
    IdKind(u8) {
        IPV4_ADDR = 1 "ID_IPV4_ADDR";
        FQDN = 2 "ID_FQDN";
        RFC822 = 3 "ID_RFC822_ADDR";
        IPV6_ADDR = 5 "ID_IPV6_ADDR";
        DER_ASN1_DN = 9 "ID_DER_ASN1_DN";
        DER_ASN1_GN = 10 "ID_DER_ASN1_GN";
        KEY_ID = 11 "ID_KEY_ID";
        /// (RFC 7619)
        NULL = 13 "ID_NULL";
    }
}

registry! {
    /// How a certificate or a request for one is encoded (RFC 7296 §3.6).
    CertEncoding(u8) {
        X509_SIGNATURE = 4 "X.509 Certificate - Signature";
        CRL = 7 "Certificate Revocation List (CRL)";
        HASH_AND_URL = 12 "Hash and URL of X.509 certificate";
        /// (RFC 7670)
        RAW_PUBLIC_KEY = 15 "Raw Public Key";
    }
}

registry! {
    /// How a peer proves who it is (RFC 7296 §3.8).
    AuthMethod(u8) {
        RSA_SIGNATURE = 1 "RSA Digital Signature";
        SHARED_KEY = 2 "Shared Key Message Integrity Code";
        DSS_SIGNATURE = 3 "DSS Digital Signature";
        /// (RFC 4754)
        ECDSA_SHA256_P256 = 9 "ECDSA with SHA-256 on the P-256 curve";
        /// (RFC 4754)
        ECDSA_SHA384_P384 = 10 "ECDSA with SHA-384 on the P-384 curve";
        /// (RFC 4754)
        ECDSA_SHA512_P521 = 11 "ECDSA with SHA-512 on the P-521 curve";
        /// (RFC 7619)
        NULL = 13 "NULL Authentication";
        /// (RFC 7427)
        DIGITAL_SIGNATURE = 14 "Digital Signature";
    }
}

registry! {
    /// The hash algorithms of the SIGNATURE_HASH_ALGORITHMS notification (RFC 7427 §4).
    HashId(u16) {
        SHA1 = 1 "SHA1";
        SHA2_256 = 2 "SHA2-256";
        SHA2_384 = 3 "SHA2-384";
        SHA2_512 = 4 "SHA2-512";
        /// The signature does its own hashing (RFC 8420).
        IDENTITY = 5 "Identity";
    }
}

registry! {
    /// What an exchange of configuration is (RFC 7296 §3.15).
    CpType(u8) {
        REQUEST = 1 "CFG_REQUEST";
        REPLY = 2 "CFG_REPLY";
        SET = 3 "CFG_SET";
        ACK = 4 "CFG_ACK";
    }
}

registry! {
    /// What is being configured (RFC 7296 §3.15.1); 15 bits on the wire.
    AttributeType(u16) {
        INTERNAL_IP4_ADDRESS = 1 "INTERNAL_IP4_ADDRESS";
        INTERNAL_IP4_NETMASK = 2 "INTERNAL_IP4_NETMASK";
        INTERNAL_IP4_DNS = 3 "INTERNAL_IP4_DNS";
        INTERNAL_IP4_NBNS = 4 "INTERNAL_IP4_NBNS";
        INTERNAL_IP4_DHCP = 6 "INTERNAL_IP4_DHCP";
        APPLICATION_VERSION = 7 "APPLICATION_VERSION";
        /// 16 octets of address, one of prefix length.
        INTERNAL_IP6_ADDRESS = 8 "INTERNAL_IP6_ADDRESS";
        INTERNAL_IP6_DNS = 10 "INTERNAL_IP6_DNS";
        INTERNAL_IP6_DHCP = 12 "INTERNAL_IP6_DHCP";
        INTERNAL_IP4_SUBNET = 13 "INTERNAL_IP4_SUBNET";
        SUPPORTED_ATTRIBUTES = 14 "SUPPORTED_ATTRIBUTES";
        INTERNAL_IP6_SUBNET = 15 "INTERNAL_IP6_SUBNET";
    }
}

registry! {
    /// What a notification says (RFC 7296 §3.10.1). Those below 16384 are errors.
    NotifyType(u16) {
        UNSUPPORTED_CRITICAL_PAYLOAD = 1 "UNSUPPORTED_CRITICAL_PAYLOAD";
        INVALID_IKE_SPI = 4 "INVALID_IKE_SPI";
        INVALID_MAJOR_VERSION = 5 "INVALID_MAJOR_VERSION";
        INVALID_SYNTAX = 7 "INVALID_SYNTAX";
        INVALID_MESSAGE_ID = 9 "INVALID_MESSAGE_ID";
        INVALID_SPI = 11 "INVALID_SPI";
        NO_PROPOSAL_CHOSEN = 14 "NO_PROPOSAL_CHOSEN";
        INVALID_KE_PAYLOAD = 17 "INVALID_KE_PAYLOAD";
        AUTHENTICATION_FAILED = 24 "AUTHENTICATION_FAILED";
        SINGLE_PAIR_REQUIRED = 34 "SINGLE_PAIR_REQUIRED";
        NO_ADDITIONAL_SAS = 35 "NO_ADDITIONAL_SAS";
        INTERNAL_ADDRESS_FAILURE = 36 "INTERNAL_ADDRESS_FAILURE";
        FAILED_CP_REQUIRED = 37 "FAILED_CP_REQUIRED";
        TS_UNACCEPTABLE = 38 "TS_UNACCEPTABLE";
        INVALID_SELECTORS = 39 "INVALID_SELECTORS";
        TEMPORARY_FAILURE = 43 "TEMPORARY_FAILURE";
        CHILD_SA_NOT_FOUND = 44 "CHILD_SA_NOT_FOUND";
        /// (RFC 9370)
        STATE_NOT_FOUND = 47 "STATE_NOT_FOUND";
        INITIAL_CONTACT = 16384 "INITIAL_CONTACT";
        SET_WINDOW_SIZE = 16385 "SET_WINDOW_SIZE";
        ADDITIONAL_TS_POSSIBLE = 16386 "ADDITIONAL_TS_POSSIBLE";
        IPCOMP_SUPPORTED = 16387 "IPCOMP_SUPPORTED";
        NAT_DETECTION_SOURCE_IP = 16388 "NAT_DETECTION_SOURCE_IP";
        NAT_DETECTION_DESTINATION_IP = 16389 "NAT_DETECTION_DESTINATION_IP";
        COOKIE = 16390 "COOKIE";
        USE_TRANSPORT_MODE = 16391 "USE_TRANSPORT_MODE";
        HTTP_CERT_LOOKUP_SUPPORTED = 16392 "HTTP_CERT_LOOKUP_SUPPORTED";
        REKEY_SA = 16393 "REKEY_SA";
        ESP_TFC_PADDING_NOT_SUPPORTED = 16394 "ESP_TFC_PADDING_NOT_SUPPORTED";
        NON_FIRST_FRAGMENTS_ALSO = 16395 "NON_FIRST_FRAGMENTS_ALSO";
        /// (RFC 4555)
        MOBIKE_SUPPORTED = 16396 "MOBIKE_SUPPORTED";
        /// (RFC 4555)
        ADDITIONAL_IP4_ADDRESS = 16397 "ADDITIONAL_IP4_ADDRESS";
        /// (RFC 4555)
        ADDITIONAL_IP6_ADDRESS = 16398 "ADDITIONAL_IP6_ADDRESS";
        /// (RFC 4555)
        NO_ADDITIONAL_ADDRESSES = 16399 "NO_ADDITIONAL_ADDRESSES";
        /// (RFC 4555)
        UPDATE_SA_ADDRESSES = 16400 "UPDATE_SA_ADDRESSES";
        /// (RFC 4555)
        COOKIE2 = 16401 "COOKIE2";
        /// (RFC 4555)
        NO_NATS_ALLOWED = 16402 "NO_NATS_ALLOWED";
        /// Seconds (RFC 4478)
        AUTH_LIFETIME = 16403 "AUTH_LIFETIME";
        /// (RFC 4739)
        MULTIPLE_AUTH_SUPPORTED = 16404 "MULTIPLE_AUTH_SUPPORTED";
        /// (RFC 5685)
        REDIRECT_SUPPORTED = 16406 "REDIRECT_SUPPORTED";
        /// (RFC 5685)
        REDIRECT = 16407 "REDIRECT";
        /// (RFC 5998)
        EAP_ONLY_AUTHENTICATION = 16417 "EAP_ONLY_AUTHENTICATION";
        /// (RFC 6023)
        CHILDLESS_IKEV2_SUPPORTED = 16418 "CHILDLESS_IKEV2_SUPPORTED";
        /// (RFC 6311)
        IKEV2_MESSAGE_ID_SYNC_SUPPORTED = 16420 "IKEV2_MESSAGE_ID_SYNC_SUPPORTED";
        /// (RFC 7383)
        IKEV2_FRAGMENTATION_SUPPORTED = 16430 "IKEV2_FRAGMENTATION_SUPPORTED";
        /// (RFC 7427)
        SIGNATURE_HASH_ALGORITHMS = 16431 "SIGNATURE_HASH_ALGORITHMS";
        /// (RFC 8784)
        USE_PPK = 16435 "USE_PPK";
        /// (RFC 9242)
        INTERMEDIATE_EXCHANGE_SUPPORTED = 16438 "INTERMEDIATE_EXCHANGE_SUPPORTED";
        /// (RFC 9370)
        ADDITIONAL_KEY_EXCHANGE = 16441 "ADDITIONAL_KEY_EXCHANGE";
    }
}

impl NotifyType {
    const FIRST_STATUS: u16 = 16384;

    /// Whether it says that something failed; an unknown error in a response is a failure of the whole
    /// request, an unknown status is ignored (RFC 7296 §3.10.1).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 < Self::FIRST_STATUS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_show_the_name_of_the_registry_and_unknown_ones_the_number() {
        assert_eq!(Exchange::SA_INIT.to_string(), "IKE_SA_INIT");
        assert_eq!(format!("{:?}", Exchange::SA_INIT), "IKE_SA_INIT");
        assert_eq!(Exchange(240).to_string(), "240");
        assert_eq!(format!("{:?}", Exchange(240)), "Exchange(240)");
        assert_eq!(Exchange(240).name(), None);
    }

    #[test]
    fn errors_end_where_status_begins() {
        assert!(NotifyType(16383).is_error());
        assert!(!NotifyType::INITIAL_CONTACT.is_error());
    }
}
