//! The proxies: etcd's own and Pintle's, the same steps through both.

mod gateway;
mod lines;
mod programs;
