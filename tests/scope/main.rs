//! Scopes, error groups, races, single flights, pools and parallel maps.
#![cfg(not(loom))]
