//! The engine: sources, sinks, drop reasons, counters.
