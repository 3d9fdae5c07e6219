//! Sinks for packets: capture files and rings of them.
