//! Seals: AES-256-GCM (NIST SP 800-38D), by `ring`.
//!
//! Every segment has two random keys, wrapped together by the host's key in its header: one for
//! its chunks, whose nonces count, and one for its index, whose nonces are random, because an
//! index can be made anew.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use crate::key::HostKey;

/// The keys of one segment.
#[derive(Debug)]
pub(crate) struct SegmentKeys {
    chunks: LessSafeKey,
    index: LessSafeKey,
}

/// What a nonce of the chunk key is for; a chunk has one number and two seals.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    Header = 0,
    Body = 1,
}

/// Randomness or a seal that is not there. Nothing more may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

impl SegmentKeys {
    /// New keys, and the same wrapped with the host's key for the header that is `bound`.
    pub(crate) fn generate(host: &HostKey, bound: &[u8]) -> Result<(Self, Wrapped), Refused> {
        let mut bytes = [0; KEYS_LEN];
        fill(&mut bytes)?;
        let keys = Self::of(&bytes).ok_or(Refused)?;
        Ok((keys, wrap(host, bound, bytes)?))
    }

    /// The keys that were wrapped.
    pub(crate) fn unwrap(host: &HostKey, bound: &[u8], wrapped: &Wrapped) -> Result<Self, Refused> {
        Self::of(&unwrap(host, bound, wrapped)?).ok_or(Refused)
    }

    /// Seals a part of chunk `number` in place.
    pub(crate) fn seal(
        &self,
        number: u64,
        part: Part,
        bound: &[u8],
        bytes: &mut [u8],
    ) -> Result<[u8; TAG_LEN], Refused> {
        let tag =
            self.chunks.seal_in_place_separate_tag(nonce(number, part), Aad::from(bound), bytes);
        tag.ok().and_then(|tag| tag.as_ref().first_chunk().copied()).ok_or(Refused)
    }

    /// Opens a part of chunk `number` in place; the tag stands behind it and is left out.
    pub(crate) fn open<'b>(
        &self,
        number: u64,
        part: Part,
        bound: &[u8],
        bytes: &'b mut [u8],
    ) -> Result<&'b mut [u8], Refused> {
        self.chunks.open_in_place(nonce(number, part), Aad::from(bound), bytes).map_err(|_| Refused)
    }

    /// Seals bytes of the index in place and appends the tag; the nonce comes back.
    pub(crate) fn seal_index(
        &self,
        bound: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<[u8; NONCE_LEN], Refused> {
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce)?;
        let unique = Nonce::assume_unique_for_key(nonce);
        self.index
            .seal_in_place_append_tag(unique, Aad::from(bound), bytes)
            .map_err(|_| Refused)?;
        Ok(nonce)
    }

    /// Opens bytes of the index in place.
    pub(crate) fn open_index<'b>(
        &self,
        nonce: [u8; NONCE_LEN],
        bound: &[u8],
        bytes: &'b mut [u8],
    ) -> Result<&'b mut [u8], Refused> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.index.open_in_place(nonce, Aad::from(bound), bytes).map_err(|_| Refused)
    }

    fn of(bytes: &[u8; KEYS_LEN]) -> Option<Self> {
        let (chunks, index) = bytes.split_at(KEYS_LEN / 2);
        Some(Self { chunks: key(chunks)?, index: key(index)? })
    }
}

/// The keys of a segment, readable with the host's key only: a nonce, the sealed keys, the tag.
pub(crate) type Wrapped = [u8; WRAPPED_LEN];

/// Wraps the keys that `old` has wrapped with the key `new`.
pub(crate) fn rewrap(
    old: &HostKey,
    new: &HostKey,
    bound: &[u8],
    wrapped: &Wrapped,
) -> Result<Wrapped, Refused> {
    wrap(new, bound, unwrap(old, bound, wrapped)?)
}

/// Random bytes.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), Refused> {
    SystemRandom::new().fill(bytes).map_err(|_| Refused)
}

fn wrap(host: &HostKey, bound: &[u8], mut keys: [u8; KEYS_LEN]) -> Result<Wrapped, Refused> {
    let mut random = [0; NONCE_LEN];
    fill(&mut random)?;
    let nonce = Nonce::assume_unique_for_key(random);
    let tag = key(host.bytes())
        .ok_or(Refused)?
        .seal_in_place_separate_tag(nonce, Aad::from(bound), &mut keys)
        .map_err(|_| Refused)?;
    let parts = [&random[..], &keys, tag.as_ref()].concat();
    parts.first_chunk().copied().ok_or(Refused)
}

fn unwrap(host: &HostKey, bound: &[u8], wrapped: &Wrapped) -> Result<[u8; KEYS_LEN], Refused> {
    let (random, sealed) = wrapped.split_first_chunk::<NONCE_LEN>().ok_or(Refused)?;
    let mut sealed = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(*random);
    let opened = key(host.bytes())
        .ok_or(Refused)?
        .open_in_place(nonce, Aad::from(bound), &mut sealed)
        .map_err(|_| Refused)?;
    opened.first_chunk().copied().ok_or(Refused)
}

fn key(bytes: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, bytes).ok().map(LessSafeKey::new)
}

fn nonce(number: u64, part: Part) -> Nonce {
    let [n0, n1, n2, n3, n4, n5, n6, n7] = number.to_le_bytes();
    Nonce::assume_unique_for_key([n0, n1, n2, n3, n4, n5, n6, n7, part as u8, 0, 0, 0])
}

/// Bytes of a seal.
pub(crate) const TAG_LEN: usize = 16;
const KEYS_LEN: usize = 64;
pub(crate) const WRAPPED_LEN: usize = NONCE_LEN + KEYS_LEN + TAG_LEN;
