//! Real handshakes over memory pipes and sockets, with CAs made for the test.

mod ca_leaf;
mod certs;
mod files;
mod handshakes;
mod rules;
