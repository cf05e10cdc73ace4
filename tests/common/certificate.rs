//! Certificates for servers of the tests.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

/// A day. [s]
pub const DAY: i64 = 24 * 3600;

/// A certificate and its key.
pub struct Certificate {
    certificate: X509,
    key: PKey<Private>,
}

impl Certificate {
    /// The certificate of an authority.
    pub fn authority(name: &str) -> Self {
        Self::made(name, DAY, None, |builder| {
            builder.append_extension(BasicConstraints::new().critical().ca().build()?)
        })
    }

    /// A server's certificate that nobody vouches for.
    pub fn self_signed(names: &[&str], addresses: &[IpAddr]) -> Self {
        Self::made("A server of its own", DAY, None, |builder| append_names(builder, None, names, addresses))
    }

    /// A server's certificate, signed by this authority, that expires after `lifetime_s`.
    pub fn issue(&self, names: &[&str], addresses: &[IpAddr], lifetime_s: i64) -> Self {
        let extend = |builder: &mut X509Builder| append_names(builder, Some(&self.certificate), names, addresses);
        Self::made("A server", lifetime_s, Some(self), extend)
    }

    /// In PEM form.
    pub fn pem(&self) -> String {
        let pem = self.certificate.to_pem().expect("a certificate can be written");
        String::from_utf8(pem).expect("PEM is text")
    }

    /// Its key in PEM form.
    pub fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().expect("a key can be written")
    }

    fn made(
        name: &str,
        lifetime_s: i64,
        issuer: Option<&Self>,
        extend: impl FnOnce(&mut X509Builder) -> Result<(), ErrorStack>,
    ) -> Self {
        Self::build(name, lifetime_s, issuer, extend).expect("OpenSSL makes certificates")
    }

    fn build(
        name: &str,
        lifetime_s: i64,
        issuer: Option<&Self>,
        extend: impl FnOnce(&mut X509Builder) -> Result<(), ErrorStack>,
    ) -> Result<Self, ErrorStack> {
        let key = PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)?;
        let mut subject = X509NameBuilder::new()?;
        subject.append_entry_by_nid(Nid::COMMONNAME, name)?;
        let subject = subject.build();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);

        let mut builder = X509::builder()?;
        builder.set_version(2)?; // counted from 0: X.509 v3
        builder.set_serial_number(&*BigNum::from_u32(1)?.to_asn1_integer()?)?;
        builder.set_subject_name(&subject)?;
        builder.set_issuer_name(issuer.map_or(&subject, |issuer| issuer.certificate.subject_name()))?;
        builder.set_pubkey(&key)?;
        builder.set_not_before(&*Asn1Time::from_unix(now - 7 * DAY)?)?;
        builder.set_not_after(&*Asn1Time::from_unix(now + lifetime_s)?)?;
        extend(&mut builder)?;
        builder.sign(issuer.map_or(&key, |issuer| &issuer.key), MessageDigest::sha256())?;
        Ok(Self { certificate: builder.build(), key })
    }
}

fn append_names(
    builder: &mut X509Builder,
    issuer: Option<&X509>,
    names: &[&str],
    addresses: &[IpAddr],
) -> Result<(), ErrorStack> {
    if names.is_empty() && addresses.is_empty() {
        return Ok(());
    }
    let mut all = SubjectAlternativeName::new();
    names.iter().for_each(|name| _ = all.dns(name));
    addresses.iter().for_each(|address| _ = all.ip(&address.to_string()));
    let extension = all.build(&builder.x509v3_context(issuer.map(|issuer| &**issuer), None))?;
    builder.append_extension(extension)
}
