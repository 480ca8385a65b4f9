//! The proxies: etcd's own and Pintle's, the same steps through both.

mod answers;
mod gateway;
mod keeping;
mod lines;
mod lockstep;
mod programs;
mod watches;
