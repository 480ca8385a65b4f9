//! Real handshakes over memory pipes and sockets, with CAs made for the test.

mod bytes;
mod certs;
mod chains;
mod files;
mod handshakes;
mod rules;
