//! Reads the site: Linux, Open vSwitch, libvirt.
