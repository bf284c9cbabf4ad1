//! A party's share of a key: opaque, and outside this file only ever sealed.
//!
//! 1. Sealed = "wbtss1" ‖ 24-byte nonce ‖ XChaCha20-Poly1305 over the postcard form of the share, under a key and
//!    associated data that the caller gives. The plain form is erased where it stood.
//! 2. What is opened must fit itself: its own point lies on the polynomial that all parties verified, under its
//!    public key. A share from elsewhere, of another party or another epoch does not pass as this one.

use std::collections::BTreeMap;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use dkls23_secp256k1::{Party, PublicKeyPackage};
use elliptic_curve::sec1::ToSec1Point;
use k256::{AffinePoint, ProjectivePoint};
use rand::TryRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::failure::{Failure, Result};
use crate::wire::party;

const MAGIC: &[u8; 6] = b"wbtss1";
const NONCE_BYTES: usize = 24;
pub const KEY_BYTES: usize = 32;
pub const SEALED_BYTES_MAX: usize = 4 << 20;

/// A party's state for one key in one epoch, and what everybody knows of the others'.
#[derive(Serialize, Deserialize)]
pub struct Held {
    pub party: Party,
    pub package: PublicKeyPackage,
}

pub type Share = Arc<Held>;

impl Held {
    /// Take a share into the world if it fits itself.
    pub fn checked(party: Party, package: PublicKeyPackage) -> Result<Share> {
        let own = (ProjectivePoint::GENERATOR * party.poly_point).to_affine();
        let fits = package.verify_share(party.party_index, &own)
            && *package.verifying_key() == party.pk
            && package.threshold() == party.parameters.threshold
            && package.share_count() == party.parameters.share_count
            && party.derivation_data.depth == 0;
        if fits { Ok(Arc::new(Self { party, package })) } else { Err(Failure::local("the share does not fit itself")) }
    }

    pub fn seal(&self, key: &[u8], associated: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0_u8; NONCE_BYTES];
        rand::rngs::SysRng.try_fill_bytes(&mut nonce).map_err(|_| Failure::local("no randomness"))?;
        let plain = Zeroizing::new(self.plain()?);
        let message = Payload { msg: &plain, aad: associated };
        let closed = cipher(key)?
            .encrypt(&XNonce::from(nonce), message)
            .map_err(|_| Failure::local("the share could not be sealed"))?;
        Ok([MAGIC.as_slice(), &nonce, &closed].concat())
    }

    /// Write it into one buffer of its size: one that grows would leave copies behind.
    fn plain(&self) -> Result<Vec<u8>> {
        let unwritten = |_| Failure::local("the share could not be written");
        let size = postcard::experimental::serialized_size(self).map_err(unwritten)?;
        let mut plain = vec![0_u8; size];
        postcard::to_slice(self, &mut plain).map_err(unwritten)?;
        Ok(plain)
    }

    pub fn open(sealed: &[u8], key: &[u8], associated: &[u8]) -> Result<Share> {
        let refused = || Failure::local("the sealed share does not open");
        if sealed.len() > SEALED_BYTES_MAX {
            return Err(refused());
        }
        let rest = sealed.strip_prefix(MAGIC.as_slice()).ok_or_else(refused)?;
        let (nonce, closed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(refused)?;
        let message = Payload { msg: closed, aad: associated };
        let plain = Zeroizing::new(cipher(key)?.decrypt(&XNonce::from(*nonce), message).map_err(|_| refused())?);
        match postcard::take_from_bytes::<Self>(&plain) {
            Ok((held, [])) => Self::checked(held.party, held.package),
            _ => Err(refused()),
        }
    }

    /// The points of all parties on the verified polynomial, compressed, by party.
    pub fn points(&self) -> BTreeMap<u8, Vec<u8>> {
        (1..=self.package.share_count())
            .filter_map(|number| {
                let point = self.package.verifying_share(party(number).ok()?)?;
                Some((number, compressed(point)))
            })
            .collect()
    }
}

pub fn compressed(point: &AffinePoint) -> Vec<u8> {
    point.to_sec1_point(true).as_bytes().to_vec()
}

pub fn uncompressed(point: &AffinePoint) -> Vec<u8> {
    point.to_sec1_point(false).as_bytes().to_vec()
}

fn cipher(key: &[u8]) -> Result<XChaCha20Poly1305> {
    let key: [u8; KEY_BYTES] = key.try_into().map_err(|_| Failure::value("a sealing key has 32 bytes"))?;
    Ok(XChaCha20Poly1305::new(&Key::from(key)))
}
