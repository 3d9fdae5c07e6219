//! Sources of packets: interfaces and capture files.
