//! Tokens: one line of text that lets a host or a person in.
//!
//! A token has a kind that people and secret scanners recognise, a public id by which it is listed,
//! stored and audited, and a secret of 256 random bits of which only the SHA-256 is stored. A
//! secret that long needs no slow hash: there is nothing to guess.
//!
//! ```text
//! ovte_  base32( 1 | id 8 | secret 32 | SHA-256 of the CA 32 | port 2 | host n | check 4 )   agents
//! ovtu_  base32( 1 | id 8 | secret 32 | check 4 )                                            users
//! ```
//!
//! The first byte is the version of the format. `check` is the beginning of the SHA-256 of
//! everything before it, prefix included, so that a bad copy is told apart from a wrong token.
//! Base32 is RFC 4648, section 6, without padding, in any case; white space is ignored.

mod address;
mod enrolment;
mod line;
mod secret;
mod user;

pub use address::{AddressError, ControllerAddress, DEFAULT_PORT};
pub use enrolment::{Enrolment, EnrolmentTerms, EnrolmentToken};
pub use line::{Kind, TokenError};
pub use secret::{NoEntropy, Secret, SecretHash, TokenId, TokenRefusal, random};
pub use user::{UserCredential, UserToken};
